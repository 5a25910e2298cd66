package pattern

// deadlineQueue holds the deadlines of the matches of a key that wait for a `not … for`.
type deadlineQueue struct{ timeQueue }

// set sets the deadline of a side. seq orders it among timers of the same ms.
func (q *deadlineQueue) set(mc *Machine, m *match, side int, at int64, seq uint64) {
	d := mc.deadlines(m.id)
	d.due[side], d.seq[side] = at, seq
	d.gen[side]++
	q.push(moment{at, seq, sideOf(m, side), d.gen[side]})
}

// giveUp cancels the deadline of a side.
func (q *deadlineQueue) giveUp(mc *Machine, m *match, side int) {
	if d := mc.deadlines(m.id); d.seq[side] > 0 {
		d.seq[side] = 0
		d.gen[side]++
		q.unwanted(mc)
	}
}

// cancel cancels the deadlines of a match.
func (q *deadlineQueue) cancel(mc *Machine, m *match) {
	if mc.waits {
		q.giveUp(mc, m, 0)
		q.giveUp(mc, m, 1)
	}
}

// restart restarts the deadlines of a match at its newest event, after an earlier step has
// collected another event.
func (q *deadlineQueue) restart(mc *Machine, m *match) {
	if !mc.waits {
		return
	}
	d := mc.deadlines(m.id)
	for side, i := range mc.Steps[m.hi].Items {
		if seq := d.seq[side]; seq > 0 {
			q.giveUp(mc, m, side)
			q.set(mc, m, side, plus(m.last, mc.Items[i].For), seq)
		}
	}
}
