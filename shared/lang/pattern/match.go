package pattern

import "slices"

// status is the state of one item of the step where a match waits.
type status uint8

const (
	open     status = iota
	taken           // its event came
	passed          // the time of a `not … for` passed without the event
	violated        // an event came that must be absent, but the partner can still end the step
)

// Match is a partial match. It waits at the steps lo to hi; all but the last are count steps that
// can collect more events.
type Match struct {
	x        *Matcher
	number   uint64 // 0: it equals a new match, and is not stored
	lo, hi   int
	id       uint32 // among all matches of the machine
	first    int64  // ts of the first event of the first step, or the time when its wait ended
	last     int64  // ts of the newest event or deadline
	hasFirst bool
	spoiled  bool // an event that must be absent came at the first step: the partner ends the match without a row
	sides    [2]status
	due      [2]int64 // of open items with a `for`, at step hi
	dueSeq   [2]uint64
	counts   []uint32 // by step: number of events collected; nil if no step is a count
	events   []byte   // of all slots, one after another
	ends     []uint32 // by slot: where its event ends; an empty slot has no bytes
	nodes    []*node  // in order of steps
	own      node     // the first node to wait; a match rarely needs others
	few      [2]*node
	short    [24]byte // holds events while they are small
	fewEnds  [2]uint32

	moved uint64 // the last tick in which it took an event or arrived
	dirty int    // its position in Matcher.dirty, from 1; 0: unchanged
	shown bool   // its entry was shown, so its end is a deletion
}

// Number is the match's number in the state.
func (m *Match) Number() uint64 { return m.number }

// Time returns the ts of its newest event, or of the newest deadline that passed.
func (m *Match) Time() int64 { return m.last }

// Has reports whether the match has collected an event of an item.
func (m *Match) Has(item int) bool {
	x := &m.x.mc.Items[item]
	return m.event(x, false, 0) != nil || m.counts != nil && m.counts[x.step] > 0
}

// slot returns the event in a slot; nil if there is none.
func (m *Match) slot(i int) []byte {
	start := uint32(0)
	if i > 0 {
		start = m.ends[i-1]
	}
	return m.events[start:m.ends[i]]
}

// setSlot replaces the event in a slot.
func (m *Match) setSlot(i int, e []byte) {
	start := uint32(0)
	if i > 0 {
		start = m.ends[i-1]
	}
	old := m.ends[i] - start
	m.events = slices.Replace(m.events, int(start), int(m.ends[i]), e...)
	for ; i < len(m.ends); i++ {
		m.ends[i] += uint32(len(e)) - old
	}
}

// keep stores an event of an item. n is the number of events of the item, including this one.
func (m *Match) keep(item *Item, e *Event, n int) {
	if item.Heads+item.Tails == 0 {
		return
	}
	mc := m.x.mc
	mc.scratch = appendEvent(mc.scratch[:0], item, e)
	if n <= item.Heads {
		m.setSlot(item.slot+n-1, mc.scratch)
	}
	tail := item.slot + item.Heads
	switch {
	case item.Tails == 0:
	case n <= item.Tails:
		m.setSlot(tail+n-1, mc.scratch)
	default:
		for i := 1; i < item.Tails; i++ {
			mc.other = append(mc.other[:0], m.slot(tail+i)...)
			m.setSlot(tail+i-1, mc.other)
		}
		m.setSlot(tail+item.Tails-1, mc.scratch)
	}
}

// event returns event n of an item, or event n before the last; nil if there is none.
func (m *Match) event(item *Item, last bool, n int) []byte {
	if !m.x.mc.Steps[item.step].Count {
		if n > 0 || item.Heads == 0 {
			return nil
		}
		return m.slot(item.slot)
	}
	have := int(m.counts[item.step])
	switch {
	case n >= have:
		return nil
	case last && n < item.Tails:
		return m.slot(item.slot + item.Heads + min(have, item.Tails) - 1 - n)
	case !last && n < item.Heads:
		return m.slot(item.slot + n)
	}
	return nil
}

// copyBefore makes m a copy of the events of o at the steps before one.
func (m *Match) copyBefore(o *Match, step int) {
	end := 0
	for i := range m.x.mc.Items {
		if item := &m.x.mc.Items[i]; item.step < step {
			end = item.slot + item.Heads + item.Tails
		}
	}
	size := uint32(0)
	for i := range m.ends {
		if i < end {
			size = o.ends[i]
		}
		m.ends[i] = size
	}
	m.events = append(m.events[:0], o.events[:size]...)
	for s := range m.counts {
		if s < step {
			m.counts[s] = o.counts[s]
		}
	}
	m.first, m.hasFirst, m.last = o.first, o.hasFirst, o.last
}

