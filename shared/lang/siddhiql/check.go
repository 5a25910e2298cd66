package siddhiql

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/subject"
)

// Compile parses and checks the text of an app for a deploy. inboxes are the first tokens
// of the subjects where services get their answers (nats.inbox): no source may read those.
// Its error is an ErrorList.
func Compile(text string, inboxes ...string) (*Plan, error) {
	return compile(text, rules{strict: true, inboxes: inboxes})
}

// CompileDeployed compiles a text that a deploy has accepted, perhaps of an earlier
// release. A start must not refuse such a text, so later rules do not apply: what they
// refuse has no effect, as before. Its error is an ErrorList.
func CompileDeployed(text string) (*Plan, error) { return compile(text, rules{}) }

// rules say how strictly to check a text.
type rules struct {
	strict  bool // as at a deploy; else as at a start
	inboxes []string
}

func compile(text string, by rules) (*Plan, error) {
	r := &report{}
	app := parse(text, r)
	if len(r.errs) > r.untyped { // half a tree would give false errors
		return nil, r.err()
	}
	return check(app, r, by)
}

// Check resolves and types a syntax tree from Parse, as Compile does. Its error is an
// ErrorList of everything that the language refuses, without errors that only follow from
// others.
func Check(app *App) (*Plan, error) { return check(app, &report{}, rules{strict: true}) }

func check(app *App, r *report, by rules) (*Plan, error) {
	c := newChecker(r, by)
	if !c.withinLimits(app) {
		return nil, c.err()
	}
	c.definitions.app(app.Annotations)
	c.mappings.readFiles(app.Annotations)
	for _, d := range app.Streams {
		c.definitions.stream(d)
	}
	for _, d := range app.Tables {
		c.tables.definition(d)
	}
	for _, d := range app.Windows {
		c.definitions.namedWindow(d)
	}
	for _, d := range app.Triggers {
		c.definitions.trigger(d)
	}
	c.catalog.collectTargets(app)
	for _, e := range app.Elements {
		switch d := e.(type) {
		case *QueryDef:
			c.queries.query(d)
		case *PartitionDef:
			c.queries.partition(d)
		}
	}
	c.sinks.all()
	c.sinks.overlaps()
	c.sinks.views()
	c.sinks.tables()
	c.mappings.unusedFiles()
	c.definitions.componentNames()
	c.catalog.publishedNames()
	c.shards.check(app)
	if err := c.err(); err != nil {
		return nil, err
	}
	c.plan.Warnings.sort()
	sum := sha256.Sum256([]byte(app.String()))
	c.plan.Digest = hex.EncodeToString(sum[:16])
	return c.plan, nil
}

const (
	statementsMax = 1000 // definitions, and queries, of an app
	attrsMax      = 1000 // attributes of a stream
)

// withinLimits refuses apps that would take long just to check.
func (c *checker) withinLimits(app *App) bool {
	streams, queries := len(app.Streams)+len(app.Tables)+len(app.Windows)+len(app.Triggers), len(queriesOf(app))
	if streams <= statementsMax && queries <= statementsMax {
		return true
	}
	c.errorf(Pos{1, 1}, "the app has %d definitions and %d queries: expected at most %d of each; split it into several apps", streams, queries, statementsMax)
	return false
}

// build is the plan that a check makes, and what it finds wrong. It keeps a wrong stream,
// attribute or expression as broken (nil or type 0), so that uses of it give no further errors.
type build struct {
	*report
	rules
	plan *Plan
}

// checker checks a text, part by part. A part uses only parts below it:
//
//	queries ──▶ joins · patterns · tables · definitions · sinks · shards
//	                    │                      │
//	           handlers ──▶ exprs           mappings
//	                          │
//	                       catalog
//	                          │
//	                        build
type checker struct {
	*build
	catalog     *catalog
	exprs       *exprChecker
	mappings    *mappingChecker
	handlers    *handlerChecker
	sinks       *sinkChecker
	shards      *shardChecker
	tables      *tableChecker
	joins       *joinChecker
	patterns    *patternChecker
	definitions *definitionChecker
	queries     *queryChecker
}

