package siddhiql

import (
	"slices"
	"strings"
)

// element is what an annotation belongs to.
type element string

const (
	onApp       element = "the app"
	onStream    element = "a stream's definition"
	onQuery     element = "a query"
	onPartition element = "a partition"
	onTable     element = "a table's definition"
	onWindow    element = "a window's definition"
)

// annotationSpec is an annotation of the language.
type annotationSpec struct {
	on      []element
	keys    []string // in lower case; none: it takes no settings, or one value without a key
	repeats bool     // it may appear twice, or its reader reports why not
}

// annotations are all annotations of the language, by their names in lower case. A deploy
// refuses any other annotation or key. Add a new key here, and read it where its annotation
// is read.
var annotations = map[string]annotationSpec{
	"app:name":        {on: []element{onApp}},
	"app:description": {on: []element{onApp}}, // for people: it has no effect
	"app:partitions":  {on: []element{onApp}},
	appFile:           {on: []element{onApp}, keys: []string{"name", "text", "base64"}, repeats: true},
	"app:playback":    {on: []element{onApp}, keys: []string{"lateness", "ahead", "idle.time", "increment"}},
	"source":          {on: []element{onStream, onTable}, keys: []string{"subject", "stream", "from", "timestamp", "kv"}, repeats: true},
	"sink":            {on: []element{onStream, onTable, onQuery, onPartition}, keys: []string{"stream", "subject", "pack", "publish", "max.age", "max.bytes", "max.msgs.per.subject", "kv", "key", "expired"}, repeats: true},
	"onerror":         {on: []element{onStream}, keys: []string{"action"}},
	"info":            {on: []element{onQuery}, keys: []string{"name", "was"}},
	"primarykey":      {on: []element{onTable}},
	"index":           {on: []element{onTable}, repeats: true},
	"purge":           {on: []element{onPartition}, keys: []string{"enable", "idle.period", "interval"}},
}

// otherAnnotations are annotations of Siddhi that EventFlux does not have, with what to do
// instead.
var otherAnnotations = map[string]string{
	"app:async":        "events are always taken in asynchronously: leave it out",
	"async":            "events are always taken in asynchronously: leave it out",
	"app:statistics":   "metrics are always there, see metrics.listen: leave it out",
	"map":              "it stands inside `@source`, as `@source(@map(type='json', …))`; results are JSON",
	"cache":            "tables are in memory and in checkpoints: leave it out",
	"partitionbyid":    "a table is one for all keys: leave it out",
	"app:store":        "tables are in memory and in checkpoints: leave it out",
	"app:enforceorder": "events are applied in the order of the log: leave it out",
	"persist":          "checkpoints are a setting of EventFlux, `checkpoint.interval`: leave it out",
	"store":            "tables are in memory and in checkpoints: leave it out",
	"dist":             "`@app:partitions` spreads keys over logs and processors",
}

// known reports annotations that the language does not have, that appear twice or on the
// wrong element, and unknown keys. Only a deploy refuses these.
func (bd *build) known(list []*Annotation, on element) {
	if !bd.strict {
		return
	}
	first := map[string]Pos{}
	for _, a := range list {
		name := strings.ToLower(a.Name)
		spec, ok := annotations[name]
		at, taken := first[name]
		switch {
		case !ok && otherAnnotations[name] != "":
			bd.errorf(a.Pos, "`@%s` is not part of the language here: %s", a.Name, otherAnnotations[name])
		case !ok:
			bd.errorf(a.Pos, "unknown annotation `@%s`%s", a.Name, suggestAnnotation(name, on))
		case !slices.Contains(spec.on, on):
			bd.errorf(a.Pos, "found `@%s` on %s: expected it on %s", a.Name, on, orList(spec.on))
		case taken && !spec.repeats:
			bd.errorf(a.Pos, "`@%s` stands twice: first at %s", a.Name, at)
		case name == "info" && len(a.Elems) > 0 && a.Elems[0].Key != "":
			bd.elems(a, spec.keys...)
		}
		if !taken {
			first[name] = a.Pos
		}
	}
}

// suggestAnnotation ends a message about an unknown annotation: the likely one, or all that
// the element can have.
func suggestAnnotation(name string, on element) string {
	var all, here []string
	for known, spec := range annotations {
		all = append(all, known)
		if slices.Contains(spec.on, on) {
			here = append(here, "@"+known)
		}
	}
	slices.Sort(all)
	slices.Sort(here)
	if _, ok := annotations["app:"+name]; ok {
		return ": did you mean " + tick("@app:"+name) + "?"
	}
	if s := suggest(name, all); s != "" {
		return ": did you mean " + tick("@"+s) + "?"
	}
	return "; " + string(on) + " can have " + listOf(here, "and")
}

func orList(on []element) string {
	names := make([]string, len(on))
	for i, e := range on {
		names[i] = string(e)
	}
	return strings.Join(names, " or ")
}
