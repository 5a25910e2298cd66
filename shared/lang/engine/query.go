package engine

import (
	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/scribble"
)

// query is the compiled form of a siddhiql.Query. Its state is in memories: one for the
// query, or one for each key of its partition.
type query struct {
	e         *Engine
	plan      *siddhiql.Query
	id        int32
	functions []*streamFunction
	before    []cond
	after     []cond
	spec      window.Spec
	bounds    bool       // select reads the times of its batches
	used      []int      // attributes that the window must keep
	join      *joinQuery // nil: it reads no join
	args      [][]argFn  // by aggregator
	writes    []writeFn  // by output attribute
	having    cond
	matched   *matchedRow // of a having clause that also reads the match of a pattern
	// wanted says which kinds of rows are inserted.
	wanted [window.Reset + 1]bool
	shape  shape

	rowBytes int64 // of an output row, beside its texts
	texts    []int // output attributes that are texts

	groupTexts []int  // group by attributes that are texts
	windowKeys []int  // attributes of the source that are keys of the window
	keyed      []bool // by aggregator: it keeps its arguments, and they are texts
	forever    []bool // by aggregator: it keeps its values at a reset; nil if none does

	out      *event.Batch // rows emitted since the outputs were last taken
	kinds    []window.Kind
	sel      selector
	rate     *rate     // nil: rows come out at once
	memories []*memory // outside partitions: the one
	block    *block    // of the partition, or nil
	place    int       // in the block's queries
	touched  [aggregates + 1]touchedInstances
	freezing freezing      // of aggregates
	tellUnit [units]tellFn // while units of keys are frozen

	table   *tableWrite   // nil: its rows go into a stream
	pattern *patternQuery // nil: it reads no pattern
	refused *refusals     // nil: refused events are not collected
	named   *namedWindow  // that the query stands for; nil for the queries of the app

	subs  []subscriber // of the stream it inserts into, if that is not an inner one
	inner []int        // of the inner stream it inserts into: memories of the instance
}

// shape is the form of a query's output (the compaction of chunks).
type shape uint8

const (
	everyRow    shape = iota // no aggregator, no group by: every row comes out
	lastRow                  // aggregators: the last row of a chunk
	lastOfGroup              // group by: the last row of each group in a chunk
)

// memory is the state of one query, or in a partition the state for one key.
type memory struct {
	q         *query
	home      *instance // of the partition key; nil outside partitions
	win       window.Window
	aggs      []aggregate.Aggregate
	segmented []aggregate.Segmented // those of aggs whose state has segments; the others are nil
	gone      []byte                // keys of segments that changed before groups were forgotten, each with its length
	groups    *groups
	next      timer             // of win
	more      *more             // nil: the query reads one stream, and its rows come out at once
	rounds    [partCount]uint32 // the round of the touches that lists it; 0: none
	listed    [partCount]int32  // where, if it is in this round
	shown     [partCount]bool   // entries of the part were shown, so its end removes them
	emit      window.Emit
	in        []window.Row
}

// units is the number of parts of a memory with timers: windows, rightWindows and rates.
const units = rates + 1

// unit is a part of a memory with entries and timers of its own, such as a window.
type unit interface {
	state.Source
	// Due returns when it must be called next, and the number that orders it among timers
	// of the same ms; false for never.
	Due() (at int64, seq uint64, ok bool)
	// Empty reports whether a new unit would do the same from now on.
	Empty() bool
}

// more is what the memory of a query with several inputs, or with an output rate, has more
// than others.
type more struct {
	input input
	units [units]unit
	next  [units]timer
}

// input is what a query reads, unless it is a single stream.
type input interface {
	receive(from *siddhiql.Stream, chunk []window.Row)
	// fire fires the timer of a unit of the input.
	fire(part int)
}

// indexer is an input with an index of the rows in its units, which is no state.
type indexer interface {
	// reset and loaded are called when a unit was emptied to be loaded, and when it has been
	// loaded.
	reset(part int)
	loaded(part int)
}

