package siddhiql

import (
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/subject"
)

const (
	partitionsMax = 256
	appNameMax    = 100 // bytes
)

// pendingSink is a @sink, which can be checked only when all queries are known.
type pendingSink struct {
	*Annotation
	stream string // of the definition that has it, or ""
}

func is(a *Annotation, name string) bool { return strings.EqualFold(a.Name, name) }

// definitionChecker checks the annotations of an app, and the definitions of its streams,
// named windows and triggers.
type definitionChecker struct {
	*build
	catalog  *catalog
	handlers *handlerChecker
	mappings *mappingChecker
	sinks    *sinkChecker
}

// app reads @app:…. At a start, the first of several equal ones counts.
func (df *definitionChecker) app(list []*Annotation) {
	df.known(list, onApp)
	seen := map[string]bool{}
	for _, a := range list {
		name := strings.ToLower(a.Name)
		if seen[name] {
			continue
		}
		seen[name] = true
		switch name {
		case "app:name":
			df.name(a)
		case "app:partitions":
			df.partitions(a)
		case "app:playback":
			df.playback(a)
		}
	}
}

// value returns the one value of an annotation such as @app:name('X').
func (bd *build) value(a *Annotation) (v string, at Pos, ok bool) {
	if len(a.Elems) != 1 || a.Elems[0].Key != "" || a.Elems[0].Nested != nil {
		bd.errorf(a.Pos, "`@%s` takes one value in quotes: write `@%s('…')`", a.Name, a.Name)
		return "", Pos{}, false
	}
	return a.Elems[0].Value, a.Elems[0].Pos, true
}

func (df *definitionChecker) name(a *Annotation) {
	name, at, ok := df.value(a)
	if !ok {
		return
	}
	bad := strings.ContainsFunc(name, func(r rune) bool { return r > 0x7f || !isLetter(byte(r)) && !isDigit(byte(r)) && r != '-' })
	if bad || name == "" || len(name) > appNameMax {
		df.errorf(at, "the app's name '%s' becomes part of NATS subjects and of JetStream streams' names: expected 1 to %d letters A-Z, digits, `_` and `-`", shorten(name), appNameMax)
		return
	}
	if name[0] == '-' {
		df.deployf(at, "the app's name '%s' starts with `-`, which commands read as a flag: expected a letter, a digit or `_` first", shorten(name))
	}
	df.plan.Name = name
}

