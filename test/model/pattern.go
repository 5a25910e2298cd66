package model

import (
	"maps"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// matching is a pattern or a sequence: partial matches that wait at steps (P3).
type matching struct {
	run     *running
	plan    *siddhiql.Pattern
	matches []*partial // those that wait at a step
	came    int        // number of the newest arrival at a step
	event   int        // number of the newest event or deadline

	// Only of a sequence, by step: the match that an event let in or left there (P8.5).
	in     map[int]*partial
	firing bool // a deadline is passing
	arming bool // a match without events is entering the first step
}

// partial is a partial match.
type partial struct {
	events   map[int][]kept // by item
	waits    map[int]int    // by step where it waits: its arrival number
	since    map[int]int    // by step where it waits: the event that brought it there
	sides    [2]side        // of the last step where it waits
	first    int64          // time of the first event of step 0, or of the end of its wait
	hasFirst bool
	last     int64
	again    map[int]bool // by group: its successor exists
	spoiled  bool
	moved    int // last event that it took
}

type kept struct {
	ts     int64
	values []any
}

// side is one half of the step where a match waits.
type side struct {
	done     bool // the event came, or the time passed without it
	violated bool
	due      int64
	seq      int // 0: no deadline
}

func newMatching(run *running) *matching {
	x := &matching{run: run, plan: run.q.Pattern, in: map[int]*partial{}}
	if !x.timed() && (!x.plan.Sequence || !x.every()) {
		x.fresh(0)
	}
	return x
}

// every reports whether the first step is in an `every` group.
func (x *matching) every() bool {
	return slices.ContainsFunc(x.plan.Groups, func(g siddhiql.Every) bool { return g.First == 0 })
}

// timed reports whether a match without events can wait for a deadline.
func (x *matching) timed() bool {
	for s := range x.plan.Steps {
		for _, i := range x.plan.Steps[s].Items {
			if x.plan.Items[i].For >= 0 {
				return true
			}
		}
		if !x.optional(s) {
			return false
		}
	}
	return false
}

func (x *matching) optional(s int) bool { return x.plan.Steps[s].Count && x.plan.Steps[s].Min == 0 }

// begin starts the wait at the first step (P7.3).
func (x *matching) begin(now int64) {
	if x.timed() {
		x.fresh(now)
	}
}

// beginPatterns starts the waits once the clock has its first time.
func (m *Model) beginPatterns(at int64) {
	if m.waits {
		return
	}
	m.waits = true
	for _, q := range m.plan.Queries {
		if run := m.global[q.ID]; run != nil && run.match != nil {
			run.match.begin(at)
		}
	}
}

func (x *matching) receive(s *siddhiql.Stream, chunk []item) {
	for _, e := range chunk {
		x.expire(e.ts)
		x.event++
		if x.plan.Sequence {
			x.inSequence(s, e)
		} else {
			x.inPattern(s, e)
		}
		x.overdue()
	}
}

// overdue handles deadlines that were set in the past (P7.1).
func (x *matching) overdue() {
	for {
		m, at := x.nextDeadline()
		if m == nil || m.sides[at].due > x.run.m.clock {
			return
		}
		x.fire(m.sides[at].due, m.sides[at].seq)
	}
}

func (x *matching) nextDeadline() (first *partial, at int) {
	x.run.m.spend(len(x.matches))
	for _, m := range x.matches {
		for i, d := range m.sides {
			if d.seq > 0 && (first == nil || d.due < first.sides[at].due || d.due == first.sides[at].due && d.seq < first.sides[at].seq) {
				first, at = m, i
			}
		}
	}
	return first, at
}

// expire is P6: it ends every match, for all keys, whose first event is too old.
func (x *matching) expire(ts int64) {
	if x.plan.Within < 0 {
		return
	}
	for _, o := range x.all() {
		x.run.m.spend(len(o.matches))
		for _, m := range slices.Clone(o.matches) {
			if m.hasFirst && ts-m.first > x.plan.Within {
				o.out(m, ts)
			}
		}
	}
}

// all returns the matchings of the query for all keys.
func (x *matching) all() []*matching {
	if x.run.in == nil {
		return []*matching{x}
	}
	var list []*matching
	for _, in := range x.run.m.blocks[x.run.q.Block].instances {
		for _, run := range in.queries {
			if run.q.ID == x.run.q.ID {
				list = append(list, run.match)
			}
		}
	}
	return list
}

// out ends a match that exceeds `within`. The first group starts again if the match was still in it
// (P4.4, P6.6).
func (x *matching) out(m *partial, ts int64) {
	x.end(m)
	for g, group := range x.plan.Groups {
		if group.First == 0 && !m.again[g] && !x.plan.Sequence {
			x.fresh(ts)
		}
	}
}

func (x *matching) end(m *partial) {
	x.run.m.spend(len(x.matches))
	x.matches = slices.DeleteFunc(x.matches, func(o *partial) bool { return o == m })
	m.waits, m.sides = map[int]int{}, [2]side{}
}

// fresh adds an empty match that waits at the first step.
func (x *matching) fresh(now int64) {
	m := &partial{events: map[int][]kept{}, waits: map[int]int{}, since: map[int]int{}, again: map[int]bool{}, last: now, moved: x.event}
	x.matches = append(x.matches, m)
	x.arming = true
	x.enter(m, 0)
	x.arming = false
}

// successor adds the fresh match of a group, with copies of the events before the group (P4.2).
func (x *matching) successor(m *partial, g int) {
	first := x.plan.Groups[g].First
	if first == 0 {
		x.fresh(m.last)
		return
	}
	f := &partial{
		events: map[int][]kept{}, waits: map[int]int{}, since: map[int]int{}, again: map[int]bool{},
		first: m.first, hasFirst: m.hasFirst, last: m.last, moved: x.event,
	}
	for s := range first {
		for _, i := range x.plan.Steps[s].Items {
			f.events[i] = slices.Clone(m.events[i])
		}
	}
	for o, group := range x.plan.Groups {
		f.again[o] = group.Last < first
	}
	x.matches = append(x.matches, f)
	x.enter(f, first)
}

// waiting returns the matches that have waited at a step since before this event, in order of
// arrival.
func (x *matching) waiting(s int) (list []*partial) {
	x.run.m.spend(len(x.matches))
	for _, m := range x.matches {
		if _, there := m.waits[s]; there && m.since[s] < x.event {
			list = append(list, m)
		}
	}
	slices.SortFunc(list, func(a, b *partial) int { return a.waits[s] - b.waits[s] })
	return list
}

// halves returns the items of a step that read a stream: absent ones first (P7.2), then left before
// right.
func (x *matching) halves(s int, stream *siddhiql.Stream) (list []int) {
	for _, absent := range []bool{true, false} {
		for half, i := range x.plan.Steps[s].Items {
			if item := &x.plan.Items[i]; item.Stream.ID == stream.ID && item.Absent == absent {
				list = append(list, half)
			}
		}
	}
	return list
}

// inPattern is P3: steps from last to first, matches in order of arrival.
func (x *matching) inPattern(s *siddhiql.Stream, e item) {
	for at := len(x.plan.Steps) - 1; at >= 0; at-- {
		for _, half := range x.halves(at, s) {
			for _, m := range x.waiting(at) {
				if _, still := m.waits[at]; !still || !x.wants(m, at, half) || !x.fits(m, at, half, e) {
					continue
				}
				if x.plan.Items[x.plan.Steps[at].Items[half]].Absent {
					x.violate(m, at, half, e.ts)
				} else {
					x.take(m, at, half, e)
				}
			}
		}
	}
}

// wants reports whether half of a step is still open.
func (x *matching) wants(m *partial, at, half int) bool {
	return at != m.lastStep() || !m.sides[half].done && !m.sides[half].violated
}

// lastStep returns the last step where the match waits.
func (m *partial) lastStep() int { return slices.Max(slices.Collect(maps.Keys(m.waits))) }

// fits evaluates the filter. A match also refuses an event that is older than its first one by more
// than `within` (P6.1).
func (x *matching) fits(m *partial, at, half int, e item) bool {
	x.run.m.spend(10)
	i := x.plan.Steps[at].Items[half]
	p := &x.plan.Items[i]
	if !p.Absent && x.plan.Within >= 0 && m.hasFirst && m.first-e.ts > x.plan.Within {
		return false
	}
	scope := &scope{values: slices.Clone(e.values), ts: e.ts, now: x.run.m.clock, m: x.run.m}
	for _, h := range p.Held {
		list := m.events[h.Item]
		if h.Item == i && !h.Last && len(list) == 0 { // P2.4: e1[0] in the filter of e1
			list = []kept{{e.ts, e.values}}
		}
		scope.values = append(scope.values, valueOf(list, h))
	}
	for _, c := range slices.Concat(p.Own, p.Rest) {
		if !scope.holds(c) {
			return false
		}
	}
	for _, eq := range p.Equal {
		if compare(siddhiql.Equal, scope.eval(eq.Own), scope.eval(eq.Held)) != true {
			return false
		}
	}
	return true
}

// valueOf is P2.4 and P2.5.
func valueOf(list []kept, h siddhiql.Held) any {
	n := h.N
	if h.Last {
		n = len(list) - 1 - h.N
	}
	switch {
	case n < 0 || n >= len(list):
		return nil
	case h.Attr == siddhiql.HeldPresent:
		return true
	case h.Attr == siddhiql.HeldTime:
		return list[n].ts
	}
	return list[n].values[h.Attr]
}
