package engine

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/ratelimit"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// Component is one stateful part of an app: its identity, and its state.
type Component struct {
	state.Info
	Source state.Source
}

// Registry returns holders for components, ready to be listed, cut and loaded. Their
// entries count as changed since epoch 0.
func Registry(components []Component) *state.Registry {
	r := &state.Registry{}
	for _, c := range components {
		if err := r.Add(state.NewComponent(c.Info, c.Source)); err != nil {
			panic(fmt.Sprintf("engine: %v", err)) // ids are made here
		}
	}
	return r
}

// Schema versions of what the engine itself keeps.
const (
	clockVersion     = "1.1.0"
	keysVersion      = "1.1.0"
	reorderVersion   = "1.0.0"
	aggregateVersion = "1.1.0"
	taskVersion      = "1.0.0"
	patternVersion   = "1.0.0"
	bucketVersion    = "1.0.0"
)

// Components returns the stateful parts of the engine, in an order that allows loading.
func (e *Engine) Components() []Component {
	list := []Component{component("clock", "clock", clockVersion, state.Hot, nil, clockSource{fieldsSource{"clock", e.clockFields}, e})}
	if e.reorder != nil {
		list = append(list, component("reorder", "reorder", reorderVersion, state.Warm, nil, e.reorder))
	}
	for i, p := range e.plan.Tables {
		list = append(list, component("table/"+p.Name, "table", table.Version, state.Warm, nil, tableSource{e.tables[i], p}))
		if b := e.buckets[i]; b != nil {
			list = append(list, b.components()...)
		}
	}
	for _, w := range e.named {
		list = append(list, component(w.stateID(), "window/"+w.q.plan.Window.Name, w.q.spec.Version, state.Warm, []string{"clock"}, w.q.unitSource(windows)))
	}
	for _, b := range e.blocks {
		list = append(list, component(b.stateID(), "partition/keys", keysVersion, state.Cold, []string{"clock"}, keysSource{b}))
	}
	for _, t := range e.triggers {
		list = append(list, component("trigger/"+t.plan.Stream.Name, triggerType, triggerVersion, state.Hot, []string{"clock"}, triggerSource{t}))
	}
	names := queryNames(e.plan)
	for n, q := range e.queries {
		var within []string // windows that its aggregators aggregate
		depends := []string{"clock"}
		if q.block != nil {
			depends = append(depends, q.block.stateID())
		}
		if w := q.plan.Window; w != nil {
			list = append(list, component(names[n]+"/window", "window/"+w.Name, q.spec.Version, state.Warm, depends, q.unitSource(windows)))
			within = append(within, names[n]+"/window")
		}
		if s := q.plan.Source; s != nil && s.Window != nil {
			within = append(within, namedWindowID(s.Window))
		}
		if q.join != nil {
			for i := range q.join.sides {
				side := &q.join.sides[i]
				if w := side.plan.Stream.Window; w != nil {
					within = append(within, namedWindowID(w))
				}
				if w := side.plan.Window; w != nil {
					id := names[n] + sideRoles[i]
					list = append(list, component(id, "window/"+w.Name, side.spec.Version, state.Warm, slices.Clone(depends), q.unitSource(sidePart(i))))
					within = append(within, id)
				}
			}
		}
		if q.pattern != nil {
			var source state.Source = patternSource{unitSource{q, windows}}
			if q.block != nil {
				source = patternsOfKeys{unitsOfKeys{unitSource{q, windows}}}
			}
			list = append(list, component(names[n]+"/pattern", "pattern/"+q.pattern.digest(), patternVersion, state.Warm, depends, source))
		}
		if len(q.plan.Aggs) > 0 {
			depends = append(slices.Clone(depends), within...)
			list = append(list, component(names[n]+"/aggregate", aggregateType(q), aggregateVersion, state.Hot, depends, aggregateSource{q}))
		}
		if q.rate != nil {
			list = append(list, component(names[n]+"/output", q.rate.typ(), ratelimit.Version, state.Warm, depends, q.unitSource(rates)))
		}
	}
	return list
}

// sideRoles name the windows of the sides of a join.
var sideRoles = [...]string{"/left", "/right"}

func component(id, typ, version string, access state.Access, depends []string, source state.Source) Component {
	info := state.Info{ID: id, Type: typ, Version: semver.MustParse(version), Access: access, DependsOn: depends}
	return Component{Info: info, Source: source}
}

func (e *Engine) clockFields(f *window.Fields) {
	e.env.Fields(f)
	f.Uint(&e.chunks)
}

func (b *block) stateID() string { return blockNames(b.e.plan)[b.id] + "/keys" }

// aggregateType names the aggregators and the versions of their states: entries of other
// aggregators do not fit. A list that is too long for a type is named by its digest.
func aggregateType(q *query) string {
	names := make([]string, len(q.plan.Aggs))
	for i, a := range q.plan.Aggs {
		spec, _ := aggregate.Lookup(a.Name)
		names[i] = a.Name + "@" + spec.Version
	}
	typ := "aggregate/" + strings.Join(names, ",")
	if len(typ) <= state.NameBytesMax {
		return typ
	}
	return fmt.Sprintf("aggregate/%d@sha256:%x", len(names), sha256.Sum256([]byte(typ)))
}

// Components returns the stateful parts of the task: the parts of its engine, the writers
// of its log and the message ids of each of its streams.
func (t *Task) Components() []Component {
	list := append(t.Engine.Components(),
		component("log/stamp", "log/stamp", taskVersion, state.Hot, nil,
			stampSource{fieldsSource{"stamp", func(f *window.Fields) { f.Int(&t.stamp) }}, t}),
		component("log/version", "log/version", taskVersion, state.Hot, nil, newVersionSource(t)),
		component("log/writers", "log/writers", taskVersion, state.Hot, nil, newWritersSource(t.chain)),
	)
	for i, s := range t.plan.Streams {
		if s.Defined {
			list = append(list, component(s.Name+"/ids", "log/ids", taskVersion, state.Hot, nil, t.ids[i]))
			if l := t.links[i]; l != nil {
				list = append(list, component(s.Name+"/links", "log/links", taskVersion, state.Hot, nil, l))
			}
		}
	}
	return list
}
