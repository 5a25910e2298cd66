package shadow

import (
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// The versions.
const (
	oldSide = 0
	newSide = 1
)

const (
	// waitingBytesMax bounds the rows that wait for the other version, whose clock is behind.
	waitingBytesMax = 64 << 20
	// keptBytesMax bounds the memory that a group keeps for its next use.
	keptBytesMax = 16 << 10
	groupsMin    = 1024
)

// Comparer compares the results of two versions of an app. Its memory is bounded by what a
// frame makes both emit; if the clocks of the versions differ, by waitingBytesMax as well.
type Comparer struct {
	report  Report
	streams map[string]*Stream
	views   map[*siddhiql.Plan]*view

	byTime bool // a version applies events in the order of time, so it may apply them later
	groups map[key]*group
	order  []*group // in the order of their first rows
	left   int      // groups that the last look left
	bytes  int      // of rows in groups
	spare  []*group
	found  []*group // scratch: groups that differ
}

// NewComparer returns a comparer that has seen nothing.
func NewComparer(app string) *Comparer {
	return &Comparer{report: Report{App: app}, streams: map[string]*Stream{}, views: map[*siddhiql.Plan]*view{}, groups: map[key]*group{}}
}

// view is what the comparer has to know of a plan.
type view struct {
	stream []*Stream  // by query: the result stream of its rows, or nil
	attrs  [][]string // by query: the attributes of its rows
}

// key identifies a cause and a result stream.
type key struct {
	stream    *Stream
	partition int
	kind      engine.CauseKind
	name      string
	seq       uint64 // of the frame; 0 if the cause may come in different frames
	event     uint64
	time      int64
}

// group holds the rows of a result stream that follow from one cause, in both versions.
type group struct {
	key   key
	first int64 // the app's clock at the first row, ms
	rows  [2][]row
	text  []byte
}

// row is a result. Its text is the message that is published.
type row struct {
	from, to int // in the text of the group
	ts       int64
	kind     window.Kind
	at       rowPosition
	attrs    []string
}

// versions tells the comparer which versions it compares.
func (c *Comparer) versions(old, next *siddhiql.Plan) {
	c.byTime = old.Lateness != siddhiql.LatenessOff || next.Lateness != siddhiql.LatenessOff
	c.viewOf(old)
	c.viewOf(next)
	published := func(p *siddhiql.Plan) map[string]bool {
		names := map[string]bool{}
		for _, s := range p.Published() {
			names[s.Name] = true
		}
		return names
	}
	before, after := published(old), published(next)
	for name, s := range c.streams {
		switch {
		case !before[name]:
			s.Missing = "old"
		case !after[name]:
			s.Missing = "new"
		default:
			was, is := attributesOf(old, name), attributesOf(next, name)
			s.OldAttributes, s.NewAttributes = without(was, is), without(is, was)
			if was, is := formatOf(old, name), formatOf(next, name); was != is {
				s.OldFormat, s.NewFormat = was, is
			}
		}
	}
}

func attributesOf(p *siddhiql.Plan, stream string) (names []string) {
	for _, a := range p.Stream(stream).Schema.Attrs {
		names = append(names, a.Name)
	}
	return names
}

// formatOf says how the messages of a stream are written.
func formatOf(p *siddhiql.Plan, stream string) string {
	if f := p.Stream(stream).Sink.ContentType(); f != "" {
		return f
	}
	return "JSON"
}

// without returns the names that are not among others.
func without(names, others []string) (rest []string) {
	for _, name := range names {
		if !slices.Contains(others, name) {
			rest = append(rest, name)
		}
	}
	return rest
}

// viewOf returns the view of a plan. Its result streams are listed with the first use.
func (c *Comparer) viewOf(p *siddhiql.Plan) *view {
	if v := c.views[p]; v != nil {
		return v
	}
	v := &view{}
	for _, q := range p.Queries {
		var s *Stream
		var attrs []string
		if q.Target.Block < 0 && !q.Target.Sink.Off && q.Target.Window == nil {
			if s = c.streams[q.Target.Name]; s == nil {
				s = &Stream{Name: q.Target.Name, Attributes: map[string]uint64{}}
				c.streams[s.Name] = s
			}
			for _, a := range q.Output.Attrs {
				attrs = append(attrs, a.Name)
			}
		}
		v.stream, v.attrs = append(v.stream, s), append(v.attrs, attrs)
	}
	c.views[p] = v
	return v
}

// add takes over the rows that a version has emitted. The first is at position at, which moves
// past the last.
func (c *Comparer) add(side int, at *rowPosition, plan *siddhiql.Plan, e emitted) {
	outputs, causes := e.Outputs(), e.Causes()
	if len(outputs) == 0 {
		return
	}
	v := c.viewOf(plan)
	var cause engine.Cause
	for n, o := range outputs {
		for len(causes) > 0 && causes[0].Outputs <= n {
			cause, causes = causes[0], causes[1:]
		}
		s := v.stream[o.Query]
		if s == nil {
			at.ordinal += uint64(o.To - o.From)
			continue
		}
		g := c.groupOf(c.keyOf(s, &cause, at), o.Clock)
		rows, kinds := e.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			r := row{from: len(g.text), ts: rows.TS[i], kind: kinds[i], at: *at, attrs: v.attrs[o.Query]}
			g.text = rowjson.AppendObject(g.text, rows, i)
			r.to = len(g.text)
			c.bytes += r.to - r.from
			g.rows[side] = append(g.rows[side], r)
			at.ordinal++
		}
	}
}

