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
	c := &checker{
		report:    r,
		rules:     by,
		plan:      &Plan{Partitions: 1, Lateness: LatenessOff, Ahead: aheadDefault},
		functions: functionTable(),
		outer:     map[string]*known{},
		faults:    map[string]*known{},
		later:     map[string]Pos{},
		names:     map[string]Pos{},
		tables:    map[string]*Table{},
		feeds:     map[*Stream][]*Stream{},
		negations: map[*Negation]*Binary{},
		keyAt:     map[*Partition][]Pos{},
		block:     -1,
	}
	if !c.withinLimits(app) {
		return nil, c.err()
	}
	c.appAnnotations(app.Annotations)
	for _, d := range app.Streams {
		c.definition(d)
	}
	for _, d := range app.Tables {
		c.tableDef(d)
	}
	for _, d := range app.Windows {
		c.namedWindow(d)
	}
	for _, d := range app.Triggers {
		c.trigger(d)
	}
	c.collectTargets(app)
	for _, e := range app.Elements {
		switch d := e.(type) {
		case *QueryDef:
			c.query(d)
		case *PartitionDef:
			c.partition(d)
		}
	}
	c.sinks()
	c.sinkOverlaps()
	c.componentNames()
	c.publishedNames()
	c.shards(app)
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

// checker builds a plan. It keeps a wrong stream, attribute or expression as broken (nil or
// type 0), so that uses of it give no further errors.
type checker struct {
	*report
	rules
	plan      *Plan
	functions map[string]Function
	outer     map[string]*known
	inner     map[string]*known // of the current partition
	faults    map[string]*known // `!name`, by name; only those that are read
	block     int               // the current partition, or -1
	later     map[string]Pos    // streams that queries insert into
	names     map[string]Pos    // of queries
	tables    map[string]*Table
	feeds     map[*Stream][]*Stream
	negations map[*Negation]*Binary // the operator that binds less tightly than a `not`
	sinkAt    []sinkSubject
	pending   []pendingSink
	keyAt     map[*Partition][]Pos // of the keys of blocks
}

// known is a stream that can be read from here on.
type known struct {
	stream *Stream
	at     Pos
	broken bool // the query that defines it is wrong, so its shape is unknown
	target bool // a query inserts into it
}

// definition checks a `define stream`.
func (c *checker) definition(d *StreamDef) {
	name := d.Name.Text
	if first, taken := c.outer[name]; taken {
		c.errorf(d.Name.Pos, "stream %s is defined twice: first at %s", tick(name), first.at)
		return
	}
	s := &Stream{ID: len(c.plan.Streams), Name: name, Schema: c.schema(d), Defined: true, Block: -1, TimeAttr: -1, Subject: "events." + name}
	c.plan.Streams = append(c.plan.Streams, s)
	c.outer[name] = &known{stream: s, at: d.Name.Pos}
	c.streamAnnotations(d, s)
}

func (c *checker) schema(d *StreamDef) *event.Schema {
	if len(d.Attrs) > attrsMax {
		c.errorf(d.Name.Pos, "stream %s has %d attributes: expected at most %d", tick(d.Name.Text), len(d.Attrs), attrsMax)
		d = &StreamDef{Name: d.Name, Attrs: d.Attrs[:attrsMax]}
	}
	s := &event.Schema{Name: d.Name.Text}
	first := map[string]Pos{}
	for _, a := range d.Attrs {
		if at, taken := first[a.Name.Text]; taken {
			c.errorf(a.Name.Pos, "stream %s has the attribute %s twice: first at %s", tick(d.Name.Text), tick(a.Name.Text), at)
			continue
		}
		first[a.Name.Text] = a.Name.Pos
		s.Attrs = append(s.Attrs, event.Attr{Name: a.Name.Text, Type: a.Type})
	}
	return s
}

