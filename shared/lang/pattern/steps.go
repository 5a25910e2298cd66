package pattern

import "math"

// stepper moves the partial matches of one key from step to step.
type stepper struct {
	matches
	owner   Owner
	id      uint32   // in Machine.steppers
	entered []uint64 // of a sequence, by step and for rows: the tick when a match last arrived or stayed
	firing  bool     // a deadline is passing
	arming  bool     // a match without events is arriving at the first step

	registered bool // id is set
}

// start makes the first match if there must be one without events. Unless the pattern is Timed,
// that match need not be stored.
func (x *stepper) start() {
	if x.mc.timed || x.mc.Sequence && x.mc.restarted {
		return
	}
	if x.mc.restarted || !x.entries.spent {
		x.arm(math.MinInt64)
	}
}

// take adds an event to a match that waits for an item.
func (x *stepper) take(m *match, i int, e *Event) {
	mc := x.mc
	item := &mc.Items[i]
	if mc.Within != NoLimit && m.is(hasFirst) && e.TS < minus(m.first, mc.Within) {
		return // older than the match's first event by more than `within`
	}
	s := item.step
	step := &mc.Steps[s]
	if m.is(spoiled) {
		x.endSpoiled(m)
		return
	}
	x.store(m)
	if s == 0 {
		x.startWithin(m, e.TS, len(step.Items) == 2)
	}
	m.last = e.TS
	mc.setMoved(m)
	x.stopEarlier(m, s)
	switch {
	case step.Count:
		counts := mc.counts(m)
		counts[s]++
		n := int(counts[s])
		mc.keep(m, item, e, n)
		x.counted(m, s, n)
	case len(step.Items) == 2:
		mc.keep(m, item, e, 1)
		m.sides[item.side] = taken
		x.waiting.stop(mc, m, i)
		x.half(m)
	default:
		mc.keep(m, item, e, 1)
		x.leave(m, s)
	}
}

// endSpoiled ends a spoiled attempt: the partner's event is used up.
func (x *stepper) endSpoiled(m *match) {
	x.owner.Changing()
	last := m.last
	x.release(m)
	x.arm(last)
}

// stopEarlier stops collecting at the steps before one. A group whose steps may all be empty starts
// again when a match leaves it.
func (x *stepper) stopEarlier(m *match, step int) {
	lo := int(m.lo)
	if lo >= step {
		return
	}
	x.waiting.stopBefore(x.mc, m, step)
	for g := range x.mc.Groups {
		if group := &x.mc.Groups[g]; group.lazy && !x.mc.Sequence && lo <= group.Last && group.Last < step {
			x.restart(m, g)
		}
	}
}

// counted continues a match after a count step has collected its n-th event.
func (x *stepper) counted(m *match, s, n int) {
	mc := x.mc
	step := &mc.Steps[s]
	full := n == step.Max
	switch {
	case n == step.Min && (full || s == len(mc.Steps)-1):
		x.leave(m, s)
		return
	case full && int(m.hi) == s: // another match was at the next step when this one got here
		x.waiting.stopBefore(mc, m, s+1)
		x.enter(m, s+1)
		return
	case full:
		x.stopEarlier(m, s+1)
		x.deadlines.restart(mc, m)
	case n == step.Min:
		if x.stays(m, s) {
			x.finish(m, s)
		}
		return
	case n > step.Min:
		x.deadlines.restart(mc, m)
	}
	if x.stays(m, int(m.lo)) && mc.Sequence && n > step.Min && int(m.hi) == s {
		x.enter(m, s+1) // another match was there when this one got here
	}
}

