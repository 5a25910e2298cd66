package engine

import (
	"reflect"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/ratelimit"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/testing/scribble"
)

// selector turns chunks into output rows: aggregators, select, having, the choice of one
// row per chunk or group, order by, offset and limit. It holds scratch memory of one chunk;
// whatever outlives a chunk is in the state.
type selector struct {
	q       *query
	ordered bool // order by, limit or offset decide what comes out
	keyed   bool // the output rate asks for the groups of rows
	vals    [][]aggregate.Value
	results []aggregate.Value

	stage  *event.Batch // rows that may come out, if some may not
	kinds  []window.Kind
	slots  []int32 // of their groups, if keyed
	picked []int32 // rows of stage that come out, in order

	chunk int64   // number of chunks seen
	seen  []int64 // by group's slot: the last chunk that picked a row
	place []int32 // by group's slot: its place in picked

	rows []window.Row // what was emitted, as its readers see it
}

func (x *selector) init(q *query) {
	x.q = q
	p := q.plan
	x.ordered = len(p.OrderBy) > 0 || p.Limit >= 0 || p.Offset > 0
	x.keyed = q.rate != nil && q.rate.config.Grouped
	x.results = make([]aggregate.Value, len(p.Aggs))
	for n, a := range p.Aggs {
		if same := slices.IndexFunc(p.Aggs[:n], func(o siddhiql.Agg) bool { return reflect.DeepEqual(a.Args, o.Args) }); same >= 0 {
			x.vals = append(x.vals, x.vals[same]) // its arguments are evaluated once
			q.args[n] = nil
		} else {
			x.vals = append(x.vals, make([]aggregate.Value, len(a.Args)))
		}
	}
	x.stage = event.NewBatch(p.Output)
}

// run appends the rows that come out of a chunk to the query's output.
func (x *selector) run(s *memory, rows []window.Row) {
	q := x.q
	if q.rate != nil && q.rate.config.Which == ratelimit.Snapshot {
		x.runSnapshot(s, rows)
		return
	}
	last, wanted := -1, 0
	for i := range rows {
		if q.wanted[rows[i].Kind] {
			last = i
			wanted++
		}
	}
	if q.refused != nil {
		q.refused.startChunk(q.out.Len())
	}
	direct := !x.ordered && !x.keyed && (q.shape == everyRow || q.having == nil && (q.shape == lastRow || wanted <= 1))
	if !direct {
		x.runStaged(s, rows)
		return
	}
	x.shrink(len(rows))
	r := &q.e.row
	r.aggs = x.results
	for i := range rows {
		in := &rows[i]
		if in.Kind == window.Reset {
			s.reset()
			continue
		}
		r.at(in, q.e.env.Now)
		out := q.wanted[in.Kind] && (q.shape == everyRow || i == last)
		x.aggregate(s, r, in.Kind, out)
		if out {
			x.write(r, q.out, in.TS)
			if q.having != nil && !x.having(q.out) {
				q.out.Truncate(q.out.Len() - 1)
				continue
			}
			q.kinds = append(q.kinds, in.Kind)
			q.charge(q.out, 1)
			if q.refused != nil {
				q.refused.from = append(q.refused.from, *in)
			}
		}
	}
	s.endChunk()
}

// shrink gives the memory of the stage back if a chunk has far fewer rows.
func (x *selector) shrink(rows int) {
	if shrink.Far(rows, cap(x.kinds)) {
		x.stage = event.NewBatch(x.stage.Schema)
		x.kinds, x.picked, x.slots = nil, nil, nil
	}
}

