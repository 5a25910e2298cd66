package pattern

// beforeEvent makes sure that a match of a sequence with `every` waits at the first step. Without
// `every`, the first event starts the only attempt, whether or not it fits.
func (x *Matcher) beforeEvent() {
	mc := x.mc
	if mc.timed {
		return
	}
	if !mc.restarted {
		if !x.spent {
			x.owner.Changing()
			x.setSpent()
		}
		return
	}
	if !x.atStart() {
		x.arm(0)
	}
}

// atStart reports whether a match waits at the first step.
func (x *Matcher) atStart() bool {
	for _, i := range x.mc.Steps[0].Items {
		if x.waiting[i].head != none {
			return true
		}
	}
	return false
}

// afterEvent ends the matches of a sequence that did not take the event.
func (x *Matcher) afterEvent(e *Event) {
	mc := x.mc
	if f := x.fresh; f != nil && !mc.restarted && !mc.hasMoved(f) {
		x.owner.Changing()
		x.drop(f)
	}
	for i := x.head; i < len(x.all); i++ {
		n := x.all[i]
		if n.match == 0 {
			continue
		}
		if m := mc.match(n.match - 1); !mc.hasMoved(m) {
			x.owner.Changing()
			x.drop(m)
			i = x.from(n.number()) - 1 // the list may have shrunk
		}
	}
	if mc.timed && mc.restarted && !x.atStart() {
		x.owner.Changing()
		x.arm(e.TS)
	}
}
