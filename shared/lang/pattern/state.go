package pattern

import (
	"encoding/binary"
	"math"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// The state has an entry for each partial match that differs from a new one, and one that says
// whether the only attempt, or the wait at the start, has started. Lists, buckets, deadlines and
// the order of expiry are derived from the entries.
//
//	"m" number    flags, lo, hi, arrivals, times, counts, sides with deadlines, events
//	"f"           1, once it has started

const (
	keyMatch = 'm'
	keyBegun = 'f'
)

func matchKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyMatch), number)
}

// Number returns the number of a match from the key of its entry; false if the key is not of a
// match.
func Number(key []byte) (uint64, bool) {
	if len(key) != 9 || key[0] != keyMatch {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// Changed implements state.Source.
func (x *Matcher) Changed(visit func(key []byte)) {
	if !x.tracked {
		x.tracked = true
		x.each(func(m *match) { m.set(shown, true) })
		x.changed = false
		x.Keys(visit)
		return
	}
	var key [9]byte
	for _, id := range x.dirty {
		m := x.mc.match(id)
		m.dirty = 0
		m.set(shown, true)
		visit(matchKey(key[:0], m.number))
	}
	x.dirty = x.dirty[:0]
	for _, number := range x.gone {
		visit(matchKey(key[:0], number))
	}
	x.gone = x.gone[:0]
	if x.changed {
		x.changed = false
		visit([]byte{keyBegun})
	}
}

// Keys implements state.Source.
func (x *Matcher) Keys(visit func(key []byte)) {
	var key [9]byte
	for _, n := range x.all[x.head:] {
		if n.match > 0 {
			visit(matchKey(key[:0], n.number()))
		}
	}
	if x.spent {
		visit([]byte{keyBegun})
	}
}

// Append implements state.Source.
func (x *Matcher) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyBegun {
		return append(dst, 1), x.spent
	}
	number, ok := Number(key)
	if !ok {
		return dst, false
	}
	m := x.find(number)
	if m == nil {
		return dst, false
	}
	arrivals := x.mc.arrivals(m)
	dst = window.WriteFields(dst, func(f *window.Fields) { x.fields(m, arrivals, f) })
	return x.mc.appendSlots(dst, m), true
}

// fields lists the numbers of a match, without its events. arrivals are the numbers that order it
// at the steps where it waits.
func (x *Matcher) fields(m *match, arrivals []uint64, f *window.Fields) {
	mc := x.mc
	began, broken := m.is(hasFirst), m.is(spoiled)
	f.Bool(&began)
	f.Bool(&broken)
	m.set(hasFirst, began)
	m.set(spoiled, broken)
	lo, hi := int(m.lo), int(m.hi)
	f.Count(&lo)
	f.Count(&hi)
	f.Require(lo <= hi && hi < len(mc.Steps), "it waits at the steps %d to %d of %d", lo, hi, len(mc.Steps))
	if f.Failed() {
		return
	}
	m.lo, m.hi = uint16(lo), uint16(hi)
	for s := lo; s <= hi; s++ {
		f.Uint(&arrivals[s])
	}
	f.Int(&m.last)
	if began {
		f.Int(&m.first)
	}
	counts := mc.counts(m)
	for s := range counts {
		if mc.Steps[s].Count && s <= hi {
			n := int(counts[s])
			f.Count(&n)
			f.Require(n <= math.MaxUint32, "it has %d events of step %d", n, s)
			counts[s] = uint32(n)
		}
	}
	for side, i := range mc.Steps[hi].Items {
		n := uint64(m.sides[side])
		f.Uint(&n)
		f.Require(n <= uint64(violated), "a side of %d", n)
		m.sides[side] = status(n)
		if mc.Items[i].For != NoLimit && m.sides[side] == open {
			d := mc.deadlines(m.id)
			f.Int(&d.due[side])
			f.Uint(&d.seq[side])
		}
	}
}

// arrivals returns the numbers that order a match, by step; 0 where it does not wait. They are valid
// until the next call.
func (mc *Machine) arrivals(m *match) []uint64 {
	if mc.arrived == nil {
		mc.arrived = make([]uint64, len(mc.Steps))
	}
	clear(mc.arrived)
	for r := m.nodes; r != none; {
		n := mc.node(r)
		mc.arrived[mc.Items[n.item].step] = n.arrival
		r = n.sibling
	}
	return mc.arrived
}

// Bytes implements state.Source.
func (x *Matcher) Bytes() int64 {
	const perMatch, some = 170, 256
	n, asked := int64(0), int64(0)
	for i := 0; i < len(x.all); i += len(x.all)/some + 1 {
		if id := x.all[i].match; id > 0 {
			m := x.mc.match(id - 1)
			n += int64(m.size) + 4*int64(len(x.mc.counts(m)))
			asked++
		}
	}
	return (n/max(asked, 1) + perMatch) * int64(x.Len())
}
