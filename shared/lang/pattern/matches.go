package pattern

// matches are the partial matches of one key. A match gets its number here, and ends here.
type matches struct {
	mc        *Machine
	entries   entries
	waiting   waitLists
	deadlines deadlineQueue
	fresh     *match // a match without events: it waits at the first step and is not stored
}

// store records that a match changes. A match without a number gets one now.
func (x *matches) store(m *match) {
	if m.number > 0 {
		x.entries.touch(m)
		return
	}
	x.fresh = nil
	if !x.mc.restarted {
		x.entries.setSpent()
	}
	x.give(m)
	arrival, step := uint64(0), -1
	for r := m.nodes; r != none; {
		n := x.mc.node(r)
		if s := x.mc.Items[n.item].step; s != step {
			arrival, step = x.mc.env.NextSeq(), s
		}
		n.arrival = arrival
		r = n.sibling
	}
}

// give assigns a number to a match.
func (x *matches) give(m *match) {
	m.number = x.mc.env.NextSeq()
	x.entries.add(x.mc, m)
	x.entries.touch(m)
}

// startWithin records the time of the first event of the first step, where `within` starts. earlier is
// set if an older event of the same step replaces it.
func (x *matches) startWithin(m *match, ts int64, earlier bool) {
	if m.is(hasFirst) && (!earlier || ts >= m.first) {
		return
	}
	m.first = ts
	m.set(hasFirst, true)
	x.awaitExpiry(m)
}

// awaitExpiry adds a match to the order of expiry.
func (x *matches) awaitExpiry(m *match) {
	if x.mc.Within != NoLimit {
		m.gen++
		x.mc.expiry.push(moment{m.first, m.number, subject(m.id), m.gen})
	}
}

// release removes a match from all lists and from the state.
func (x *matches) release(m *match) {
	mc := x.mc
	if m == x.fresh {
		x.fresh = nil
	}
	x.deadlines.cancel(mc, m)
	x.waiting.stopEverywhere(mc, m)
	if m.number > 0 {
		x.entries.remove(mc, m)
	}
	if m.is(hasFirst) && mc.Within != NoLimit {
		m.gen++
		mc.expiry.unwanted(mc)
	}
	mc.clear(m)
	mc.recycle(m)
}

// drain drops all matches.
func (x *matches) drain() {
	x.entries.each(x.mc, func(m *match) {
		m.number, m.dirty = 0, 0
		x.mc.count(-1)
		x.release(m)
	})
	x.entries.empty()
	if x.fresh != nil {
		x.release(x.fresh)
	}
}