// indexer returns the index of a memory's unit; nil if there is none.
func (s *memory) indexer(part int) indexer {
	if w := s.q.named; w != nil {
		return namedIndexes{w}
	}
	if s.more == nil || part == rates {
		return nil
	}
	x, _ := s.more.input.(indexer)
	return x
}

// unit returns a unit of the memory; nil if it has none of that part.
func (s *memory) unit(part int) unit {
	switch {
	case s.win != nil && part == windows:
		return s.win
	case s.more != nil:
		return s.more.units[part]
	}
	return nil
}

// timer returns the timer of a unit.
func (s *memory) timer(part int) *timer {
	if part == windows || s.more == nil {
		return &s.next
	}
	return &s.more.next[part]
}

func newQuery(e *Engine, plan *siddhiql.Query) *query {
	q := &query{e: e, plan: plan, id: int32(plan.ID), out: event.NewBatch(plan.Output)}
	for part := range q.touched {
		q.touched[part] = touchedInstances{part: part, round: 1}
	}
	for _, f := range plan.Functions {
		q.functions = append(q.functions, newStreamFunction(f))
	}
	q.before = compileConds(plan.Before)
	q.after = compileConds(plan.After)
	if plan.Window != nil {
		q.spec, _ = window.Lookup(plan.Window.Name)
		q.bounds = plan.Bounds()
		q.used = usedBehindWindow(plan)
	}
	if plan.Join != nil {
		q.join = newJoinQuery(q, plan.Join)
	}
	for _, a := range plan.Aggs {
		args := make([]argFn, len(a.Args))
		for i, x := range a.Args {
			args[i] = compileArg(x)
		}
		q.args = append(q.args, args)
	}
	for _, x := range plan.Select {
		q.writes = append(q.writes, compileWrite(x))
	}
	if plan.Having != nil {
		q.having = compileCond(plan.Having)
		q.matched = newMatchedRow(plan)
	}
	q.wanted[window.Current], q.wanted[window.Expired] = plan.Current, plan.Expired
	switch {
	case len(plan.GroupBy) > 0:
		q.shape = lastOfGroup
	case len(plan.Aggs) > 0:
		q.shape = lastRow
	}
	if plan.Write != nil {
		q.table = newTableWrite(q)
	}
	if plan.Pattern != nil {
		q.pattern = newPatternQuery(q)
	}
	q.refused = newRefusals(plan)
	q.measure()
	q.rate = newRate(q)
	q.sel.init(q)
	return q
}

func compileConds(exprs []siddhiql.Expr) []cond {
	conds := make([]cond, len(exprs))
	for i, x := range exprs {
		conds[i] = compileCond(x)
	}
	return conds
}

// newMemory returns the empty memory of the query for one partition key.
func (q *query) newMemory(home *instance) *memory {
	s := &memory{q: q, home: home}
	if q.plan.Window != nil {
		s.win, s.emit = q.newWindow(), s.emitter()
	}
	for i := range q.plan.Aggs {
		s.keepAggregate(q.newAggregate(&q.plan.Aggs[i]))
	}
	switch {
	case q.pattern != nil:
		s.more = q.pattern.newInput(s)
	case q.join != nil:
		s.more = &more{}
		s.more.input = newJoined(s)
	}
	if len(q.plan.GroupBy) > 0 {
		s.groups = newGroups(q.plan.GroupBy, q.plan.In)
		s.groups.signed = q.join != nil || q.plan.Source != nil && q.plan.Source.Window != nil
	}
	if q.rate != nil {
		s.limit(q.rate)
	}
	s.touch() // its first entries are a change, too
	return s
}

// emitter returns the function that receives the chunks of the memory's window.
func (s *memory) emitter() window.Emit {
	if s.q.named == nil {
		return s.chunk
	}
	return func(chunk []window.Row) { s.q.named.keep(chunk) }
}