func newChecker(r *report, by rules) *checker {
	b := &build{report: r, rules: by, plan: &Plan{Partitions: 1, Lateness: LatenessOff, Ahead: aheadDefault}}
	c := &checker{build: b}
	c.catalog = &catalog{
		build: b, outer: map[string]*known{}, faults: map[string]*known{}, later: map[string]Pos{}, tables: map[string]*Table{},
		feeds: map[*Stream][]*Stream{}, block: -1,
	}
	c.exprs = &exprChecker{build: b, catalog: c.catalog, functions: functionTable(), negations: map[*Negation]*Binary{}}
	c.mappings = &mappingChecker{build: b, catalog: c.catalog, files: map[string]*embedded{}}
	c.handlers = &handlerChecker{build: b, catalog: c.catalog, exprs: c.exprs}
	c.sinks = &sinkChecker{build: b, catalog: c.catalog, mappings: c.mappings}
	c.shards = &shardChecker{build: b, catalog: c.catalog, keyAt: map[*Partition][]Pos{}}
	c.tables = &tableChecker{build: b, catalog: c.catalog, exprs: c.exprs, mappings: c.mappings, sinks: c.sinks}
	c.joins = &joinChecker{build: b, catalog: c.catalog, exprs: c.exprs, handlers: c.handlers}
	c.patterns = &patternChecker{build: b, catalog: c.catalog, exprs: c.exprs}
	c.definitions = &definitionChecker{build: b, catalog: c.catalog, handlers: c.handlers, mappings: c.mappings, sinks: c.sinks}
	c.queries = &queryChecker{
		build: b, catalog: c.catalog, exprs: c.exprs, handlers: c.handlers, joins: c.joins, patterns: c.patterns,
		tables: c.tables, sinks: c.sinks, shards: c.shards, names: map[string]Pos{},
	}
	return c
}

// catalog has what queries can read and write, and finds it by name.
type catalog struct {
	*build
	outer  map[string]*known
	inner  map[string]*known // of the current partition
	faults map[string]*known // `!name`, by name; only those that are read
	block  int               // the current partition, or -1
	later  map[string]Pos    // streams that queries insert into
	tables map[string]*Table
	feeds  map[*Stream][]*Stream
}

// known is a stream that can be read from here on.
type known struct {
	stream *Stream
	at     Pos
	broken bool // the query that defines it is wrong, so its shape is unknown
	target bool // a query inserts into it
}

// stream checks a `define stream`.
func (df *definitionChecker) stream(d *StreamDef) {
	name := d.Name.Text
	if first, taken := df.catalog.outer[name]; taken {
		df.errorf(d.Name.Pos, "stream %s is defined twice: first at %s", tick(name), first.at)
		return
	}
	s := &Stream{ID: len(df.plan.Streams), Name: name, Schema: df.schema(d), Defined: true, Block: -1, TimeAttr: -1, Subject: "events." + name}
	df.plan.Streams = append(df.plan.Streams, s)
	df.catalog.outer[name] = &known{stream: s, at: d.Name.Pos}
	df.streamAnnotations(d, s)
}

func (bd *build) schema(d *StreamDef) *event.Schema {
	if len(d.Attrs) > attrsMax {
		bd.errorf(d.Name.Pos, "stream %s has %d attributes: expected at most %d", tick(d.Name.Text), len(d.Attrs), attrsMax)
		d = &StreamDef{Name: d.Name, Attrs: d.Attrs[:attrsMax]}
	}
	s := &event.Schema{Name: d.Name.Text}
	first := map[string]Pos{}
	for _, a := range d.Attrs {
		if at, taken := first[a.Name.Text]; taken {
			bd.errorf(a.Name.Pos, "stream %s has the attribute %s twice: first at %s", tick(d.Name.Text), tick(a.Name.Text), at)
			continue
		}
		first[a.Name.Text] = a.Name.Pos
		s.Attrs = append(s.Attrs, event.Attr{Name: a.Name.Text, Type: a.Type})
	}
	return s
}

// collectTargets notes which streams queries will define, for better messages.
func (ct *catalog) collectTargets(app *App) {
	for _, q := range queriesOf(app) {
		if _, taken := ct.later[q.Target.Name]; !taken && ct.tables[q.Target.Name] == nil && q.Write == nil && !q.Target.Inner && !q.Target.Fault {
			ct.later[q.Target.Name] = q.Pos
		}
	}
}

func queriesOf(app *App) []*QueryDef {
	var list []*QueryDef
	for _, e := range app.Elements {
		switch d := e.(type) {
		case *QueryDef:
			list = append(list, d)
		case *PartitionDef:
			list = append(list, d.Queries...)
		}
	}
	return list
}

