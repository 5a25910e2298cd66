package pattern

import (
	"cmp"
	"slices"
)

// entries are the entries of a matcher in the state: its stored matches, in order of their numbers,
// and whether its attempt has started. It records which of them change.
type entries struct {
	all  []numbered // the stored matches by number, with gaps
	head int        // only gaps come before it
	gaps int

	spent bool // the only attempt, or the wait at the start, has started

	tracked bool     // changedKeys was called, so changes are recorded
	dirty   []uint32 // ids
	gone    []uint64 // numbers of matches that ended after they were shown
	changed bool     // spent has changed
}

// numbered refers to a stored match by its id plus one; 0 once the match has ended. The number is in
// two halves, so that the list has no padding.
type numbered struct{ high, low, match uint32 }

func number(n uint64, match uint32) numbered { return numbered{uint32(n >> 32), uint32(n), match} }

func (n numbered) number() uint64 { return uint64(n.high)<<32 | uint64(n.low) }

// len returns the number of stored matches.
func (e *entries) len() int { return len(e.all) - e.gaps }

// add adds a match that has a number.
func (e *entries) add(mc *Machine, m *match) {
	if e.head > 64 && e.head > len(e.all)/2 && len(e.all) == cap(e.all) {
		e.squeeze(mc)
	}
	m.place = uint32(len(e.all))
	e.all = append(e.all, number(m.number, m.id+1))
	mc.count(1)
}

// each calls visit with every stored match, in order of their numbers.
func (e *entries) each(mc *Machine, visit func(*match)) {
	for _, n := range e.all[e.head:] {
		if n.match > 0 {
			visit(mc.match(n.match - 1))
		}
	}
}

// touch records that a match changes.
func (e *entries) touch(m *match) {
	if e.tracked && m.dirty == 0 {
		e.dirty = append(e.dirty, m.id)
		m.dirty = uint32(len(e.dirty))
	}
}

// setSpent records that the attempt, or the wait, has started.
func (e *entries) setSpent() {
	if !e.spent {
		e.spent, e.changed = true, true
	}
}

// remove removes a match.
func (e *entries) remove(mc *Machine, m *match) {
	mc.count(-1)
	if m.dirty > 0 {
		last := len(e.dirty) - 1
		moved := e.dirty[last]
		mc.match(moved).dirty = m.dirty
		e.dirty[m.dirty-1] = moved
		e.dirty = e.dirty[:last]
	}
	if m.is(shown) {
		e.gone = append(e.gone, m.number)
	}
	e.all[m.place].match = 0
	e.gaps++
	e.compact(mc)
}

// from returns the position in all of the first match with at least the given number.
func (e *entries) from(number uint64) int {
	at, _ := slices.BinarySearchFunc(e.all, number, func(n numbered, number uint64) int { return cmp.Compare(n.number(), number) })
	return at
}

// find returns a stored match, or nil.
func (e *entries) find(mc *Machine, number uint64) *match {
	if at := e.from(number); at < len(e.all) && e.all[at].number() == number {
		if id := e.all[at].match; id > 0 {
			return mc.match(id - 1)
		}
	}
	return nil
}

// compact shrinks the list of matches when most of it is gaps.
func (e *entries) compact(mc *Machine) {
	n := len(e.all)
	for ; n > e.head && e.all[n-1].match == 0; n-- {
		e.gaps--
	}
	e.all = e.all[:n]
	for e.head < n && e.all[e.head].match == 0 {
		e.head++
	}
	const few = 16
	if e.head == n {
		e.all, e.head, e.gaps = e.all[:0], 0, 0
	} else if e.gaps-e.head > (n-e.head)/2+few {
		e.squeeze(mc)
	}
}

// squeeze removes the gaps.
func (e *entries) squeeze(mc *Machine) {
	kept := e.all[:0]
	for _, n := range e.all[e.head:] {
		if n.match > 0 {
			mc.match(n.match - 1).place = uint32(len(kept))
			kept = append(kept, n)
		}
	}
	e.all, e.head, e.gaps = kept, 0, 0
}

// changedKeys calls visit with the keys of the entries that changed since its last call: at first,
// with all of them.
func (e *entries) changedKeys(mc *Machine, visit func(key []byte)) {
	if !e.tracked {
		e.tracked = true
		e.each(mc, func(m *match) { m.set(shown, true) })
		e.changed = false
		e.keys(visit)
		return
	}
	var key [9]byte
	for _, id := range e.dirty {
		m := mc.match(id)
		m.dirty = 0
		m.set(shown, true)
		visit(matchKey(key[:0], m.number))
	}
	e.dirty = e.dirty[:0]
	for _, number := range e.gone {
		visit(matchKey(key[:0], number))
	}
	e.gone = e.gone[:0]
	if e.changed {
		e.changed = false
		visit([]byte{keyBegun})
	}
}

// keys calls visit with the key of every entry.
func (e *entries) keys(visit func(key []byte)) {
	var key [9]byte
	for _, n := range e.all[e.head:] {
		if n.match > 0 {
			visit(matchKey(key[:0], n.number()))
		}
	}
	if e.spent {
		visit([]byte{keyBegun})
	}
}

// empty removes all matches at once.
func (e *entries) empty() {
	e.all, e.head, e.gaps, e.dirty, e.gone = nil, 0, 0, nil, nil
}
