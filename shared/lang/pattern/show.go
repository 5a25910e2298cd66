package pattern

import (
	"encoding/binary"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Kept is an event that a match keeps. Only the columns of Item.Used have a value.
type Kept struct {
	TS  int64
	Row *event.Batch
}

// Events returns the events of an item that the match keeps, in order.
func (m Match) Events(item int) (list []Kept) {
	x := &m.mc.Items[item]
	slots := x.Heads + x.Tails
	if step := x.step; m.mc.Steps[step].Count && int(m.mc.counts(m.match)[step]) < slots {
		slots = max(x.Heads, x.Tails) // all are both among the first and the last
		if x.Heads < x.Tails {
			return m.kept(x, x.slot+x.Heads, slots)
		}
	}
	return m.kept(x, x.slot, slots)
}

func (m Match) kept(x *Item, from, n int) (list []Kept) {
	for i := from; i < from+n; i++ {
		src := m.mc.slot(m.match, i)
		if len(src) == 0 {
			continue
		}
		ts, size := binary.Varint(src)
		src = src[size:]
		k := Kept{TS: ts, Row: event.NewBatch(x.Schema)}
		for _, a := range x.Used {
			src = appendValue(src, x.Schema.Attrs[a].Holds(), &k.Row.Cols[a])
		}
		list = append(list, k)
	}
	return list
}

// Waits returns the first and the last step where the match waits.
func (m Match) Waits() (first, last int) { return int(m.lo), int(m.hi) }

// Open reports whether the last step of Waits still waits for one of its sides.
func (m Match) Open(side int) bool { return m.sides[side] == open }

// Until returns when the match ends or continues without an event; false if it waits forever.
func (m Match) Until() (at int64, ok bool) {
	if m.is(hasFirst) && m.mc.Within != NoLimit {
		at, ok = plus(m.first, m.mc.Within), true
	}
	if !m.mc.waits {
		return at, ok
	}
	d := m.mc.deadlines(m.id)
	for side, seq := range d.seq {
		if seq > 0 && (!ok || d.due[side] < at) {
			at, ok = d.due[side], true
		}
	}
	return at, ok
}

// Each calls visit with every stored match, in order of their numbers.
func (x *Matcher) Each(visit func(Match)) {
	x.entries.each(x.mc, func(m *match) { visit(Match{x.mc, m}) })
}

// Find returns the stored match with a number; false if there is none.
func (x *Matcher) Find(number uint64) (Match, bool) {
	m := x.entries.find(x.mc, number)
	return Match{x.mc, m}, m != nil
}

// Key returns the key of a match's entry.
func (m Match) Key() []byte { return matchKey(nil, m.number) }
