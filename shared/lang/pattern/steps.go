package pattern

import "math"

// take adds an event to a match that waits for an item.
func (x *Matcher) take(m *match, i int, e *Event) {
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
		x.begun(m, e.TS, len(step.Items) == 2)
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
		x.stopWaiting(m, i)
		x.half(m)
	default:
		mc.keep(m, item, e, 1)
		x.leave(m, s)
	}
}

// endSpoiled ends a spoiled attempt: the partner's event is used up.
func (x *Matcher) endSpoiled(m *match) {
	x.owner.Changing()
	last := m.last
	x.release(m)
	x.arm(last)
}

// begun records the time of the first event of the first step, where `within` starts. earlier is
// set if an older event of the same step replaces it.
func (x *Matcher) begun(m *match, ts int64, earlier bool) {
	if m.is(hasFirst) && (!earlier || ts >= m.first) {
		return
	}
	m.first = ts
	m.set(hasFirst, true)
	x.awaitExpiry(m)
}

func (x *Matcher) awaitExpiry(m *match) {
	if x.mc.Within != NoLimit {
		m.gen++
		x.mc.expiry.push(moment{m.first, m.number, subject(m.id), m.gen})
	}
}

// stopEarlier stops collecting at the steps before one. A group whose steps may all be empty starts
// again when a match leaves it.
func (x *Matcher) stopEarlier(m *match, step int) {
	lo := int(m.lo)
	if lo >= step {
		return
	}
	x.stopBefore(m, step)
	for g := range x.mc.Groups {
		if group := &x.mc.Groups[g]; group.lazy && !x.mc.Sequence && lo <= group.Last && group.Last < step {
			x.restart(m, g)
		}
	}
}

// counted continues a match after a count step has collected its n-th event.
func (x *Matcher) counted(m *match, s, n int) {
	mc := x.mc
	step := &mc.Steps[s]
	full := n == step.Max
	switch {
	case n == step.Min && (full || s == len(mc.Steps)-1):
		x.leave(m, s)
		return
	case full && int(m.hi) == s: // another match was at the next step when this one got here
		x.stopBefore(m, s+1)
		x.enter(m, s+1)
		return
	case full:
		x.stopEarlier(m, s+1)
		x.moveDeadlines(m)
	case n == step.Min:
		if x.stays(m, s) {
			x.finish(m, s)
		}
		return
	case n > step.Min:
		x.moveDeadlines(m)
	}
	if x.stays(m, int(m.lo)) && mc.Sequence && n > step.Min && int(m.hi) == s {
		x.enter(m, s+1) // another match was there when this one got here
	}
}

// stays records that a match of a sequence stays at its steps from lo on. It leaves the steps where
// another match arrived with the same event, or stayed. It returns false if the match ends.
func (x *Matcher) stays(m *match, lo int) bool {
	mc := x.mc
	if !mc.Sequence {
		return true
	}
	hi := int(m.hi)
	for s := lo; s <= hi; s++ {
		if s == 0 || x.entered[s] != mc.tick {
			x.entered[s] = mc.tick
			continue
		}
		if s == hi {
			x.cancel(m)
			m.sides = [2]status{}
		}
		for _, i := range mc.Steps[s].Items {
			x.stopWaiting(m, i)
		}
	}
	if m.nodes == none {
		x.release(m)
		return false
	}
	n := mc.node(m.nodes)
	m.lo = uint16(mc.Items[n.item].step)
	for n.sibling != none {
		n = mc.node(n.sibling)
	}
	m.hi = uint16(mc.Items[n.item].step)
	return true
}

// half continues a match after one side of a pair is decided.
func (x *Matcher) half(m *match) {
	mc := x.mc
	step := &mc.Steps[m.hi]
	done := func(side int) bool {
		item := &mc.Items[step.Items[side]]
		return m.sides[side] == taken || m.sides[side] == passed || item.Absent && item.For == NoLimit
	}
	if step.Or && (done(0) || done(1)) || !step.Or && done(0) && done(1) {
		if m.hi == 0 {
			x.begun(m, m.last, false)
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
func (x *Matcher) leave(m *match, s int) {
	x.cancel(m)
	x.stopBefore(m, s+1)
	x.finish(m, s)
}

// cancel cancels the deadlines of a match.
func (x *Matcher) cancel(m *match) {
	if x.mc.waits {
		x.giveUp(m, 0)
		x.giveUp(m, 1)
	}
}

// finish handles a step that is done, or need not collect more: the group that ends there starts
// again, and the match enters the next step or becomes a row.
func (x *Matcher) finish(m *match, s int) {
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
func (x *Matcher) restart(m *match, group int) {
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
func (x *Matcher) enterFirst(f *match, step int) {
	x.give(f)
	if f.is(hasFirst) {
		x.awaitExpiry(f)
	}
	f.lo = uint16(step)
	x.enter(f, step)
}

// arm creates a fresh match at the first step. Its waits start at ms now.
func (x *Matcher) arm(now int64) {
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
func (x *Matcher) enter(m *match, s int) {
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
		x.wait(m, i, arrival)
		if span := mc.Items[i].For; span != NoLimit {
			x.setDeadline(m, side, plus(m.last, span), arrival)
		}
	}
	if mc.mayBeEmpty(s) {
		x.finish(m, s)
	}
}

// room makes sure that at most one match of a sequence arrives at a step with an event: the one
// that is furthest along, which comes first. If deadlines bring several, the last one stays. A
// match that waits nowhere else ends.
func (x *Matcher) room(m *match, s int) bool {
	mc := x.mc
	if !x.firing {
		if x.entered[s] != mc.tick {
			x.entered[s] = mc.tick
			return true
		}
		if m.nodes == none {
			x.release(m)
		}
		return false
	}
	for _, n := range x.all[x.head:] {
		if n.match == 0 {
			continue
		}
		if o := mc.match(n.match - 1); o != m && int(o.hi) == s {
			x.release(o)
			break
		}
	}
	return true
}

func (x *Matcher) setDeadline(m *match, side int, at int64, seq uint64) {
	d := x.mc.deadlines(m.id)
	d.due[side], d.seq[side] = at, seq
	d.gen[side]++
	x.deadlines.push(moment{at, seq, sideOf(m, side), d.gen[side]})
}

// moveDeadlines restarts the deadlines of a match at its newest event, after an earlier step has
// collected another event.
func (x *Matcher) moveDeadlines(m *match) {
	if !x.mc.waits {
		return
	}
	d := x.mc.deadlines(m.id)
	for side, i := range x.mc.Steps[m.hi].Items {
		if seq := d.seq[side]; seq > 0 {
			x.giveUp(m, side)
			x.setDeadline(m, side, plus(m.last, x.mc.Items[i].For), seq)
		}
	}
}
