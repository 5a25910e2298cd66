package model

import (
	"math"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Event is one event of a stream: its own timestamp in ms, and a value per attribute: nil, bool,
// int32, int64, float32, float64, string, or json.RawMessage for an object.
type Event struct {
	TS     int64
	Values []any
}

// Row is one row that a query has emitted.
type Row struct {
	Query  int    // index in Plan.Queries
	Kind   string // "current" or "expired"
	TS     int64
	Values []any
	Chunk  int   // number of the emitted chunk: 1, 2, 3, … over the whole app
	Clock  int64 // the clock when it was emitted
}

// Model runs one app.
type Model struct {
	plan    *siddhiql.Plan
	clock   int64
	seq     int
	timers  []timer
	global  map[int]*running // queries outside partitions, by ID
	blocks  []*block
	tables  []*table
	windows []*sharedWindow
	rows    []Row
	chunks  int
	budget  int // what it may still do; see spend

	begun    bool
	waits    bool // the waits of patterns have started
	triggers []*trigger

	// Of an app with lateness:
	input   int64     // largest time of an event so far
	waiting []waiting // events whose time the clock has not reached
	came    int
}

// timer calls a window or an output rate when the clock reaches due, fires a trigger, or forgets a
// partition key.
type timer struct {
	due   int64
	seq   int
	run   *running
	side  int // of a join
	block *block
	key   string
	tick  bool // of the output rate of run
	of    *trigger
}

func (t timer) fire() {
	switch {
	case t.block != nil:
		t.block.forget(t.key)
	case t.of != nil:
		t.of.fire()
	case t.tick:
		t.run.m.emit(t.run, t.run.rate.tick())
	default:
		t.run.fire(t)
	}
}

// New returns an app before its first event.
func New(plan *siddhiql.Plan) *Model {
	m := &Model{plan: plan, clock: math.MinInt64, input: math.MinInt64, global: map[int]*running{}, budget: budget}
	for _, p := range plan.Tables {
		m.tables = append(m.tables, &table{plan: p})
	}
	for _, p := range plan.Windows {
		n := &sharedWindow{plan: p, run: newRunning(m, p.Query, nil)}
		n.run.named = n
		m.windows = append(m.windows, n)
	}
	for _, q := range plan.Queries {
		if q.Block < 0 {
			m.global[q.ID] = newRunning(m, q, nil)
		}
	}
	for _, p := range plan.Blocks {
		m.blocks = append(m.blocks, &block{m: m, plan: p})
	}
	return m
}

// Rows returns the rows emitted since the last call, in order.
func (m *Model) Rows() []Row {
	rows := m.rows
	m.rows = nil
	return rows
}

// Send delivers one chunk. The clock moves first (1.6): to now or, under playback, to the largest
// own timestamp of the chunk (1.5).
func (m *Model) Send(stream string, events []Event, now int64) {
	if m.plan.Lateness >= 0 {
		m.come(m.plan.Stream(stream), events)
		return
	}
	if m.plan.Playback {
		now = m.clock
		for _, e := range events {
			now = max(now, e.TS)
		}
	}
	m.Advance(now)
	m.arrive(m.plan.Stream(stream), events)
}

// arrive delivers events to everything that reads the stream.
func (m *Model) arrive(s *siddhiql.Stream, events []Event) {
	chunk := make([]item, len(events))
	for i, e := range events {
		chunk[i] = item{kind: current, ts: e.TS, values: e.Values}
	}
	m.deliver(s, chunk, nil)
}

// Advance moves the clock to each due time in turn, and then to now (1.5 do:). The clock never goes
// back, so a timer with a past due time fires at the current clock.
func (m *Model) Advance(now int64) {
	if m.plan.Lateness >= 0 {
		if len(m.waiting) == 0 {
			m.begin(max(m.clock, max(m.input, now)-m.plan.Lateness))
		}
		m.pass(now)
		return
	}
	target := max(m.clock, now)
	m.begin(target)
	for {
		t, ok := m.takeTimer(target)
		if !ok {
			break
		}
		m.clock = max(m.clock, t.due)
		t.fire()
	}
	m.clock = target
}

// takeTimer removes the first timer that is due at the target: by due time, then by query, then
// first in, first out (1.5, 1.7). At equal times, output rates go before triggers, these before
// windows, and those before forgotten keys.
func (m *Model) takeTimer(target int64) (timer, bool) {
	if first, ok := m.nextTick(target); ok {
		if other, found := m.firstBut(first.due - 1); found {
			return other, true
		}
		return first, true
	}
	return m.firstBut(target)
}

// firstBut removes the first timer that is due at the target, output rates excluded.
func (m *Model) firstBut(target int64) (timer, bool) {
	if t := m.nextTrigger(target); t != nil {
		if other, found := m.firstOfWindows(t.due - 1); found {
			return other, true
		}
		return timer{due: t.due, of: t}, true
	}
	return m.firstOfWindows(target)
}

// firstOfWindows removes the first timer of a window or a key that is due at the target.
func (m *Model) firstOfWindows(target int64) (timer, bool) {
	best := -1
	for i, t := range m.timers {
		if t.due <= target && (best < 0 || t.before(m.timers[best])) {
			best = i
		}
	}
	if forget, ok := m.nextForgotten(target); ok && (best < 0 || forget.due < m.timers[best].due) {
		return forget, true
	}
	if best < 0 {
		return timer{}, false
	}
	t := m.timers[best]
	m.timers = append(m.timers[:best], m.timers[best+1:]...)
	return t, true
}

// nextForgotten returns when @purge next forgets a key, if that is not after the target.
func (m *Model) nextForgotten(target int64) (first timer, found bool) {
	for _, b := range m.blocks {
		if b.plan.IdlePeriod == 0 {
			continue
		}
		for _, in := range b.instances {
			if due := in.last + b.plan.IdlePeriod; due <= target && (!found || due < first.due) {
				first, found = timer{due: due, block: b, key: in.key}, true
			}
		}
	}
	return first, found
}

func (t timer) before(o timer) bool {
	if t.due != o.due {
		return t.due < o.due
	}
	if a, b := t.position(), o.position(); a != b {
		return a < b
	}
	return t.seq < o.seq
}

// position orders timers of one ms: named windows in the order of their definitions, then queries
// (M1).
func (t timer) position() int {
	if n := t.run.named; n != nil {
		return n.plan.ID - len(t.run.m.windows)
	}
	return t.run.q.ID
}

// schedule schedules a call of the query's window. Timers that are due together fire by number; seq
// 0 asks for a new number. It returns the number.
func (m *Model) schedule(run *running, side int, due int64, seq int) int {
	if seq == 0 {
		m.seq++
		seq = m.seq
	}
	m.timers = append(m.timers, timer{due: due, seq: seq, run: run, side: side})
	return seq
}

// deliver passes a chunk to all subscribers of the stream; each finishes before the next starts
// (1.4). A partition block is one subscriber, at its position in the text. in is the instance that
// an inner stream belongs to.
func (m *Model) deliver(s *siddhiql.Stream, chunk []item, in *instance) {
	if s.Block >= 0 {
		in.receive(s, chunk)
		return
	}
	served := map[int]bool{}
	for _, q := range m.plan.Queries {
		switch {
		case q.Block < 0:
			if q.ReadsFrom(s) {
				m.global[q.ID].receive(s, chunk)
			}
		case !served[q.Block]:
			served[q.Block] = true
			m.blocks[q.Block].receive(s, chunk)
		}
	}
}

// emit records a chunk of rows, and delivers it as current events to the target stream (1.1). The
// chunk is not split.
func (m *Model) emit(run *running, rows []item) {
	if len(rows) == 0 {
		return
	}
	m.chunks++
	events := make([]item, len(rows))
	for i, r := range rows {
		kind := "current"
		if r.kind == expired {
			kind = "expired"
		}
		m.rows = append(m.rows, Row{
			Query: run.q.ID, Kind: kind, TS: r.ts, Values: r.values, Chunk: m.chunks, Clock: m.clock,
		})
		events[i] = item{kind: current, ts: r.ts, values: slices.Clone(r.values)}
	}
	switch n := m.namedOf(run.q.Target); {
	case run.q.Write != nil:
		m.write(run.q, rows)
	case n != nil:
		n.receive(events)
	default:
		m.deliver(run.q.Target, events, run.in)
	}
}

// budget bounds what a model does. In some random apps, the number of partial matches doubles with
// each event, and the model looks at all of them.
const budget = 1_000_000

// tooMuch is the panic of a model that has spent its budget.
type tooMuch struct{}

func (m *Model) spend(n int) {
	if m.budget -= n; m.budget < 0 {
		panic(tooMuch{})
	}
}

// Try runs a step; false if it takes more than the model may do.
func (m *Model) Try(step func()) (done bool) {
	defer func() {
		if why := recover(); why != nil {
			if _, much := why.(tooMuch); !much {
				panic(why)
			}
		}
	}()
	step()
	return true
}
