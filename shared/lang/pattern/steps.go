package pattern

import "math"

// take adds an event to a match that waits for an item.
func (x *Matcher) take(m *Match, i int, e *Event) {
	mc := x.mc
	item := &mc.Items[i]
	if mc.Within != NoLimit && m.hasFirst && e.TS < minus(m.first, mc.Within) {
		return // older than the match's first event by more than `within`
	}
	s := item.step
	step := &mc.Steps[s]
	if m.spoiled {
		x.endSpoiled(m)
		return
	}
	x.store(m)
	if s == 0 {
		x.begun(m, e.TS, len(step.Items) == 2)
	}
	m.last, m.moved = e.TS, mc.tick
	x.stopEarlier(m, s)
	switch {
	case step.Count:
		m.counts[s]++
		n := int(m.counts[s])
		m.keep(item, e, n)
		x.counted(m, s, n)
	case len(step.Items) == 2:
		m.keep(item, e, 1)
		m.sides[item.side] = taken
		x.stopWaiting(m, i)
		x.half(m)
	default:
		m.keep(item, e, 1)
		x.leave(m, s)
	}
}

// endSpoiled ends a spoiled attempt: the partner's event is used up.
func (x *Matcher) endSpoiled(m *Match) {
	x.owner.Changing()
	last := m.last
	x.release(m)
	x.arm(last)
}

// begun records the time of the first event of the first step, where `within` starts. earlier is
// set if an older event of the same step replaces it.
func (x *Matcher) begun(m *Match, ts int64, earlier bool) {
	if m.hasFirst && (!earlier || ts >= m.first) {
		return
	}
	m.first, m.hasFirst = ts, true
	x.awaitExpiry(m)
}

func (x *Matcher) awaitExpiry(m *Match) {
	if x.mc.Within != NoLimit {
		x.mc.want(&x.mc.expiry, m.wish(wishExpiry), m.first, m.number)
	}
}

// stopEarlier stops collecting at the steps before one. A group whose steps may all be empty starts
// again when a match leaves it.
func (x *Matcher) stopEarlier(m *Match, step int) {
	if m.lo >= step {
		return
	}
	lo := m.lo
	x.stopBefore(m, step)
	for g := range x.mc.Groups {
		if group := &x.mc.Groups[g]; group.lazy && !x.mc.Sequence && lo <= group.Last && group.Last < step {
			x.restart(m, g)
		}
	}
}

// counted continues a match after a count step has collected its n-th event.
func (x *Matcher) counted(m *Match, s, n int) {
	mc := x.mc
	step := &mc.Steps[s]
	full := n == step.Max
	switch {
	case n == step.Min && (full || s == len(mc.Steps)-1):
		x.leave(m, s)
		return
	case full && m.hi == s: // another match was at the next step when this one got here
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
	if x.stays(m, m.lo) && mc.Sequence && n > step.Min && m.hi == s {
		x.enter(m, s+1) // another match was there when this one got here
	}
}

// stays records that a match of a sequence stays at its steps from lo on. It leaves the steps where
// another match arrived with the same event, or stayed. It returns false if the match ends.
func (x *Matcher) stays(m *Match, lo int) bool {
	mc := x.mc
	if !mc.Sequence {
		return true
	}
	hi := m.hi
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
	if len(m.nodes) == 0 {
		x.release(m)
		return false
	}
	m.lo = mc.Items[m.nodes[0].item].step
	m.hi = mc.Items[m.nodes[len(m.nodes)-1].item].step
	return true
}

// half continues a match after one side of a pair is decided.
func (x *Matcher) half(m *Match) {
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
		x.leave(m, m.hi)
		return
	}
	x.stays(m, m.hi)
}

// leave removes a match from a step that is done, and continues with the next step.
func (x *Matcher) leave(m *Match, s int) {
	x.cancel(m)
	x.stopBefore(m, s+1)
	x.finish(m, s)
}

// cancel cancels the deadlines of a match.
func (x *Matcher) cancel(m *Match) {
	for side := range m.dueSeq {
		x.giveUp(m, side)
	}
}

// finish handles a step that is done, or need not collect more: the group that ends there starts
// again, and the match enters the next step or becomes a row.
func (x *Matcher) finish(m *Match, s int) {
	mc := x.mc
	if g := mc.groupEnd[s]; g >= 0 && !mc.Groups[g].lazy && (!mc.Sequence || mc.timed) {
		x.restart(m, g)
	}
	if s+1 < len(mc.Steps) {
		x.enter(m, s+1)
		return
	}
	if !mc.Sequence || x.firing || x.entered[s+1] != mc.tick {
		x.owner.Matched(m)
		if mc.Sequence {
			x.entered[s+1] = mc.tick
		}
	}
	x.release(m)
}

// restart creates a fresh match for a group.
func (x *Matcher) restart(m *Match, group int) {
	first := x.mc.Groups[group].First
	if first == 0 {
		x.arm(m.last)
		return
	}
	f := x.alloc()
	f.copyBefore(m, first)
	x.enterFirst(f, first)
}

// enterFirst stores a fresh match and makes it wait at its first step.
func (x *Matcher) enterFirst(f *Match, step int) {
	x.give(f)
	if f.hasFirst {
		x.awaitExpiry(f)
	}
	f.lo = step
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
func (x *Matcher) enter(m *Match, s int) {
	mc := x.mc
	if mc.Sequence && !x.arming && !x.room(m, s) {
		return
	}
	if f := x.fresh; f != nil && f != m && s <= f.hi {
		x.store(f) // it arrived at this step before m, which only the state can tell
	}
	m.hi = s
	m.sides, m.due = [2]status{}, [2]int64{}
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
func (x *Matcher) room(m *Match, s int) bool {
	mc := x.mc
	if !x.firing {
		if x.entered[s] != mc.tick {
			x.entered[s] = mc.tick
			return true
		}
		if len(m.nodes) == 0 {
			x.release(m)
		}
		return false
	}
	for _, n := range x.all[x.head:] {
		if n.match == 0 {
			continue
		}
		if o := mc.match(n.match - 1); o != m && o.hi == s {
			x.release(o)
			break
		}
	}
	return true
}

func (x *Matcher) setDeadline(m *Match, side int, at int64, seq uint64) {
	m.due[side], m.dueSeq[side] = at, seq
	x.mc.want(&x.deadlines, m.wish(wishSide+side), at, seq)
}

// want replaces the time of a wish in a queue.
func (mc *Machine) want(q *timeQueue, w wish, at int64, seq uint64) {
	mc.wishes[w]++
	q.push(moment{at: at, seq: seq, wish: w, gen: mc.wishes[w]})
}

// moveDeadlines restarts the deadlines of a match at its newest event, after an earlier step has
// collected another event.
func (x *Matcher) moveDeadlines(m *Match) {
	for side, i := range x.mc.Steps[m.hi].Items {
		if seq := m.dueSeq[side]; seq > 0 {
			x.giveUp(m, side)
			x.setDeadline(m, side, plus(m.last, x.mc.Items[i].For), seq)
		}
	}
}
