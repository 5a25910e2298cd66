package model

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// take adds an event to a match.
func (x *matching) take(m *partial, at, half int, e item) {
	if m.spoiled { // P7.4e
		x.end(m)
		x.fresh(m.last)
		return
	}
	step := &x.plan.Steps[at]
	i := step.Items[half]
	m.events[i] = append(m.events[i], kept{e.ts, e.values})
	m.last, m.moved = e.ts, x.event
	if at == 0 && (!m.hasFirst || len(step.Items) == 2 && e.ts < m.first) { // P5.12
		m.first, m.hasFirst = e.ts, true
	}
	x.stopBefore(m, at)
	switch {
	case step.Count:
		x.collected(m, at, len(m.events[i]))
	case len(step.Items) == 2:
		m.sides[half].done = true
		x.decided(m, at)
	default:
		x.leave(m, at)
	}
}

// stopBefore stops collecting at the steps before the given one (P5.3). A group that may be empty
// gets its successor when the match leaves it (P5.6).
func (x *matching) stopBefore(m *partial, at int) {
	for s := range at {
		delete(m.waits, s)
	}
	for g, group := range x.plan.Groups {
		if group.Last < at && !m.again[g] && !x.plan.Sequence {
			m.again[g] = true
			x.successor(m, g)
		}
	}
}

// collected handles the n-th event of a count step (P5.1, P5.5, P8.4).
func (x *matching) collected(m *partial, at, n int) {
	step := &x.plan.Steps[at]
	if n == step.Max || n == step.Min && at == len(x.plan.Steps)-1 {
		delete(m.waits, at)
		if n > step.Min {
			x.stopBefore(m, at+1)
		}
	} else {
		x.stay(m, at)
	}
	switch {
	case n == step.Min:
		x.finish(m, at)
	case n > step.Min && x.plan.Sequence:
		x.enter(m, at+1)
	case n > step.Min:
		x.moveDeadlines(m)
	}
}

// moveDeadlines counts them from the newest event (P5.8). Their order stays.
func (x *matching) moveDeadlines(m *partial) {
	for half := range m.sides {
		if d := &m.sides[half]; d.seq > 0 {
			d.due = m.last + x.plan.Items[x.plan.Steps[m.lastStep()].Items[half]].For
			x.run.m.schedule(x.run, 0, d.due, d.seq)
		}
	}
}

// decided handles the end of one half of a pair.
func (x *matching) decided(m *partial, at int) {
	step := &x.plan.Steps[at]
	done := func(half int) bool {
		p := &x.plan.Items[step.Items[half]]
		return m.sides[half].done || p.Absent && p.For < 0
	}
	if step.Or && (done(0) || done(1)) || !step.Or && done(0) && done(1) {
		x.leave(m, at)
	} else {
		x.stay(m, at)
	}
}

// leave removes a match from a step.
func (x *matching) leave(m *partial, at int) {
	if at == 0 && !m.hasFirst { // P6.5
		m.first, m.hasFirst = m.last, true
	}
	delete(m.waits, at)
	m.sides = [2]side{}
	if x.in[at] == m { // the first half of a pair stayed, the second one goes on with the same event
		delete(x.in, at)
	}
	x.finish(m, at)
}

// finish handles a complete step: groups end, and the match enters the next step or becomes a row.
func (x *matching) finish(m *partial, at int) {
	for g, group := range x.plan.Groups {
		if group.Last != at || m.again[g] || x.lazy(group) || x.plan.Sequence && !x.timed() {
			continue
		}
		m.again[g] = true
		x.successor(m, g)
	}
	if at+1 < len(x.plan.Steps) {
		x.enter(m, at+1)
		return
	}
	x.run.m.spend(20)
	var values []any
	for _, h := range x.plan.Values {
		values = append(values, valueOf(m.events[h.Item], h))
	}
	first := !x.plan.Sequence || x.firing || x.in[at+1] == nil // one row per event
	x.in[at+1] = m
	x.end(m)
	if !first {
		return
	}
	x.run.finish([]item{{kind: current, ts: m.last, values: values}})
}

func (x *matching) lazy(g siddhiql.Every) bool {
	for s := g.First; s <= g.Last; s++ {
		if !x.optional(s) {
			return false
		}
	}
	return true
}

// enter makes a match wait at a step.
func (x *matching) enter(m *partial, at int) {
	if x.plan.Sequence && !x.admit(m, at) {
		return
	}
	m.since[at] = x.event
	if _, already := m.waits[at]; already { // it came when the count before had its minimum
		if at == m.lastStep() {
			x.moveDeadlines(m)
		}
	} else {
		x.came++
		m.waits[at] = x.came
		m.sides = [2]side{}
		for half, i := range x.plan.Steps[at].Items {
			if span := x.plan.Items[i].For; span >= 0 {
				x.await(m, half, m.last+span)
			}
		}
	}
	if x.optional(at) {
		x.finish(m, at)
	}
}

func (x *matching) await(m *partial, half int, due int64) {
	m.sides[half].due = due
	m.sides[half].seq = x.run.m.schedule(x.run, 0, due, 0)
}

// fire handles a deadline: the time of a `not … for` has passed.
func (x *matching) fire(due int64, seq int) {
	x.run.m.spend(len(x.matches))
	for _, m := range slices.Clone(x.matches) {
		for half := range m.sides {
			if d := &m.sides[half]; d.seq == seq && d.due == due {
				x.event++
				x.firing = true
				x.pass(m, half, due)
				x.firing = false
				return
			}
		}
	}
}

func (x *matching) pass(m *partial, half int, due int64) {
	if x.plan.Within >= 0 && m.hasFirst && due-m.first > x.plan.Within { // P6.2
		x.out(m, due)
		return
	}
	at := m.lastStep()
	m.last, m.moved = due, x.event
	m.sides[half] = side{done: true}
	x.stopBefore(m, at)
	if x.plan.Sequence {
		x.in = map[int]*partial{}
	}
	if len(x.plan.Steps[at].Items) == 1 {
		x.leave(m, at)
	} else {
		x.decided(m, at)
	}
}

// violate is P7: an event arrived that must be absent.
func (x *matching) violate(m *partial, at, half int, ts int64) {
	step := &x.plan.Steps[at]
	span := x.plan.Items[step.Items[half]].For
	switch {
	case at == 0 && span >= 0: // P7.3: the wait starts again
		x.await(m, half, ts+span)
	case at == 0 && x.every(): // P7.4e
		m.spoiled = true
	case step.Or && len(step.Items) == 2:
		m.sides[half] = side{violated: true}
		if m.sides[1-half].violated {
			x.drop(m, at, ts)
		}
	default:
		x.drop(m, at, ts)
	}
}

// drop ends a match without a row. The groups that it has not finished start again (P5.6,
// P7.4c, P7.4d).
func (x *matching) drop(m *partial, at int, ts int64) {
	m.last = ts
	x.stopBefore(m, at)
	x.end(m)
	for g, group := range x.plan.Groups {
		if group.First <= at && at <= group.Last && !m.again[g] {
			x.successor(m, g)
		}
	}
}