// find returns a stream by reference. If there is none, it reports that and returns nil.
func (ct *catalog) find(r StreamRef) *known {
	if r.Inner && ct.block < 0 {
		ct.errorf(r.Pos, "inner stream %s outside a partition: it exists only between `begin` and `end`", tick(r.String()))
		return nil
	}
	if r.Fault {
		return ct.fault(r)
	}
	if k := ct.space(r.Inner)[r.Name]; k != nil {
		return k
	}
	if ct.noTable(r) {
		return nil
	}
	later, filled := ct.later[r.Name]
	filled = filled && r.Pos.before(later) // else it is this query itself
	switch {
	case ct.space(!r.Inner)[r.Name] != nil:
		other := StreamRef{Inner: !r.Inner, Name: r.Name}
		ct.errorf(r.Pos, "unknown stream %s: did you mean %s?", tick(r.String()), tick(other.String()))
	case filled && !r.Inner:
		ct.errorf(r.Pos, "unknown stream %s: the query at %s fills it, but comes after this one; write that one first, or define the stream", tick(r.Name), later)
	default:
		ct.errorf(r.Pos, "unknown stream %s%s", tick(r.String()), didYouMean(r.String(), ct.streamNames()))
	}
	return nil
}

// space returns the streams that a reference can name.
func (ct *catalog) space(inner bool) map[string]*known {
	if inner {
		return ct.inner
	}
	return ct.outer
}

func (ct *catalog) streamNames() []string {
	var names []string
	for name := range ct.outer {
		names = append(names, name)
	}
	for name := range ct.inner {
		names = append(names, "#"+name)
	}
	slices.Sort(names)
	return names
}

// partition checks a `partition with` block and its queries.
func (qc *queryChecker) partition(d *PartitionDef) {
	b := &Partition{ID: len(qc.plan.Blocks)}
	qc.plan.Blocks = append(qc.plan.Blocks, b)
	qc.partitionAnnotations(d, b)
	keyed := map[string]Pos{}
	for _, k := range d.Keys {
		name := k.Stream.String()
		if first, taken := keyed[name]; taken {
			qc.errorf(k.Stream.Pos, "stream %s has two keys in this partition: first at %s", tick(name), first)
			continue
		}
		keyed[name] = k.Stream.Pos
		qc.partitionKey(b, k)
	}
	qc.catalog.block, qc.catalog.inner = b.ID, map[string]*known{}
	for _, q := range d.Queries {
		if checked := qc.query(q); checked != nil {
			b.Queries = append(b.Queries, checked)
		}
	}
	qc.catalog.block, qc.catalog.inner = -1, nil
}

func (qc *queryChecker) partitionKey(b *Partition, d *KeyDef) {
	source := qc.catalog.find(d.Stream)
	if source == nil || source.broken {
		return
	}
	s := &scope{schema: source.stream.Schema, stream: d.Stream, clause: "a partition key"}
	k := PartitionKey{Stream: source.stream, Text: d.text()}
	if d.Value != nil {
		k.Value = qc.exprs.expr(d.Value, s)
	}
	for _, r := range d.Ranges {
		k.Ranges = append(k.Ranges, Range{Cond: qc.exprs.condition(r.Cond, s, "a range"), Label: r.Label})
	}
	b.Keys = append(b.Keys, k)
	qc.shards.keyAt[b] = append(qc.shards.keyAt[b], d.Pos)
}

// deployf records an error that only a deploy reports.
func (bd *build) deployf(pos Pos, format string, args ...any) {
	if bd.strict {
		bd.errorf(pos, format, args...)
	}
}

// publishedNames checks the names that become part of NATS subjects.
func (ct *catalog) publishedNames() {
	for _, s := range ct.plan.Streams {
		k := ct.outer[s.Name]
		published := k != nil && k.target && !s.Sink.Off
		if s.Block >= 0 || k == nil || !s.Defined && !published {
			continue
		}
		full := "events." + s.Name
		if !s.Defined {
			full = "out.<app>." + s.Name
		}
		if err := subject.CheckName(s.Name); err != nil {
			hint := ""
			if !s.Defined {
				hint = ", or @sink(stream='…', publish='false')"
			}
			ct.deployf(k.at, "stream %s becomes part of the NATS subject %s: %v%s", tick(s.Name), tick(full), err, hint)
		}
	}
}
