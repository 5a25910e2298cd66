package pattern

import (
	"cmp"
	"slices"
)

// store notes that a match changes. A match that was as a new one gets its number now.
func (x *Matcher) store(m *Match) {
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
	for _, n := range m.nodes {
		if s := x.mc.Items[n.item].step; s != step {
			arrival, step = x.mc.env.NextSeq(), s
		}
		n.arrival = arrival
	}
}

// give numbers a match.
func (x *Matcher) give(m *Match) {
	m.number = x.mc.env.NextSeq()
	x.all = append(x.all, numbered{m.number, m})
	x.mc.count(1, true)
	x.touch(m)
}

func (x *Matcher) touch(m *Match) {
	if x.tracked && m.dirty == 0 {
		x.dirty = append(x.dirty, m)
		m.dirty = len(x.dirty)
	}
}

func (x *Matcher) setSpent() {
	if !x.spent {
		x.spent, x.changed = true, true
	}
}

// forget takes a match out of the state.
func (x *Matcher) forget(m *Match) {
	x.mc.count(-1, true)
	if m.dirty > 0 {
		last := len(x.dirty) - 1
		x.dirty[last].dirty = m.dirty
		x.dirty[m.dirty-1] = x.dirty[last]
		x.dirty[last] = nil
		x.dirty = x.dirty[:last]
	}
	if m.shown {
		x.gone = append(x.gone, m.number)
	}
	x.all[x.from(m.number)].m = nil
	x.gaps++
	x.compact()
}

// from returns where the first match of at least a number is in all.
func (x *Matcher) from(number uint64) int {
	at, _ := slices.BinarySearchFunc(x.all, number, func(n numbered, number uint64) int { return cmp.Compare(n.number, number) })
	return at
}

// find returns a stored match, or nil.
func (x *Matcher) find(number uint64) *Match {
	if at := x.from(number); at < len(x.all) && x.all[at].number == number {
		return x.all[at].m
	}
	return nil
}

// compact keeps the list of matches as long as their number asks for.
func (x *Matcher) compact() {
	for n := len(x.all); n > 0 && x.all[n-1].m == nil; n-- {
		x.all = x.all[:n-1]
		x.gaps--
	}
	const few = 16
	if x.gaps <= len(x.all)/2+few {
		return
	}
	x.all = slices.DeleteFunc(x.all, func(n numbered) bool { return n.m == nil })
	x.gaps = 0
}

// Close gives up all matches: the matcher's key ends, or its state is loaded.
func (x *Matcher) Close() {
	stored := x.all
	x.all, x.gaps, x.dirty, x.gone = nil, 0, nil, nil
	for _, n := range stored {
		if n.m != nil {
			n.m.number, n.m.dirty = 0, 0
			x.mc.count(-1, true)
			x.release(n.m)
		}
	}
	if x.fresh != nil {
		x.release(x.fresh)
	}
}