// collectTargets notes which streams queries will define, for better messages.
func (c *checker) collectTargets(app *App) {
	for _, q := range queriesOf(app) {
		if _, taken := c.later[q.Target.Name]; !taken && c.tables[q.Target.Name] == nil && q.Write == nil && !q.Target.Inner && !q.Target.Fault {
			c.later[q.Target.Name] = q.Pos
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
func (c *checker) find(r StreamRef) *known {
	if r.Inner && c.block < 0 {
		c.errorf(r.Pos, "inner stream %s outside a partition: it exists only between `begin` and `end`", tick(r.String()))
		return nil
	}
	if r.Fault {
		return c.fault(r)
	}
	if k := c.space(r.Inner)[r.Name]; k != nil {
		return k
	}
	if c.noTable(r) {
		return nil
	}
	later, filled := c.later[r.Name]
	filled = filled && r.Pos.before(later) // else it is this query itself
	switch {
	case c.space(!r.Inner)[r.Name] != nil:
		other := StreamRef{Inner: !r.Inner, Name: r.Name}
		c.errorf(r.Pos, "unknown stream %s: did you mean %s?", tick(r.String()), tick(other.String()))
	case filled && !r.Inner:
		c.errorf(r.Pos, "unknown stream %s: the query at %s fills it, but comes after this one; write that one first, or define the stream", tick(r.Name), later)
	default:
		c.errorf(r.Pos, "unknown stream %s%s", tick(r.String()), didYouMean(r.String(), c.streamNames()))
	}
	return nil
}

// space returns the streams that a reference can name.
func (c *checker) space(inner bool) map[string]*known {
	if inner {
		return c.inner
	}
	return c.outer
}

func (c *checker) streamNames() []string {
	var names []string
	for name := range c.outer {
		names = append(names, name)
	}
	for name := range c.inner {
		names = append(names, "#"+name)
	}
	slices.Sort(names)
	return names
}

// partition checks a `partition with` block and its queries.
func (c *checker) partition(d *PartitionDef) {
	b := &Partition{ID: len(c.plan.Blocks)}
	c.plan.Blocks = append(c.plan.Blocks, b)
	c.partitionAnnotations(d, b)
	keyed := map[string]Pos{}
	for _, k := range d.Keys {
		name := k.Stream.String()
		if first, taken := keyed[name]; taken {
			c.errorf(k.Stream.Pos, "stream %s has two keys in this partition: first at %s", tick(name), first)
			continue
		}
		keyed[name] = k.Stream.Pos
		c.partitionKey(b, k)
	}
	c.block, c.inner = b.ID, map[string]*known{}
	for _, q := range d.Queries {
		if checked := c.query(q); checked != nil {
			b.Queries = append(b.Queries, checked)
		}
	}
	c.block, c.inner = -1, nil
}

func (c *checker) partitionKey(b *Partition, d *KeyDef) {
	source := c.find(d.Stream)
	if source == nil || source.broken {
		return
	}
	s := &scope{schema: source.stream.Schema, stream: d.Stream, clause: "a partition key"}
	k := PartitionKey{Stream: source.stream, Text: d.text()}
	if d.Value != nil {
		k.Value = c.expr(d.Value, s)
	}
	for _, r := range d.Ranges {
		k.Ranges = append(k.Ranges, Range{Cond: c.condition(r.Cond, s, "a range"), Label: r.Label})
	}
	b.Keys = append(b.Keys, k)
	c.keyAt[b] = append(c.keyAt[b], d.Pos)
}

// deployf records an error that only a deploy reports.
func (c *checker) deployf(pos Pos, format string, args ...any) {
	if c.strict {
		c.errorf(pos, format, args...)
	}
}

// publishedNames checks the names that become part of NATS subjects.
func (c *checker) publishedNames() {
	for _, s := range c.plan.Streams {
		k := c.outer[s.Name]
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
			c.deployf(k.at, "stream %s becomes part of the NATS subject %s: %v%s", tick(s.Name), tick(full), err, hint)
		}
	}
}