func (s *memory) keepAggregate(a aggregate.Aggregate) {
	segmented, _ := a.(aggregate.Segmented)
	s.aggs, s.segmented = append(s.aggs, a), append(s.segmented, segmented)
}

// receive processes a chunk of current rows of the query's source.
func (s *memory) receive(from *siddhiql.Stream, chunk []window.Row) {
	q := s.q
	s.touch()
	if s.more != nil && s.more.input != nil {
		s.more.input.receive(from, chunk)
		return
	}
	if len(q.functions) > 0 {
		if chunk = q.derive(s, chunk); len(chunk) == 0 {
			return
		}
	}
	if len(q.before) > 0 {
		s.in = append(shrink.Reset(s.in), chunk...)
		if chunk = q.filter(q.before, s.in); len(chunk) == 0 {
			return
		}
	}
	for _, c := range q.windowKeys {
		for i := range chunk {
			q.checkKey("key of the window", chunk[i].B.Cols[c].TextBytes(int(chunk[i].I)))
		}
	}
	if s.win == nil {
		if len(q.after) > 0 {
			s.in = append(shrink.Reset(s.in), chunk...)
			chunk = s.in
		}
		s.chunk(chunk)
		return
	}
	s.addToWindow(chunk)
	s.reschedule(windows)
}

// fire fires the timer of a unit.
func (s *memory) fire(part int) {
	s.touch()
	s.timer(part).set = false
	if s.home != nil {
		s.home.use()
	}
	switch {
	case part == rates:
		s.tick()
	case s.win != nil && part == windows:
		s.win.Fire(s.emit)
		s.flush()
	default:
		s.more.input.fire(part)
	}
	s.reschedule(part)
}

// reschedule puts the next timer of a unit into the heap, unless it is there already.
func (s *memory) reschedule(part int) {
	at, seq, ok := s.unit(part).Due()
	t := s.timer(part)
	if !ok {
		t.set = false // one that is in the heap has nothing to do
		return
	}
	if t.set && t.due == at && t.seq == seq {
		return
	}
	*t = timer{due: at, seq: seq, set: true}
	s.q.e.timers.Push(pending{at: at, position: s.q.positionOf(part), part: uint8(part), seq: seq, owner: s})
}

// positionOf returns the position of the timers of a part.
func (q *query) positionOf(part int) int32 {
	switch {
	case part == rates:
		return q.id + limitersFrom
	case q.named != nil:
		return int32(q.named.plan.ID) + namedWindowsFrom
	}
	return q.id
}

// chunk receives a chunk from the window and passes on what the query selects.
func (s *memory) chunk(rows []window.Row) {
	q := s.q
	q.e.work.step(len(rows))
	if len(q.after) > 0 {
		if rows = q.filter(q.after, rows); len(rows) == 0 {
			return
		}
	}
	if q.bounds {
		b := &q.e.row.batch
		b.start, b.end, b.begun = s.win.(window.Bounded).Bounds()
	}
	from := s.open()
	q.sel.run(s, rows)
	s.close(from)
}

// filter keeps, in place, the rows that meet all conditions. A reset is not a row, and
// passes.
func (q *query) filter(conds []cond, rows []window.Row) []window.Row {
	r := &q.e.row
	kept := rows[:0]
next:
	for i := range rows {
		in := &rows[i]
		if in.Kind != window.Reset {
			r.at(in, q.e.env.Now)
			for _, c := range conds {
				if !c(r) {
					continue next
				}
			}
		}
		kept = append(kept, *in)
	}
	return kept
}

func (r *row) at(in *window.Row, now int64) {
	r.b, r.i, r.ts, r.now = in.B, int(in.I), in.TS, now
	r.call.Row++
	if len(r.text) > 0 {
		scribble.Bytes(r.text)
		r.text = r.text[:0]
	}
}