// alloc returns an empty match.
func (x *Matcher) alloc() *Match {
	mc := x.mc
	if len(mc.free) == 0 {
		mc.grow()
	}
	last := len(mc.free) - 1
	m := mc.free[last]
	mc.free = mc.free[:last]
	m.x, m.moved = x, mc.tick
	return m
}

// matchesAtOnce is the number of matches in a slab.
const matchesAtOnce = 64

// grow allocates a slab of matches.
func (mc *Machine) grow() {
	slab := make([]Match, matchesAtOnce)
	first := uint32(len(mc.slabs) * matchesAtOnce)
	mc.slabs = append(mc.slabs, slab)
	mc.wishes = append(mc.wishes, make([]uint32, matchesAtOnce*wishesPerMatch)...)
	mc.places = append(mc.places, make([]uint32, matchesAtOnce)...)
	for i := len(slab) - 1; i >= 0; i-- { // the first one is used first
		m := &slab[i]
		m.id = first + uint32(i)
		m.nodes, m.events = m.few[:0], m.short[:0]
		if m.ends = m.fewEnds[:]; mc.slots > len(m.fewEnds) {
			m.ends = make([]uint32, mc.slots)
		}
		m.ends = m.ends[:mc.slots]
		if mc.counted {
			m.counts = make([]uint32, len(mc.Steps))
		}
		mc.free = append(mc.free, m)
	}
}

// match returns the match with an id.
func (mc *Machine) match(id uint32) *Match {
	return &mc.slabs[id/matchesAtOnce][id%matchesAtOnce]
}

// release removes a match from all lists and from the state.
func (x *Matcher) release(m *Match) {
	mc := x.mc
	if m == x.fresh {
		x.fresh = nil
	}
	x.cancel(m)
	for _, n := range m.nodes {
		x.unlist(n)
	}
	if m.number > 0 {
		x.forget(m)
	}
	if m.hasFirst && mc.Within != NoLimit {
		mc.wishes[m.wish(wishExpiry)]++
		mc.expiry.unwanted(mc.wishes)
	}
	m.clear()
	mc.free = append(mc.free, m)
}

// clear resets a match, but keeps its memory.
func (m *Match) clear() {
	const large = 1 << 10 // a larger buffer is not kept
	if m.events = m.events[:0]; cap(m.events) > large {
		m.events = m.short[:0]
	}
	m.x, m.number, m.lo, m.hi = nil, 0, 0, 0
	m.first, m.last, m.moved, m.dirty = 0, 0, 0, 0
	m.hasFirst, m.spoiled, m.shown = false, false, false
	m.sides, m.due, m.dueSeq = [2]status{}, [2]int64{}, [2]uint64{}
	m.nodes, m.few = m.few[:0], [2]*node{}
	clear(m.counts)
	clear(m.ends)
}

// unlist removes a node from its list.
func (x *Matcher) unlist(n *node) {
	mc := x.mc
	x.waiting[n.item].drop(mc, n)
	own := n == &n.m.own
	n.clear()
	if !own {
		mc.freeNodes = append(mc.freeNodes, n)
	}
}

// wait makes a match wait for an item.
func (x *Matcher) wait(m *Match, i int, arrival uint64) *node {
	mc := x.mc
	n := &m.own
	if last := len(mc.freeNodes) - 1; n.m == nil {
		// m.own is unused
	} else if last >= 0 {
		n = mc.freeNodes[last]
		mc.freeNodes = mc.freeNodes[:last]
	} else {
		n = &node{}
	}
	n.m, n.item, n.arrival, n.born = m, i, arrival, mc.tick
	m.nodes = append(m.nodes, n)
	x.list(n)
	return n
}

// list puts a node into the list or bucket of its item.
func (x *Matcher) list(n *node) {
	mc, w := x.mc, &x.waiting[n.item]
	if !mc.Items[n.item].Keyed {
		n.listed = true
		w.append(n)
		return
	}
	if n.key == nil {
		n.key = n.short[:0]
	}
	n.key, n.listed = mc.eval.Held(n.item, n.m, n.key[:0])
	if n.listed {
		w.index.add(mc, n)
	}
}

// stopWaiting removes a match from the lists of an item.
func (x *Matcher) stopWaiting(m *Match, item int) {
	m.nodes = slices.DeleteFunc(m.nodes, func(n *node) bool {
		if n.item != item {
			return false
		}
		x.unlist(n)
		return true
	})
}

// stopBefore removes a match from the lists of the steps before the given one.
func (x *Matcher) stopBefore(m *Match, step int) {
	m.nodes = slices.DeleteFunc(m.nodes, func(n *node) bool {
		if x.mc.Items[n.item].step >= step {
			return false
		}
		x.unlist(n)
		return true
	})
	m.lo = step
}
