package model

import (
	"math"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/ratelimit"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// rate is an output rate: it decides which selected rows are emitted, and when.
type rate struct {
	m     *Model
	r     *siddhiql.Rate
	q     *siddhiql.Query
	begun bool
	start int64 // periods of time count from here

	held   []candidate
	since  int64 // clock at the first row of held, or at the last tick
	counts map[string]int
	passed map[string]int64 // when a row of the group was last emitted
	rows   []candidate      // of a snapshot: the rows in the window
	newest map[string]candidate
	groups []string // keys of newest, in order of first appearance
	sizes  map[string]int
}

func newRate(m *Model, q *siddhiql.Query) *rate {
	if q.Rate == nil {
		return nil
	}
	return &rate{m: m, r: q.Rate, q: q, counts: map[string]int{}, passed: map[string]int64{}, newest: map[string]candidate{}, sizes: map[string]int{}}
}

func (r *rate) begin(at int64) {
	if !r.begun {
		r.begun, r.start = true, at
	}
}

// leaving reports whether the query has expired rows.
func (r *rate) leaving() bool {
	return r.q.Window != nil || r.q.Source != nil && r.q.Source.Window != nil
}

// group returns the group of a row, or "" without group by.
func (r *rate) group(c candidate) string {
	if len(r.q.GroupBy) == 0 {
		return ""
	}
	return c.group
}

// take handles a chunk and returns the rows that are emitted at once.
func (r *rate) take(chunk []candidate) (out []item) {
	for n, c := range chunk {
		switch {
		case r.r.Which == ratelimit.Snapshot && r.leaving():
			r.see(c)
			continue
		case c.dropped:
			continue
		case r.r.Which == ratelimit.First:
			if r.first(c, n) {
				out = append(out, c.row)
			}
			continue
		}
		r.hold(c)
		r.counts[""]++
		if r.r.Events > 0 && r.counts[""] == int(r.r.Events) {
			out = append(out, r.release()...)
			r.counts[""] = 0
		}
	}
	return out
}

// first implements `first`. By rows it passes number 1, N+1, 2N+1, … of each group. By time it
// passes a row if T has passed since the previous one; without groups it only considers the first
// row of a chunk.
func (r *rate) first(c candidate, n int) bool {
	g := r.group(c)
	if r.r.Events > 0 {
		r.counts[g]++
		return (r.counts[g]-1)%int(r.r.Events) == 0
	}
	if n > 0 && len(r.q.GroupBy) == 0 {
		return false
	}
	if at, before := r.passed[g]; before && r.m.clock-at < r.r.Period {
		return false
	}
	r.passed[g] = r.m.clock
	return true
}

// hold keeps a row. For `last` and `snapshot` it replaces the row of its group.
func (r *rate) hold(c candidate) {
	if len(r.held) == 0 {
		r.since = r.m.clock
	}
	if r.r.Which != ratelimit.All {
		for i := range r.held {
			if r.group(r.held[i]) == r.group(c) {
				r.held[i] = c
				return
			}
		}
	}
	r.held = append(r.held, c)
}

func (r *rate) release() (out []item) {
	for _, c := range r.held {
		out = append(out, c.row)
	}
	if r.r.Which != ratelimit.Snapshot {
		r.held = nil
	}
	return out
}

// see tracks the rows in the window. A current row and its expired one share the memory of their
// values, which identifies them.
func (r *rate) see(c candidate) {
	if len(r.rows) == 0 && len(r.groups) == 0 {
		r.since = r.m.clock
	}
	g := r.group(c)
	if len(r.r.Totals) == len(r.q.Select) {
		r.total(g, c)
		return
	}
	if c.row.kind == current {
		if !c.dropped {
			r.rows = append(r.rows, c)
			r.newest[g] = c
		}
		return
	}
	i := slices.IndexFunc(r.rows, func(o candidate) bool { return &o.input[0] == &c.input[0] })
	if i < 0 {
		return // it was dropped
	}
	r.rows = slices.Delete(slices.Clone(r.rows), i, i+1)
	if !c.dropped {
		r.newest[g] = c
	}
}

func (r *rate) total(g string, c candidate) {
	if !slices.Contains(r.groups, g) {
		if c.row.kind == expired {
			return
		}
		r.groups = append(r.groups, g)
		delete(r.newest, g)
	}
	ts := c.row.ts
	if c.row.kind == expired {
		ts = r.newest[g].row.ts
		r.sizes[g]--
	} else {
		r.sizes[g]++
	}
	shown := r.newest[g]
	if !c.dropped {
		shown = c
		shown.there = true
	}
	shown.row.ts = ts
	r.newest[g] = shown
}

// due returns the time of the next tick that has an effect.
func (r *rate) due() (int64, bool) {
	if r.r.Period == 0 || !r.begun || len(r.held)+len(r.rows)+len(r.groups) == 0 {
		return 0, false
	}
	return r.start + ((r.since-r.start)/r.r.Period+1)*r.r.Period, true
}

// tick returns the rows that are emitted at the end of a period.
func (r *rate) tick() (out []item) {
	r.since = r.m.clock
	if r.r.Which != ratelimit.Snapshot || !r.leaving() {
		return r.release()
	}
	if len(r.r.Totals) == len(r.q.Select) {
		for _, g := range slices.Clone(r.groups) {
			if r.sizes[g] == 0 {
				r.groups = slices.DeleteFunc(slices.Clone(r.groups), func(o string) bool { return o == g })
				continue
			}
			if r.newest[g].there {
				row := r.newest[g].row
				row.kind = current
				out = append(out, row)
			}
		}
		return out
	}
	shown := map[string]bool{}
	for _, c := range r.rows {
		g := r.group(c)
		if len(r.r.Totals) > 0 && len(r.q.GroupBy) > 0 && shown[g] {
			continue
		}
		shown[g] = true
		row := c.row
		row.values = slices.Clone(row.values)
		for _, n := range r.r.Totals {
			row.values[n] = r.newest[g].row.values[n]
		}
		out = append(out, row)
	}
	return out
}

// nextTick returns the first tick of an output rate up to the target.
func (m *Model) nextTick(target int64) (first timer, found bool) {
	first.due = math.MaxInt64
	for _, run := range m.all() {
		if run.rate == nil {
			continue
		}
		if due, ok := run.rate.due(); ok && due <= target && due < first.due {
			first, found = timer{due: due, run: run, tick: true}, true
		}
	}
	return first, found
}

// all returns the queries in the order written, and those of a block in order of their keys' first
// events.
func (m *Model) all() (list []*running) {
	for _, q := range m.plan.Queries {
		if q.Block < 0 {
			list = append(list, m.global[q.ID])
			continue
		}
		for _, in := range m.blocks[q.Block].instances {
			list = append(list, in.queries[slices.Index(m.blocks[q.Block].plan.Queries, q)])
		}
	}
	return list
}

// begin sets the first instant of the app.
func (m *Model) begin(at int64) {
	if m.begun {
		return
	}
	m.begun = true
	m.beginPatterns(at)
	for _, run := range m.global {
		if run.rate != nil {
			run.rate.begin(at)
		}
	}
	for _, p := range m.plan.Triggers {
		t := &trigger{m: m, p: p}
		if t.due = at; !p.Start {
			t.after(at)
		}
		m.triggers = append(m.triggers, t)
	}
}

// trigger is a `define trigger`.
type trigger struct {
	m    *Model
	p    *siddhiql.Trigger
	due  int64
	over bool
}

// after schedules the next event after a time.
func (t *trigger) after(at int64) {
	switch {
	case t.p.Start:
		t.over = true
	case t.p.Period > 0:
		t.due = at + t.p.Period
	default:
		next, ok := t.p.Cron.Next(at)
		t.due, t.over = next, !ok
	}
}

// fire sends the event of the trigger.
func (t *trigger) fire() {
	due := t.due
	t.after(due)
	t.m.deliver(t.p.Stream, []item{{kind: current, ts: due, values: []any{due}}}, nil)
}

// nextTrigger returns the first trigger that is due up to the target.
func (m *Model) nextTrigger(target int64) *trigger {
	var first *trigger
	for _, t := range m.triggers {
		if !t.over && t.due <= target && (first == nil || t.due < first.due) {
			first = t
		}
	}
	return first
}