// runStaged writes every wanted row of the chunk, picks from them and sorts.
func (x *selector) runStaged(s *memory, rows []window.Row) {
	q := x.q
	x.stage.Reset()
	x.kinds, x.picked, x.slots = shrink.Reset(x.kinds), shrink.Reset(x.picked), shrink.Reset(x.slots)
	x.chunk++
	r := &q.e.row
	r.aggs = x.results
	left := q.e.work.bytes
	for i := range rows {
		in := &rows[i]
		if in.Kind == window.Reset {
			s.reset()
			continue
		}
		r.at(in, q.e.env.Now)
		out := q.wanted[in.Kind]
		slot := x.aggregate(s, r, in.Kind, out)
		if !out {
			continue
		}
		x.write(r, x.stage, in.TS)
		if q.having != nil && !x.having(x.stage) {
			x.stage.Truncate(x.stage.Len() - 1)
			continue
		}
		q.charge(x.stage, 0)
		x.kinds = append(x.kinds, in.Kind)
		if q.refused != nil {
			q.refused.stage = append(q.refused.stage, *in)
		}
		if x.keyed {
			x.slots = append(x.slots, int32(slot))
		}
		x.pick(slot, int32(x.stage.Len()-1))
	}
	x.sort()
	x.endChunk()
	q.e.work.bytes = left // the stage is used again
	for _, i := range x.picked {
		q.out.AppendRow(x.stage, int(i))
		q.kinds = append(q.kinds, x.kinds[i])
		q.charge(q.out, 1)
		if q.refused != nil {
			q.refused.from = append(q.refused.from, q.refused.stage[i])
		}
		if x.keyed {
			q.rate.record(s, int(x.slots[i]))
		}
	}
	s.endChunk()
}

// aggregate feeds a row to the aggregators and returns its group's slot. It computes their
// values only if the row may come out.
func (x *selector) aggregate(s *memory, r *row, kind window.Kind, results bool) int {
	slot := 0
	if s.groups != nil {
		for _, c := range x.q.groupTexts {
			x.q.checkKey("group key", r.b.Cols[c].TextBytes(r.i))
		}
		slot = s.groups.slot(r.b, r.i)
		if s.groups.signed {
			s.groups.fresh(slot, s.clear)
		}
		switch {
		case kind == window.Current:
			s.groups.enter(slot)
		case x.q.forever != nil:
			s.groups.change(slot)
		default:
			s.groups.leave(slot)
		}
	}
	for n, a := range s.aggs {
		vals := x.vals[n]
		for i, arg := range x.q.args[n] {
			arg(r, &vals[i])
			if x.q.keyed[n] {
				x.q.checkKey("counted value", len(vals[i].Text))
			}
		}
		if kind == window.Current {
			a.Add(slot, vals)
		} else {
			a.Remove(slot, vals)
		}
		if results {
			out := &x.results[n]
			a.Result(slot, out)
			if out.Null && kind == window.Current && x.q.plan.Aggs[n].Name == "sum" {
				out.Null = vals[0].Null // values were taken away that had not been added: the sum is what is left
			}
		}
	}
	return slot
}

func (x *selector) write(r *row, dst *event.Batch, ts int64) {
	for c, w := range x.q.writes {
		w(r, &dst.Cols[c])
	}
	dst.TS = append(dst.TS, ts)
}

// having tests the last row of b, and sees only the attributes of b; of a pattern also the match.
func (x *selector) having(b *event.Batch) bool {
	e := x.q.e
	r := &e.outRow
	scribble.Bytes(r.text)
	r.call.Row++
	r.b, r.i, r.ts, r.now, r.text = b, b.Len()-1, e.row.ts, e.row.now, r.text[:0]
	if m := x.q.matched; m != nil {
		r.b, r.i = m.join(b, &e.row), 0
	}
	return x.q.having(r)
}

// matchedRow is an output of a pattern together with the match, for a having clause that reads both.
type matchedRow struct {
	both           *event.Batch
	output, values []int // attributes that having reads: of the output and, after them, of the match
}

