package pattern

import "slices"

// status is what has become of an item of the step at which a match waits.
type status uint8

const (
	open     status = iota
	taken           // its event came
	passed          // the time of a `not … for` passed without the event
	violated        // what must not come came, and the partner can still end the step
)

// Match is a partial match. It waits at the steps lo to hi; all but the last are count steps
// that can collect more.
type Match struct {
	x        *Matcher
	number   uint64 // 0: it is as a new one would be, and not stored
	lo, hi   int
	first    int64 // ts of the first event of the first step, or the end of its wait
	last     int64 // ts of the newest event, or of the deadline that passed last
	hasFirst bool
	spoiled  bool // what must not come came at the first step: the partner ends it without a row
	sides    [2]status
	due      [2]int64 // of open items with a `for`, at step hi
	dueSeq   [2]uint64
	counts   []uint32 // by step: events collected; nil if no step is a count
	events   []byte   // of all slots, one after another
	ends     []uint32 // by slot: where its event ends; no bytes: none
	nodes    []*node  // in order of steps
	few      [2]*node

	gen   uint32 // changes with each reuse
	moved uint64 // the last tick in which it took an event or came
	dirty int    // its place in Matcher.dirty, from 1; 0: it has not changed
	shown bool   // its entry was shown, so its end removes one
}

// Number is the match's number in the state.
func (m *Match) Number() uint64 { return m.number }

// Time is the ts of its newest event, or of the deadline that passed last.
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

// keep stores an event of an item. n is how many events the item has with this one.
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
	var m *Match
	if n := len(mc.free); n > 0 {
		m = mc.free[n-1]
		mc.free = mc.free[:n-1]
	} else {
		m = mc.make()
	}
	m.x, m.moved = x, mc.tick
	return m
}

// matchesAtOnce is how many matches are made at a time.
const matchesAtOnce = 64

func (mc *Machine) make() *Match {
	if len(mc.made) == 0 {
		mc.made = make([]Match, matchesAtOnce)
		ends := make([]uint32, matchesAtOnce*mc.slots)
		for i := range mc.made {
			mc.made[i].ends = ends[i*mc.slots : (i+1)*mc.slots : (i+1)*mc.slots]
		}
	}
	m := &mc.made[0]
	mc.made = mc.made[1:]
	m.nodes = m.few[:0]
	if mc.counted {
		m.counts = make([]uint32, len(mc.Steps))
	}
	return m
}

// release takes a match out of all lists and the state.
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
		m.gen++
		mc.expiry.unwanted(mc.expires)
	}
	const large = 1 << 10 // more is not kept for the next match
	events := m.events[:0]
	if cap(events) > large {
		events = nil
	}
	clear(m.few[:])
	clear(m.counts)
	clear(m.ends)
	*m = Match{gen: m.gen + 1, ends: m.ends, counts: m.counts, events: events}
	m.nodes = m.few[:0]
	mc.free = append(mc.free, m)
}

// unlist takes a node out of its list.
func (x *Matcher) unlist(n *node) {
	mc := x.mc
	x.waiting[n.item].drop(n, mc.Items[n.item].Keyed)
	key := n.key
	*n = node{key: key[:0]}
	mc.freeNodes = append(mc.freeNodes, n)
}

// wait makes a match wait for an item.
func (x *Matcher) wait(m *Match, i int, arrival uint64) *node {
	mc := x.mc
	var n *node
	if last := len(mc.freeNodes) - 1; last >= 0 {
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
	item := &x.mc.Items[n.item]
	if item.Keyed {
		var ok bool
		if n.key, ok = x.mc.eval.Held(n.item, n.m, n.key[:0]); !ok {
			return
		}
	}
	x.waiting[n.item].add(n, item.Keyed)
}

// stopWaiting takes a match out of the lists of an item.
func (x *Matcher) stopWaiting(m *Match, item int) {
	m.nodes = slices.DeleteFunc(m.nodes, func(n *node) bool {
		if n.item != item {
			return false
		}
		x.unlist(n)
		return true
	})
}

// stopBefore takes a match out of the lists of the steps before one.
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
