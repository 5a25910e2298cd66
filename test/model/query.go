package model

import "github.com/eventflux/eventflux/shared/lang/siddhiql"

// kind is the kind of an item in a chunk.
type kind int

const (
	current kind = iota
	expired
	reset // no timestamp and no values
)

// item is one row, or a reset, of a chunk.
type item struct {
	kind   kind
	ts     int64
	values []any
}

// as returns the item as one of another kind and timestamp.
func (i item) as(k kind, ts int64) item { return item{kind: k, ts: ts, values: i.values} }

// running is a query with its state; inside a block, for one partition key.
type running struct {
	m      *Model
	q      *siddhiql.Query
	in     *instance     // nil outside partitions
	window keeper        // nil: none
	named  *sharedWindow // whose window this is, or nil
	join   *joining      // nil: the query reads one stream
	match  *matching     // of a pattern or a sequence
	sel    *selector
	rate   *rate // nil: rows are emitted at once
}

func newRunning(m *Model, q *siddhiql.Query, in *instance) *running {
	run := &running{m: m, q: q, in: in, sel: newSelector(m, q), rate: newRate(m, q)}
	if run.rate != nil && in != nil {
		run.rate.begin(m.clock) // this is the first event of its partition key
	}
	if q.Window != nil {
		run.window = newWindow(q.Window, run.environment(q.Expired, 0))
	}
	if q.Join != nil {
		run.join = newJoining(run)
	}
	if q.Pattern != nil {
		run.match = newMatching(run)
		if in != nil {
			run.match.begin(m.clock)
		}
	}
	return run
}

// environment is what a window can use of its query; side is the window's side in a join.
func (run *running) environment(needsExpired bool, side int) *environment {
	m := run.m
	return &environment{
		now:          func() int64 { return m.clock },
		schedule:     func(at int64) int { return m.schedule(run, side, at, 0) },
		again:        func(at int64, seq int) { m.schedule(run, side, at, seq) },
		needsExpired: needsExpired,
	}
}

// receive is 1.3: filters, window, filters, selector, output.
func (run *running) receive(s *siddhiql.Stream, chunk []item) {
	if run.join != nil {
		run.join.receive(s, chunk)
		return
	}
	if run.match != nil {
		run.match.receive(s, chunk)
		return
	}
	chunk = run.filter(run.q.Before, chunk)
	if len(chunk) == 0 {
		return
	}
	if run.window == nil {
		run.finish(chunk)
		return
	}
	for _, c := range run.window.add(chunk) {
		run.finish(c)
	}
}

func (run *running) fire(t timer) {
	if run.join != nil {
		run.join.fire(t)
		return
	}
	if run.match != nil {
		run.match.fire(t.due, t.seq)
		return
	}
	if run.named != nil {
		run.named.pass(run.window.fire(t.due, t.seq))
		return
	}
	for _, c := range run.window.fire(t.due, t.seq) {
		run.finish(c)
	}
}

func (run *running) finish(chunk []item) {
	chunk = run.filter(run.q.After, chunk)
	run.m.emit(run, run.out(run.sel.process(chunk, run.m.clock)))
}

// out returns the rows that are emitted now, at the query's output rate.
func (run *running) out(rows []candidate) []item {
	if run.rate != nil {
		return run.rate.take(rows)
	}
	return itemsOf(rows)
}

// filter keeps the rows that meet all conditions, of either kind (1.3, 3.4), and every reset.
func (run *running) filter(conditions []siddhiql.Expr, chunk []item) []item {
	var kept []item
	for _, i := range chunk {
		pass := true
		for _, c := range conditions {
			if i.kind != reset && pass {
				x := scope{values: i.values, ts: i.ts, now: run.m.clock, m: run.m}
				pass = x.holds(c)
			}
		}
		if pass {
			kept = append(kept, i)
		}
	}
	return kept
}
