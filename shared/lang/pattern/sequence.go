package pattern

// beforeEvent makes sure that a match of a sequence with `every` waits at the first step. Without
// `every`, the first event starts the only attempt, whether or not it fits.
func (x *stepper) beforeEvent() {
	mc := x.mc
	if mc.timed {
		return
	}
	if !mc.restarted {
		if !x.entries.spent {
			x.owner.Changing()
			x.entries.setSpent()
		}
		return
	}
	if !x.atStart() {
		x.arm(0)
	}
}

// atStart reports whether a match waits at the first step.
func (x *stepper) atStart() bool {
	for _, i := range x.mc.Steps[0].Items {
		if x.waiting[i].head != none {
			return true
		}
	}
	return false
}

// afterEvent ends the matches of a sequence that did not take the event.
func (x *stepper) afterEvent(e *Event) {
	mc := x.mc
	if f := x.fresh; f != nil && !mc.restarted && !mc.hasMoved(f) {
		x.owner.Changing()
		x.drop(f)
	}
	for i := x.entries.head; i < len(x.entries.all); i++ {
		n := x.entries.all[i]
		if n.match == 0 {
			continue
		}
		if m := mc.match(n.match - 1); !mc.hasMoved(m) {
			x.owner.Changing()
			x.drop(m)
			i = x.entries.from(n.number()) - 1 // the list may have shrunk
		}
	}
	if mc.timed && mc.restarted && !x.atStart() {
		x.owner.Changing()
		x.arm(e.TS)
	}
}

// stays records that a match of a sequence stays at its steps from lo on. It leaves the steps where
// another match arrived with the same event, or stayed. It returns false if the match ends.
func (x *stepper) stays(m *match, lo int) bool {
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
			x.deadlines.cancel(mc, m)
			m.sides = [2]status{}
		}
		for _, i := range mc.Steps[s].Items {
			x.waiting.stop(mc, m, i)
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

// room makes sure that at most one match of a sequence arrives at a step with an event: the one
// that is furthest along, which comes first. If deadlines bring several, the last one stays. A
// match that waits nowhere else ends.
func (x *stepper) room(m *match, s int) bool {
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
	for _, n := range x.entries.all[x.entries.head:] {
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