func (df *definitionChecker) partitions(a *Annotation) {
	text, at, ok := df.value(a)
	if !ok {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > partitionsMax {
		df.errorf(at, "found '%s' partitions, expected a whole number from 1 to %d", shorten(text), partitionsMax)
		return
	}
	df.plan.Partitions = n
}

// elems returns an annotation's elements by key. Keys that are not allowed, and repeated
// ones, are errors.
func (bd *build) elems(a *Annotation, allowed ...string) (map[string]*AnnotationElem, bool) {
	found := map[string]*AnnotationElem{}
	good := true
	for _, e := range a.Elems {
		key := strings.ToLower(e.Key)
		switch {
		case e.Nested != nil:
			bd.errorf(e.Pos, "found `@%s` inside `@%s`, expected %s", e.Nested.Name, a.Name, listOf(allowed, "or"))
		case len(allowed) == 0:
			bd.errorf(e.Pos, "`@%s` takes no settings", a.Name)
		case key == "":
			bd.errorf(e.Pos, "found '%s' in `@%s`, expected a key before it: %s", shorten(e.Value), a.Name, listOf(allowed, "or"))
		case !contains(allowed, key):
			bd.errorf(e.Pos, "unknown key %s of `@%s`%s", tick(e.Key), a.Name, didYouMean(e.Key, allowed))
		case found[key] != nil:
			bd.errorf(e.Pos, "the key %s of `@%s` stands twice", tick(e.Key), a.Name)
		default:
			found[key] = e
			continue
		}
		good = false
	}
	return found, good
}

func contains(list []string, s string) bool {
	for _, v := range list {
		if v == s {
			return true
		}
	}
	return false
}

// streamAnnotations reads the annotations of a definition.
func (df *definitionChecker) streamAnnotations(d *StreamDef, s *Stream) {
	df.known(d.Annotations, onStream)
	sourced := false
	for _, a := range d.Annotations {
		switch {
		case is(a, "source") && sourced:
			df.errorf(a.Pos, "stream %s has two `@source`: expected one subject, which may have wildcards", tick(s.Name))
		case is(a, "source"):
			sourced = true
			df.source(a, s)
		case is(a, "sink"):
			df.sinks.pending = append(df.sinks.pending, pendingSink{a, s.Name})
		case is(a, "onerror"):
			df.onError(a, s)
		}
	}
}

func (df *definitionChecker) source(a *Annotation, s *Stream) {
	mapping, a := df.nested(a, "map")
	if mapping != nil {
		df.mappings.mapping(mapping, s)
	}
	written := len(a.Elems)
	a, good := df.mappings.transport(a)
	if !good {
		return
	}
	elems, good := df.elems(a, annotations["source"].keys...)
	if !good {
		return
	}
	if e := elems["kv"]; e != nil {
		df.errorf(e.Pos, "a KV bucket fills a table, and %s is a stream: write `@PrimaryKey('…') @source(kv='…') define table …`, and join the table", tick(s.Name))
		return
	}
	if e := elems["timestamp"]; e != nil {
		df.timestamp(e, s)
	}
	if elems["stream"] != nil {
		df.origin(elems, s)
		return
	}
	if e := elems["from"]; e != nil {
		df.errorf(e.Pos, "`from` says where in a JetStream stream reading starts, but `@source` names none: write `@source(stream='…', from='…')`")
		return
	}
	e := elems["subject"]
	if e == nil {
		if elems["timestamp"] == nil && mapping == nil && len(a.Elems) == written {
			df.errorf(a.Pos, "`@source` names no subject: write `@source(subject='…')`, or leave it out for `%s`", s.Subject)
		}
		return
	}
	if err := subject.CheckSource(e.Value, df.plan.Name, df.inboxes...); err != nil {
		df.deployf(e.Pos, "%v", err)
	}
	s.Subject = e.Value
}

// queryAnnotations reads the annotations of a query.
func (qc *queryChecker) queryAnnotations(d *QueryDef, q *Query) {
	qc.known(d.Annotations, onQuery)
	for _, a := range d.Annotations {
		switch {
		case is(a, "sink"):
			qc.sinks.pending = append(qc.sinks.pending, pendingSink{Annotation: a})
		case is(a, "info"):
			qc.info(a, q)
		}
	}
}

// info reads the query's name.
func (qc *queryChecker) info(a *Annotation, q *Query) {
	for _, e := range a.Elems {
		if strings.EqualFold(e.Key, "name") && q.Name == "" {
			qc.queryName(e, q)
		}
		if strings.EqualFold(e.Key, "was") {
			q.Was = e.Value
			if e.Value == "" {
				qc.deployf(e.Pos, "the query's former name is empty")
			}
		}
	}
	if q.Name == "" && (len(a.Elems) == 0 || a.Elems[0].Key == "") {
		qc.errorf(a.Pos, "`@info` names no query: write `@info(name='…')`")
	}
}

// partitionAnnotations reads the annotations of a partition.
func (qc *queryChecker) partitionAnnotations(d *PartitionDef, b *Partition) {
	qc.known(d.Annotations, onPartition)
	for _, a := range d.Annotations {
		switch {
		case is(a, "sink"):
			qc.sinks.pending = append(qc.sinks.pending, pendingSink{Annotation: a})
		case is(a, "purge"):
			qc.purge(a, b)
		}
	}
}

// purge reads @purge(enable='true', idle.period='1 hour' [, interval='1 min']). Deploys of
// earlier releases ignored it, so a start ignores wrong settings.
func (qc *queryChecker) purge(a *Annotation, b *Partition) {
	if !qc.strict {
		qc = &queryChecker{build: &build{report: &report{}, rules: rules{strict: true}}}
	}
	elems, good := qc.elems(a, annotations["purge"].keys...)
	if !good {
		return
	}
	enable, idle := elems["enable"], elems["idle.period"]
	if enable == nil || idle == nil {
		qc.errorf(a.Pos, "`@purge` needs both: write `@purge(enable='true', idle.period='1 hour')`")
		return
	}
	period, good := qc.period(idle)
	if interval := elems["interval"]; interval != nil {
		_, right := qc.period(interval)
		good = good && right
	}
	switch on := strings.ToLower(enable.Value); {
	case on != "true" && on != "false":
		qc.errorf(enable.Pos, "found enable='%s', expected 'true' or 'false'", shorten(enable.Value))
	case good && on == "true":
		b.IdlePeriod = period
	}
}

// period reads a time of at least 1 ms, such as '10 sec'.
func (bd *build) period(e *AnnotationElem) (ms int64, ok bool) {
	ms, ok = duration(e.Value)
	if !ok || ms <= 0 {
		bd.errorf(e.Pos, "found %s='%s', expected a time of at least 1 millisecond, such as '10 sec'", e.Key, shorten(e.Value))
	}
	return ms, ok && ms > 0
}

// duration reads a time as the language writes it, in ms.
func duration(text string) (ms int64, ok bool) {
	r := &report{}
	p := &parser{report: r, tokens: scan(text, r)}
	var n Node
	ok = p.statement(false, func() { n = p.expression("a time") })
	l, constant := n.(*Literal)
	if !ok || !constant || !l.Time || p.peek().kind != tokenEOF || len(r.errs) > 0 {
		return 0, false
	}
	return l.Int, true
}

func (qc *queryChecker) queryName(e *AnnotationElem, q *Query) {
	first, taken := qc.names[e.Value]
	switch {
	case e.Value == "":
		qc.errorf(e.Pos, "the query's name is empty")
	case taken:
		qc.errorf(e.Pos, "two queries are called '%s': first at %s", shorten(e.Value), first)
	default:
		qc.names[e.Value] = e.Pos
		if err := subject.CheckLabel(e.Value); err != nil {
			qc.deployf(e.Pos, "the query's name finds its state: %v", err)
		}
	}
	q.Name = e.Value
}

// sinkChecker checks where results go.
type sinkChecker struct {
	*build
	catalog   *catalog
	mappings  *mappingChecker
	subjectAt []sinkSubject
	viewAt    []sinkSubject // streams with a view
	tableAt   []sinkSubject // those of tables
	pending   []pendingSink
}

// all applies every @sink, once it is known which streams have rows.
func (sk *sinkChecker) all() {
	seen := map[string]Pos{}
	for _, p := range sk.pending {
		if sk.mappings.logSink(p.Annotation) {
			continue
		}
		mapping, a := sk.nested(p.Annotation, "map")
		a, good := sk.mappings.transport(a)
		if !good {
			continue
		}
		elems, good := sk.elems(a, annotations["sink"].keys...)
		if !good {
			continue
		}
		name, at := p.stream, p.Pos
		if e := elems["stream"]; e != nil {
			name, at = e.Value, e.Pos
		}
		k := sk.stream(name, at)
		if k == nil {
			continue
		}
		if first, taken := seen[name]; taken {
			sk.errorf(at, "stream %s has two `@sink`: first at %s", tick(name), first)
			continue
		}
		seen[name] = at
		if k.stream.Table != nil {
			k.stream.Sink.Off = false
			sk.tableAt = append(sk.tableAt, sinkSubject{k.stream, p.Pos})
		}
		sk.sink(elems, &k.stream.Sink)
		sk.subject(elems, k.stream)
		sk.view(elems, k.stream)
		sk.bounds(elems)
		sk.perSubject(elems, k.stream)
		if mapping != nil {
			sk.mappings.resultMap(mapping, k.stream)
		}
	}
}

// stream finds the stream of a @sink, or reports why there is none.
func (sk *sinkChecker) stream(name string, at Pos) *known {
	k := sk.catalog.outer[name]
	if t := sk.catalog.tables[name]; t != nil && k == nil {
		if t.Bucket != nil {
			sk.errorf(at, "a KV bucket fills table %s, and has its rows already: leave `@sink` out", tick(name))
			return nil
		}
		return &known{stream: t.Stream, at: at}
	}
	switch {
	case name == "":
		sk.errorf(at, "`@sink` here names no stream: write `@sink(stream='…', …)`")
	case strings.HasPrefix(name, "#"):
		sk.errorf(at, "inner streams such as %s are never published: expected a stream outside partitions", tick(name))
	case k == nil:
		sk.errorf(at, "unknown stream %s in `@sink`%s", tick(name), didYouMean(name, sk.catalog.targetNames()))
	case k.stream.Window != nil:
		sk.errorf(at, "%s is a window, whose rows are not published: expected a stream that a query inserts into", tick(name))
	case !k.target:
		sk.errorf(at, "no query inserts into stream %s of `@sink`: there is nothing to publish", tick(name))
	default:
		return k
	}
	return nil
}

func (ct *catalog) targetNames() []string {
	var names []string
	for _, s := range ct.plan.Streams {
		if k := ct.outer[s.Name]; s.Block < 0 && k != nil && k.target {
			names = append(names, s.Name)
		}
	}
	return names
}

func (sk *sinkChecker) sink(elems map[string]*AnnotationElem, s *Sink) {
	if e := elems["pack"]; e != nil {
		s.Packed = strings.EqualFold(e.Value, "ndjson")
		if !s.Packed {
			sk.errorf(e.Pos, "unknown pack '%s': expected 'ndjson', or no `pack` for one JSON object to a message", shorten(e.Value))
		}
	}
	if e := elems["publish"]; e != nil {
		s.Off = strings.EqualFold(e.Value, "false")
		if !s.Off && !strings.EqualFold(e.Value, "true") {
			sk.errorf(e.Pos, "found publish='%s', expected 'true' or 'false'", shorten(e.Value))
		}
	}
}
