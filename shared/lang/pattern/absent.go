package pattern

// pass continues a match after the time of a `not … for` has passed without the event.
func (x *stepper) pass(m *match, side int, at int64) {
	mc := x.mc
	s := int(m.hi)
	x.store(m)
	m.last = at
	mc.setMoved(m)
	mc.deadlines(m.id).seq[side] = 0
	x.stopEarlier(m, s)
	if len(mc.Steps[s].Items) == 1 {
		if s == 0 {
			x.startWithin(m, at, false)
		}
		x.leave(m, s)
		return
	}
	m.sides[side] = passed
	x.waiting.stop(mc, m, mc.Steps[s].Items[side])
	x.half(m)
}

// violate handles an event that must be absent.
func (x *stepper) violate(m *match, i int, e *Event) {
	mc := x.mc
	item := &mc.Items[i]
	step := &mc.Steps[item.step]
	x.owner.Changing()
	switch pair := len(step.Items) == 2; {
	case mc.Sequence:
		x.drop(m)
	case item.step == 0 && item.For != NoLimit:
		x.waitAgain(m, item, e.TS)
	case item.step == 0 && mc.restarted:
		if !m.is(spoiled) {
			x.store(m)
			m.set(spoiled, true)
		}
	case pair && step.Or:
		x.store(m)
		m.sides[item.side] = violated
		x.deadlines.giveUp(mc, m, item.side)
		x.waiting.stop(mc, m, i)
		if m.sides[1-item.side] == violated {
			x.dropped(m, e.TS)
		}
	default:
		x.dropped(m, e.TS)
	}
}

// waitAgain restarts the wait at the first step.
func (x *stepper) waitAgain(m *match, item *Item, ts int64) {
	x.store(m)
	x.deadlines.giveUp(x.mc, m, item.side)
	x.deadlines.set(x.mc, m, item.side, plus(ts, item.For), x.mc.env.NextSeq())
}

// dropped ends a match because an event came that must be absent. The groups that it has not
// finished start again: those where it still collects, and the one where it waits.
func (x *stepper) dropped(m *match, ts int64) {
	m.last = ts
	x.stopEarlier(m, int(m.hi))
	if g := x.mc.inGroup[m.hi]; g >= 0 && x.unfinished(m, g) {
		x.restart(m, g)
	}
	x.drop(m)
}

// drop ends a match without a row.
func (x *stepper) drop(m *match) {
	if m == x.fresh && !x.mc.restarted {
		x.entries.setSpent()
	}
	x.release(m)
}
