package engine

import (
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/state"
)

// This file makes sources of many entries a state.Freezer. A barrier sets the lists of
// changes aside, which takes no time per entry. A memory or a group on these lists is
// passed to tell before it changes. (This is copy on write, as in systems that take
// snapshots beside the work: P. Carbone et al., State Management in Apache Flink, 2017.)

// tellFn receives an entry, or that a key has none; see state.Freezer.
type tellFn = func(key, value []byte, there bool)

// frozenGroups are the frozen groups of a memory that were not passed to tell yet.
type frozenGroups struct {
	slots   []int32
	dropped []byte         // keys, each with its length
	tell    func(slot int) // nil: there are none
}

// freeze freezes the groups that have changed. Nothing may be frozen before.
func (g *groups) freeze(tell func(slot int)) {
	if g.round == 0 {
		g.round = 1
		for s := range g.slots {
			if g.keys[s].kind != noKey && g.slots[s].rows != 0 {
				g.markAltered(s)
			}
		}
	}
	f := &g.frozen
	f.slots, g.altered = g.altered, shrink.Reset(f.slots)
	f.dropped, g.dropped = g.dropped, shrink.Reset(f.dropped)
	f.tell = tell
	g.round++
}

// melt passes a slot to tell if it is frozen.
func (g *groups) melt(slot int) {
	x := &g.slots[slot]
	if g.frozen.tell == nil || x.round != g.round-1 {
		return
	}
	x.round = 0
	if g.keys[slot].kind != noKey {
		g.frozen.tell(slot)
	}
	x.came = false
}

// thaw passes n groups to tell, and reports whether more are left.
func (g *groups) thaw(n int, gone func(key []byte)) bool {
	f := &g.frozen
	for ; n > 0 && len(f.dropped) > 0; n-- {
		var key []byte
		key, f.dropped = firstKey(f.dropped)
		gone(key)
	}
	for ; n > 0 && len(f.slots) > 0; n-- {
		last := len(f.slots) - 1
		slot := f.slots[last]
		f.slots = f.slots[:last]
		g.melt(int(slot))
	}
	if n > 0 {
		f.tell = nil
	}
	return n == 0
}

// freezing is the state of a query's aggregates while they are frozen.
type freezing struct {
	tell       tellFn
	melting    []*memory // whose groups are frozen
	key, value []byte
}

// Freeze implements state.Freezer.
func (c aggregateSource) Freeze(tell tellFn) {
	c.q.freezing.tell = tell
	c.q.touched[aggregates].freeze(c.announce)
}

// Thaw implements state.Freezer.
func (c aggregateSource) Thaw(n int) bool {
	f := &c.q.freezing
	for ; n > 0; n-- {
		if last := len(f.melting) - 1; last >= 0 {
			s := f.melting[last]
			if s.groups.thaw(n, func(key []byte) { f.tell(append(s.prefix(f.key[:0]), key...), nil, false) }) {
				return true
			}
			f.melting = f.melting[:last]
		} else if !c.q.touched[aggregates].thaw(func(key []byte) { f.tell(key, nil, false) }) {
			f.tell = nil
			return false
		}
	}
	return true
}

// announce reports the changes of a memory, except its groups, which are frozen in turn. Segments
// are reported at once.
func (c aggregateSource) announce(s *memory) {
	f := &c.q.freezing
	c.changedBeside(s, c.tellEntry)
	if s.groups == nil {
		f.key = append(s.prefix(f.key[:0]), ungrouped...)
		c.tellEntry(f.key)
		return
	}
	segments := s.segmentsTo(c.tellEntry)
	s.groups.freeze(func(slot int) { c.tellGroup(s, slot, segments) })
	f.melting = append(f.melting, s)
}

func (c aggregateSource) tellEntry(key []byte) {
	f := &c.q.freezing
	value, ok := c.Append(f.value[:0], key)
	f.value = value
	f.tell(key, value, ok)
}

func (c aggregateSource) tellGroup(s *memory, slot int, segments func(slot int)) {
	f, x := &c.q.freezing, &s.groups.slots[slot]
	f.key = s.groups.keys[slot].encode(s.prefix(f.key[:0]))
	f.value = f.value[:0]
	if x.rows != 0 {
		f.value = s.appendGroupState(f.value, slot, s.groups.rowsCode(x.rows))
	}
	f.tell(f.key, f.value, x.rows != 0)
	if x.came || x.rows == 0 {
		segments(slot)
	}
}

// unitsOfKeys is the state of one unit of a query in a partition, such as the windows: there
// are many, and most are small.
type unitsOfKeys struct{ unitSource }

var (
	_ state.Freezer = unitsOfKeys{}
	_ state.Freezer = aggregateSource{}
	_ state.Freezer = keysSource{}
)

// Freeze implements state.Freezer.
func (c unitsOfKeys) Freeze(tell tellFn) {
	c.q.tellUnit[c.part] = tell
	var keys, scratch, value []byte
	c.q.touched[c.part].freeze(func(s *memory) {
		keys = keys[:0]
		s.unit(c.part).Changed(func(key []byte) {
			start := len(keys)
			keys = lengthBefore(append(keys, key...), start)
		})
		eachKey(keys, func(key []byte) {
			var ok bool
			value, ok = s.unit(c.part).Append(value[:0], key)
			scratch = append(s.prefix(scratch[:0]), key...)
			tell(scratch, value, ok)
		})
	})
}

// Thaw implements state.Freezer.
func (c unitsOfKeys) Thaw(n int) bool {
	for ; n > 0; n-- {
		if !c.q.touched[c.part].thaw(func(key []byte) { c.q.tellUnit[c.part](key, nil, false) }) {
			c.q.tellUnit[c.part] = nil
			return false
		}
	}
	return true
}

// Freeze implements state.Freezer.
func (c keysSource) Freeze(tell tellFn) {
	c.b.tell = tell
	var value []byte
	c.b.touched.freeze(func(s *memory) {
		value = c.b.appendKey(value[:0], s.home)
		tell([]byte(s.home.key), value, true)
	})
}

// Thaw implements state.Freezer.
func (c keysSource) Thaw(n int) bool {
	for ; n > 0; n-- {
		if !c.b.touched.thaw(func(key []byte) { c.b.tell(key, nil, false) }) {
			c.b.tell = nil
			return false
		}
	}
	return true
}