// newMatchedRow returns nil if having reads only the output.
func newMatchedRow(plan *siddhiql.Query) *matchedRow {
	m := &matchedRow{}
	base := len(plan.Output.Attrs)
	siddhiql.EachAttr(plan.Having, func(a int) {
		if a < base {
			m.output = append(m.output, a)
		} else {
			m.values = append(m.values, a-base)
		}
	})
	if m.values == nil {
		return nil
	}
	m.both = event.NewBatch(&event.Schema{Name: plan.Output.Name, Attrs: slices.Concat(plan.Output.Attrs, plan.In.Attrs)})
	return m
}

// join makes a row of the last one of out and of the match in r.
func (m *matchedRow) join(out *event.Batch, r *row) *event.Batch {
	base := len(m.both.Cols) - len(r.b.Cols)
	for _, c := range m.output {
		m.both.Cols[c].Truncate(0)
		m.both.Cols[c].AppendFrom(&out.Cols[c], out.Len()-1)
	}
	for _, c := range m.values {
		m.both.Cols[base+c].Truncate(0)
		m.both.Cols[base+c].AppendFrom(&r.b.Cols[c], r.i)
	}
	return m.both
}

// pick makes row i of the stage come out, instead of the row that it displaces.
func (x *selector) pick(slot int, i int32) {
	switch x.q.shape {
	case lastRow:
		x.picked = append(x.picked[:0], i)
	case everyRow:
		x.picked = append(x.picked, i)
	case lastOfGroup:
		for slot >= len(x.seen) {
			x.seen = append(x.seen, 0)
			x.place = append(x.place, 0)
		}
		if x.seen[slot] == x.chunk {
			x.picked[x.place[slot]] = i
			return
		}
		x.seen[slot], x.place[slot] = x.chunk, int32(len(x.picked))
		x.picked = append(x.picked, i)
	}
}

// sort orders the picked rows, each run of one kind by itself.
func (x *selector) sort() {
	if len(x.q.plan.OrderBy) == 0 {
		return
	}
	for from := 0; from < len(x.picked); {
		to := from + 1
		for to < len(x.picked) && x.kinds[x.picked[to]] == x.kinds[x.picked[from]] {
			to++
		}
		slices.SortStableFunc(x.picked[from:to], x.compare)
		from = to
	}
}

func (x *selector) compare(a, b int32) int {
	for _, o := range x.q.plan.OrderBy {
		if order := x.stage.Cols[o.Attr].CompareNullsLast(int(a), int(b), o.Desc); order != 0 {
			return order
		}
	}
	return 0
}

// endChunk applies offset and limit to the picked rows.
func (x *selector) endChunk() {
	p := x.q.plan
	if p.Offset > 0 {
		x.picked = x.picked[min(p.Offset, int64(len(x.picked))):]
	}
	if p.Limit >= 0 && p.Limit < int64(len(x.picked)) {
		x.picked = x.picked[:p.Limit]
	}
}

// reset empties the aggregators of every group, except those that keep their values forever.
// Groups that have one of those stay.
func (s *memory) reset() {
	if s.q.forever != nil {
		s.renew()
		return
	}
	if s.groups != nil {
		s.groups.reset(s.clear)
		return
	}
	s.clear(0)
}

func (s *memory) renew() {
	clear := func(slot int) {
		for n, a := range s.aggs {
			if !s.q.forever[n] {
				a.Clear(slot)
			}
		}
	}
	if s.groups != nil {
		s.groups.renew(clear)
		return
	}
	clear(0)
}

// clear empties one group's aggregators.
func (s *memory) clear(slot int) {
	for _, a := range s.aggs {
		a.Clear(slot)
	}
}

// endChunk ends a chunk: groups without rows may be forgotten. Without aggregators
// a group only lasts for a chunk.
func (s *memory) endChunk() {
	if s.groups == nil {
		return
	}
	if len(s.aggs) == 0 {
		s.groups.reset(s.clear)
	}
	if s.groups.sweep(s.clear, s.keepSegments) {
		s.compact()
	}
}