func (c *Comparer) keyOf(s *Stream, cause *engine.Cause, at *rowPosition) key {
	k := key{stream: s, partition: at.partition, kind: cause.Kind, name: cause.Name, seq: at.seq, event: cause.Event, time: cause.Time}
	if c.byTime && cause.Kind != engine.CauseChange {
		k.seq, k.event = 0, 0
	}
	return k
}

func (c *Comparer) groupOf(k key, clock int64) *group {
	if g := c.groups[k]; g != nil {
		return g
	}
	var g *group
	if n := len(c.spare); n > 0 {
		g, c.spare = c.spare[n-1], c.spare[:n-1]
	} else {
		g = &group{}
	}
	g.key, g.first = k, clock
	c.groups[k] = g
	c.order = append(c.order, g)
	return g
}

// compareComplete compares what no version adds to any more: the clocks of both have reached now.
func (c *Comparer) compareComplete(now *int64) {
	if !c.byTime {
		now = nil
	}
	if now != nil && c.bytes > waitingBytesMax {
		c.report.Early += uint64(len(c.order))
		now = nil
	}
	if now != nil && len(c.order) < 2*c.left+groupsMin {
		return // to look at all that wait at each frame would be slow
	}
	c.compare(now)
}

// finish compares what both versions have reached, and counts the rest as waiting. Equal rows
// are equal, however early.
func (c *Comparer) finish(now int64) {
	if !c.byTime {
		return // nothing waits
	}
	c.compare(&now)
	for _, g := range c.order {
		if n := len(g.rows[oldSide]); g.same() {
			g.key.stream.Equal += uint64(n)
		} else {
			c.report.Waiting += uint64(n + len(g.rows[newSide]))
		}
	}
	clear(c.groups)
	c.order, c.left, c.bytes = nil, 0, 0
}

// compare compares the groups before now; nil compares all.
func (c *Comparer) compare(now *int64) {
	rest := c.order[:0]
	for _, g := range c.order {
		if now != nil && g.key.time >= *now {
			rest = append(rest, g)
			continue
		}
		delete(c.groups, g.key)
		if g.same() {
			g.key.stream.Equal += uint64(len(g.rows[oldSide]))
			c.release(g)
		} else {
			c.found = append(c.found, g)
		}
	}
	clear(c.order[len(rest):])
	c.order, c.left = rest, len(rest)
	slices.SortStableFunc(c.found, before)
	for _, g := range c.found {
		c.differ(g)
		c.release(g)
	}
	c.found = c.found[:0]
}

// before orders groups by the arrival of their causes, as far as that is known.
func before(a, b *group) int {
	switch {
	case a.first != b.first:
		return int(min(max(a.first-b.first, -1), 1))
	case a.key.seq == b.key.seq && a.key.event > 0 && b.key.event > 0 && a.key.event != b.key.event:
		if a.key.event < b.key.event {
			return -1
		}
		return 1
	}
	return strings.Compare(a.key.stream.Name, b.key.stream.Name)
}

// same reports whether both versions have the same rows.
func (g *group) same() bool {
	a, b := g.rows[oldSide], g.rows[newSide]
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !g.equal(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

// release takes back the memory of a group.
func (c *Comparer) release(g *group) {
	c.bytes -= len(g.text)
	if len(c.spare) < 1<<15 && cap(g.text) <= keptBytesMax {
		g.rows[oldSide], g.rows[newSide], g.text = g.rows[oldSide][:0], g.rows[newSide][:0], g.text[:0]
		c.spare = append(c.spare, g)
	}
}
