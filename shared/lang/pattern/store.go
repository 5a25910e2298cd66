package pattern

import (
	"cmp"
	"slices"
)

// store records that a match changes. A match without a number gets one now.
func (x *Matcher) store(m *match) {
	if m.number > 0 {
		x.touch(m)
		return
	}
	x.fresh = nil
	if !x.mc.restarted {
		x.setSpent()
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
func (x *Matcher) give(m *match) {
	m.number = x.mc.env.NextSeq()
	x.remember(m)
	x.mc.count(1)
	x.touch(m)
}

// remember adds a match to the stored ones.
func (x *Matcher) remember(m *match) {
	if x.head > 64 && x.head > len(x.all)/2 && len(x.all) == cap(x.all) {
		x.squeeze()
	}
	m.place = uint32(len(x.all))
	x.all = append(x.all, number(m.number, m.id+1))
}

// each calls visit with every stored match, in order of their numbers.
func (x *Matcher) each(visit func(*match)) {
	for _, n := range x.all[x.head:] {
		if n.match > 0 {
			visit(x.mc.match(n.match - 1))
		}
	}
}

func (x *Matcher) touch(m *match) {
	if x.tracked && m.dirty == 0 {
		x.dirty = append(x.dirty, m.id)
		m.dirty = uint32(len(x.dirty))
	}
}

func (x *Matcher) setSpent() {
	if !x.spent {
		x.spent, x.changed = true, true
	}
}

// forget removes a match from the state.
func (x *Matcher) forget(m *match) {
	x.mc.count(-1)
	if m.dirty > 0 {
		last := len(x.dirty) - 1
		moved := x.dirty[last]
		x.mc.match(moved).dirty = m.dirty
		x.dirty[m.dirty-1] = moved
		x.dirty = x.dirty[:last]
	}
	if m.is(shown) {
		x.gone = append(x.gone, m.number)
	}
	x.all[m.place].match = 0
	x.gaps++
	x.compact()
}

// from returns the position in all of the first match with at least the given number.
func (x *Matcher) from(number uint64) int {
	at, _ := slices.BinarySearchFunc(x.all, number, func(n numbered, number uint64) int { return cmp.Compare(n.number(), number) })
	return at
}

// find returns a stored match, or nil.
func (x *Matcher) find(number uint64) *match {
	if at := x.from(number); at < len(x.all) && x.all[at].number() == number {
		if id := x.all[at].match; id > 0 {
			return x.mc.match(id - 1)
		}
	}
	return nil
}

// compact shrinks the list of matches when most of it is gaps.
func (x *Matcher) compact() {
	n := len(x.all)
	for ; n > x.head && x.all[n-1].match == 0; n-- {
		x.gaps--
	}
	x.all = x.all[:n]
	for x.head < n && x.all[x.head].match == 0 {
		x.head++
	}
	const few = 16
	if x.head == n {
		x.all, x.head, x.gaps = x.all[:0], 0, 0
	} else if x.gaps-x.head > (n-x.head)/2+few {
		x.squeeze()
	}
}

// squeeze removes the gaps.
func (x *Matcher) squeeze() {
	kept := x.all[:0]
	for _, n := range x.all[x.head:] {
		if n.match > 0 {
			x.mc.match(n.match - 1).place = uint32(len(kept))
			kept = append(kept, n)
		}
	}
	x.all, x.head, x.gaps = kept, 0, 0
}

// Close drops all matches, because the matcher's key ends.
func (x *Matcher) Close() {
	x.drain()
	x.mc.unregister(x)
}

// drain drops all matches.
func (x *Matcher) drain() {
	x.each(func(m *match) {
		m.number, m.dirty = 0, 0
		x.mc.count(-1)
		x.release(m)
	})
	x.all, x.head, x.gaps, x.dirty, x.gone = nil, 0, 0, nil, nil
	if x.fresh != nil {
		x.release(x.fresh)
	}
}