// half continues a match after one side of a pair is decided.
func (x *stepper) half(m *match) {
	mc := x.mc
	step := &mc.Steps[m.hi]
	done := func(side int) bool {
		item := &mc.Items[step.Items[side]]
		return m.sides[side] == taken || m.sides[side] == passed || item.Absent && item.For == NoLimit
	}
	if step.Or && (done(0) || done(1)) || !step.Or && done(0) && done(1) {
		if m.hi == 0 {
			x.startWithin(m, m.last, false)
		}
		if mc.Sequence { // its other side may have stayed with this event: another match may arrive
			x.entered[m.hi] = 0
		}
		x.leave(m, int(m.hi))
		return
	}
	x.stays(m, int(m.hi))
}

// leave removes a match from a step that is done, and continues with the next step.
func (x *stepper) leave(m *match, s int) {
	x.deadlines.cancel(x.mc, m)
	x.waiting.stopBefore(x.mc, m, s+1)
	x.finish(m, s)
}

// finish handles a step that is done, or need not collect more: the group that ends there starts
// again, and the match enters the next step or becomes a row.
func (x *stepper) finish(m *match, s int) {
	mc := x.mc
	if g := mc.groupEnd[s]; g >= 0 && !mc.Groups[g].lazy && (!mc.Sequence || mc.timed) {
		x.restart(m, g)
	}
	if s+1 < len(mc.Steps) {
		x.enter(m, s+1)
		return
	}
	if !mc.Sequence || x.firing || x.entered[s+1] != mc.tick {
		x.owner.Matched(Match{mc, m})
		if mc.Sequence {
			x.entered[s+1] = mc.tick
		}
	}
	x.release(m)
}

// restart creates a fresh match for a group.
func (x *stepper) restart(m *match, group int) {
	first := x.mc.Groups[group].First
	if first == 0 {
		x.arm(m.last)
		return
	}
	f := x.alloc()
	x.mc.copyBefore(f, m, first)
	x.enterFirst(f, first)
}

// enterFirst stores a fresh match and makes it wait at its first step.
func (x *stepper) enterFirst(f *match, step int) {
	x.give(f)
	if f.is(hasFirst) {
		x.awaitExpiry(f)
	}
	f.lo = uint16(step)
	x.enter(f, step)
}

// arm creates a fresh match at the first step. Its waits start at ms now.
func (x *stepper) arm(now int64) {
	f := x.alloc()
	f.last = now
	x.arming = true
	if x.mc.timed {
		x.enterFirst(f, 0)
	} else {
		f.last = math.MinInt64 // no time yet: it is not stored, and nothing counts from it
		x.fresh = f
		x.enter(f, 0)
	}
	x.arming = false
}

// enter makes a match wait at a step.
func (x *stepper) enter(m *match, s int) {
	mc := x.mc
	if mc.Sequence && !x.arming && !x.room(m, s) {
		return
	}
	if f := x.fresh; f != nil && f != m && s <= int(f.hi) {
		x.store(f) // it arrived at this step before m, which only the state can tell
	}
	m.hi = uint16(s)
	m.sides = [2]status{}
	if mc.waits {
		mc.deadlines(m.id).due = [2]int64{}
	}
	arrival := uint64(0)
	if m.number > 0 {
		arrival = mc.env.NextSeq()
	}
	step := &mc.Steps[s]
	for side, i := range step.Items {
		x.waiting.add(mc, m, i, arrival)
		if span := mc.Items[i].For; span != NoLimit {
			x.deadlines.set(mc, m, side, plus(m.last, span), arrival)
		}
	}
	if mc.mayBeEmpty(s) {
		x.finish(m, s)
	}
}

// expire ends a match that exceeds `within`. The current event may start the next one.
func (x *stepper) expire(m *match, ts int64) {
	x.owner.Changing()
	again := x.mc.restarted && x.unfinished(m, 0) && !x.mc.Sequence
	x.release(m)
	if again {
		x.arm(ts)
	}
}

// unfinished reports whether a match has not finished a group yet, so that the group must start
// again.
func (x *stepper) unfinished(m *match, group int) bool {
	g := x.mc.Groups[group]
	if g.lazy {
		return int(m.lo) <= g.Last
	}
	return int(m.hi) <= g.Last
}
