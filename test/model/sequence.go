package model

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// inSequence is P8.2: every match takes the event at one of its steps, or ends.
func (x *matching) inSequence(s *siddhiql.Stream, e item) {
	x.in = map[int]*partial{}
	if !x.timed() && x.every() && !x.atStart() {
		x.event--
		x.fresh(0) // it may take this event
		x.event++
	}
	for at := len(x.plan.Steps) - 1; at >= 0; at-- {
		for _, m := range x.waiting(at) {
			if m.moved < x.event {
				x.offer(m, at, s, e)
			}
		}
	}
	for _, m := range slices.Clone(x.matches) {
		if m.moved < x.event {
			x.end(m)
			continue
		}
		for at := range m.waits { // it only waits where this event brought it or left it
			if m.since[at] < x.event {
				delete(m.waits, at)
			}
		}
		if len(m.waits) == 0 {
			x.end(m)
		}
	}
	if x.timed() && x.every() && !x.atStart() { // P8.7
		x.fresh(e.ts)
	}
}

// offer offers an event to a match at a step: to the first half that is open and fits.
func (x *matching) offer(m *partial, at int, s *siddhiql.Stream, e item) {
	for _, half := range x.halves(at, s) {
		if !x.wants(m, at, half) || !x.fits(m, at, half, e) {
			continue
		}
		if x.plan.Items[x.plan.Steps[at].Items[half]].Absent {
			x.end(m)
			return
		}
		x.take(m, at, half, e)
		if _, still := m.waits[at]; !still || !slices.Contains(x.matches, m) || x.plan.Steps[at].Count {
			return
		}
	}
}

func (x *matching) atStart() bool {
	return slices.ContainsFunc(x.matches, func(m *partial) bool { _, there := m.waits[0]; return there })
}

// stay keeps a match at its step for the next event.
func (x *matching) stay(m *partial, at int) {
	if !x.plan.Sequence || x.firing {
		return
	}
	if !x.admit(m, at) {
		delete(m.waits, at)
		return
	}
	m.since[at] = x.event
}

// admit is P8.5: an event lets one match into a step, except into the first. If deadlines bring
// several, the newest stays (P8.7).
func (x *matching) admit(m *partial, at int) bool {
	if x.arming { // not brought by an event
		return true
	}
	if o := x.in[at]; o != nil && o != m && at > 0 {
		return false
	}
	x.in[at] = m
	for _, o := range slices.Clone(x.matches) {
		if x.firing && at > 0 && o != m && o.lastStep() == at && o.since[at] < x.event {
			x.end(o)
		}
	}
	return true
}
