package engine

import (
	"fmt"
	"sync"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// Engine runs one app for one partition. It is not safe for concurrent use.
type Engine struct {
	plan    *siddhiql.Plan
	env     window.Env
	queries []*query
	blocks  []*block
	streams []([]subscriber) // by stream: who reads it, in the order written
	ahead   [][]ahead        // by stream: what prefetches for those who read it
	timers  timerHeap
	loading sync.Mutex // guards timers while state is loaded
	outputs []Output
	earlier *Earlier // outputs of the version before, or nil
	chunks  uint64
	work    work
	used    []*instance // they received something since the last endChunk
	undated bool        // keys were loaded without the time of their last event
	unbegun bool        // waits of patterns may not have started
	starts

	row     row            // of the input, for expressions
	tables  []*table.Table // by id
	buckets []*bucketTable // by id of the table; nil: queries write it
	named   []*namedWindow // by id
	outRow  row            // of the output, for having
	rows    []window.Row

	reorder    *window.Reorder // nil: events are applied in order of arrival
	faults     []*event.Batch  // by stream: late events for its fault stream, or nil
	late       []Late
	lateRows   []*event.Batch // by stream: the rows of late
	outOfOrder uint64
	lateEvents uint64
	trace      *trace // nil: causes are not recorded
}

// subscriber reads a stream. The chunk is the caller's, and is not changed.
type subscriber interface {
	receive(from *siddhiql.Stream, chunk []window.Row)
}

// Output is a chunk that a query emitted: rows From to To of Rows(Query).
type Output struct {
	Query    int32
	From, To int32
	Chunk    uint64 // number of the chunk, from 1, over all queries
	Clock    int64  // the engine's clock at that moment, ms
}

// New compiles a plan. It fails only on plans that name a window or an aggregator
// that this binary does not have.
func New(plan *siddhiql.Plan) (*Engine, error) {
	e := &Engine{plan: plan, streams: make([][]subscriber, len(plan.Streams)), work: newWork()}
	e.env.Now = window.NoTime
	e.makeTables(func(*siddhiql.Table) (*table.Table, *bucketTable) { return nil, nil })
	for _, w := range plan.Windows {
		if err := known(w.Query); err != nil {
			return nil, err
		}
	}
	for _, p := range plan.Queries {
		if err := known(p); err != nil {
			return nil, err
		}
		e.queries = append(e.queries, newQuery(e, p))
	}
	e.makeNamedWindows(func(*siddhiql.NamedWindow) *query { return nil })
	e.subscribe()
	e.makeTriggers()
	if plan.Lateness != siddhiql.LatenessOff {
		e.orderEvents()
	}
	return e, nil
}

func known(p *siddhiql.Query) error {
	used := []*siddhiql.Window{p.Window}
	if p.Join != nil {
		used = []*siddhiql.Window{p.Join.Sides[0].Window, p.Join.Sides[1].Window}
	}
	for _, w := range used {
		if w == nil {
			continue
		}
		if _, ok := window.Lookup(w.Name); !ok {
			return fmt.Errorf("query %d: window %q is not in this binary", p.ID+1, w.Name)
		}
	}
	for _, f := range p.Functions {
		if _, ok := function.LookupStream(f.Name); !ok {
			return fmt.Errorf("query %d: stream function %q is not in this binary", p.ID+1, f.Name)
		}
	}
	for _, a := range p.Aggs {
		if _, ok := aggregate.Lookup(a.Name); !ok {
			return fmt.Errorf("query %d: aggregator %q is not in this binary", p.ID+1, a.Name)
		}
	}
	return nil
}

// subscribe connects streams to their readers, in the order of the app's text. A partition
// block reads each of its streams once, at the position of its first query, however many
// queries it has.
func (e *Engine) subscribe() {
	if e.blocks == nil {
		e.blocks = make([]*block, len(e.plan.Blocks))
	}
	blocks, read := e.blocks, make([]bool, len(e.blocks))
	for _, q := range e.queries {
		n := q.plan.Block
		if n < 0 {
			if q.memories == nil {
				q.memories = []*memory{q.newMemory(nil)}
			}
			for _, s := range q.plan.Reads() {
				e.streams[s.ID] = append(e.streams[s.ID], q.memories[0])
			}
			continue
		}
		if read[n] {
			continue
		}
		read[n] = true
		if blocks[n] == nil {
			blocks[n] = newBlock(e, e.plan.Blocks[n])
		}
		for _, r := range blocks[n].readers {
			e.streams[r.stream.ID] = append(e.streams[r.stream.ID], r)
		}
	}
	for _, q := range e.queries {
		if target := q.plan.Target; target.Window != nil {
			q.subs = []subscriber{e.namedOf(target)}
		} else if target.Block < 0 {
			q.subs = e.streams[target.ID]
		} else {
			q.inner = blocks[target.Block].innerReaders(target)
		}
	}
	e.lookAhead()
}

// Clock returns the engine's time in ms; 0 before the clock starts.
func (e *Engine) Clock() int64 {
	if e.env.Now == window.NoTime {
		return 0
	}
	return e.env.Now
}

// Dropped counts the rows that a window could not accept, such as rows whose time attribute
// is null.
func (e *Engine) Dropped() uint64 { return e.env.Dropped }

// Advance moves the input clock to ms now; with lateness, the app's clock lags by that
// much. Each timer that is due by then fires, at its own time and in order of due times,
// and each waiting event is applied when its time comes. The clock never goes back.
func (e *Engine) Advance(now int64) {
	if e.reorder != nil {
		now = before(e.reorder.Come(now), e.plan.Lateness)
		if e.waiting && e.reorder.Rows() == 0 {
			e.beginOn(now)
		}
	}
	e.advance(now)
}

// advance moves the clock to ms now. A waiting event comes before timers that are due later
// than its time, and after timers that are due at the same time.
func (e *Engine) advance(now int64) {
	if e.undated {
		e.date()
	}
	if e.unbegun {
		e.beginPatterns()
	}
	if e.waiting && e.reorder == nil {
		e.beginOn(now)
	}
	now = max(now, e.env.Now)
	for {
		t := e.timers.next()
		if e.reorder != nil {
			if at, ok := e.reorder.Next(); ok && at <= now && (t == nil || t.at > at) {
				if e.waiting { // the first event in the order of time
					e.begin(max(e.env.Now, at))
					continue
				}
				e.env.Now = max(e.env.Now, at)
				stream, b, from, to := e.reorder.Take()
				e.fromEvent(e.plan.Streams[stream], 0, at)
				e.deliver(e.plan.Streams[stream], b, from, to)
				continue
			}
		}
		if t == nil || t.at > now {
			break
		}
		due := e.timers.Pop()
		e.env.Now = max(e.env.Now, due.at)
		e.fromTimer(&due)
		if due.key != nil {
			due.key.awaited = false
			due.key.block.end(due.key)
			continue
		}
		e.work.begin()
		e.work.step(0)
		due.owner.fire(int(due.part))
		e.endChunk()
	}
	e.env.Now = now
	if e.unbegun {
		e.beginPatterns()
	}
	if e.reorder != nil {
		e.reorder.Passed(now)
	}
}

// NextTimer returns when the next timer is due, in ms; false if none is pending.
func (e *Engine) NextTimer() (int64, bool) {
	if t := e.timers.next(); t != nil {
		return t.at, true
	}
	return 0, false
}

// Send delivers the rows [from, to) of b to a stream as one chunk, at ms now. In playback,
// the largest of their timestamps is the time, and now is ignored.
func (e *Engine) Send(stream *siddhiql.Stream, b *event.Batch, from, to int, now int64) {
	if e.plan.Playback {
		now = window.Latest(b, from, to)
		if e.reorder != nil {
			e.enter(stream, b, from, to, now)
			return
		}
		if now < e.env.Now {
			e.outOfOrder += uint64(to - from)
		}
	}
	if now > e.env.Now || len(e.timers.Heap) > 0 || e.waiting {
		e.advance(now)
	}
	e.fromEvent(stream, e.sending(), now)
	e.deliver(stream, b, from, to)
}

// deliver passes a chunk to the readers of the stream.
func (e *Engine) deliver(stream *siddhiql.Stream, b *event.Batch, from, to int) {
	if e.undated {
		e.date()
	}
	if e.unbegun {
		e.beginPatterns()
	}
	e.work.begin()
	e.rows = refer(shrink.Reset(e.rows), b, from, to)
	for _, s := range e.streams[stream.ID] {
		s.receive(stream, e.rows)
	}
	e.endChunk()
}

// refer appends references to the rows [from, to) of b, as current rows.
func refer(rows []window.Row, b *event.Batch, from, to int) []window.Row {
	for i := from; i < to; i++ {
		rows = append(rows, window.Row{B: b, TS: b.TS[i], I: int32(i), Kind: window.Current})
	}
	return rows
}

// emitted records rows that a query has output and passes them to the readers of the
// stream. Each reader finishes with them, and with everything that follows from them,
// before the next one sees them.
func (e *Engine) emitted(s *memory, from, to int) {
	q := s.q
	if q.table != nil {
		q.write(from, to)
		return
	}
	e.output(q, from, to)
	if len(q.subs) == 0 && len(q.inner) == 0 {
		return
	}
	q.sel.rows = refer(shrink.Reset(q.sel.rows), q.out, from, to)
	for _, sub := range q.subs {
		sub.receive(q.plan.Target, q.sel.rows)
	}
	for _, n := range q.inner {
		s.home.memories[n].receive(q.plan.Target, q.sel.rows)
	}
}

// output records a chunk of a query: its rows, or what they have changed in a published table.
func (e *Engine) output(q *query, from, to int) {
	e.chunks++
	e.outputs = append(e.outputs, Output{
		Query: q.id, From: int32(from), To: int32(to), Chunk: e.chunks, Clock: e.env.Now,
	})
}

// Outputs returns the chunks emitted since ResetOutputs, in order.
func (e *Engine) Outputs() []Output { return e.outputs }

// Plan returns the plan in force.
func (e *Engine) Plan() *siddhiql.Plan { return e.plan }

// Rows returns the rows that a query emitted since ResetOutputs, and their kinds. Those of a query
// that changes a published table are the changes.
func (e *Engine) Rows(query int) (*event.Batch, []window.Kind) {
	q := e.queries[query]
	if q.table != nil && q.table.changed != nil {
		return q.table.changed.rows, q.table.changed.kinds
	}
	return q.out, q.kinds
}

// ResetOutputs forgets the outputs and reuses their memory.
func (e *Engine) ResetOutputs() {
	for _, o := range e.outputs {
		q := e.queries[o.Query]
		if len(q.kinds) > 0 {
			q.out.Reset()
			q.kinds = shrink.Reset(q.kinds)
		}
		if q.table != nil && q.table.changed != nil {
			q.table.changed.reset()
		}
	}
	e.outputs, e.earlier = shrink.Reset(e.outputs), nil
	if e.trace != nil {
		e.trace.causes = shrink.Reset(e.trace.causes)
	}
	e.resetLate()
}
