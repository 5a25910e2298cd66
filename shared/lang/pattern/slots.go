package pattern

import "encoding/binary"

// A match keeps its events in slots: those of an item are consecutive, the first events before the
// last ones. It stores them as its entry does: for each slot the length of the event, 0 if there
// is none, and the event. Empty slots at the end are left out.

// collected returns the slots of a match.
func (mc *Machine) collected(m *match) []byte {
	if m.size == 0 {
		return nil
	}
	return mc.memory.bytes(m.events)[:m.size]
}

// collect replaces the slots of a match. src may be part of them.
func (mc *Machine) collect(m *match, src []byte) {
	old := m.events
	if old == 0 && len(src) == 0 {
		return
	}
	if old == 0 || len(mc.memory.bytes(old)) < len(src) {
		m.events = mc.memory.alloc(len(src))
	} else {
		old = 0
	}
	m.size = uint32(copy(mc.memory.bytes(m.events), src))
	if old != 0 {
		mc.memory.release(old)
	}
}

// skipSlots returns the position of slot i, or the end and how many slots are missing before slot i.
func skipSlots(src []byte, i int) (at, missing int) {
	for ; i > 0; i-- {
		if at == len(src) {
			return at, i
		}
		at += slotSize(src[at:])
	}
	return at, 0
}

// slotSize returns the size of the slot at the start of src, with its length.
func slotSize(src []byte) int {
	size, n := binary.Uvarint(src)
	return n + int(size)
}

// slot returns the event in a slot; nil if there is none.
func (mc *Machine) slot(m *match, i int) []byte {
	src := mc.collected(m)
	at, _ := skipSlots(src, i)
	if at == len(src) {
		return nil
	}
	size, n := binary.Uvarint(src[at:])
	if size == 0 {
		return nil
	}
	return src[at+n : at+n+int(size)]
}

// setSlot replaces the event in a slot.
func (mc *Machine) setSlot(m *match, i int, e []byte) {
	src := mc.collected(m)
	at, missing := skipSlots(src, i)
	dst := append(mc.slots[:0], src[:at]...)
	for range missing {
		dst = append(dst, 0)
	}
	dst = append(binary.AppendUvarint(dst, uint64(len(e))), e...)
	if at < len(src) {
		dst = append(dst, src[at+slotSize(src[at:]):]...)
	}
	mc.slots = dst
	mc.collect(m, dst)
}

// keep stores an event of an item. n is the number of events of the item, including this one.
func (mc *Machine) keep(m *match, item *Item, e *Event, n int) {
	if item.Heads+item.Tails == 0 {
		return
	}
	mc.scratch = appendEvent(mc.scratch[:0], item, e)
	if n <= item.Heads {
		mc.setSlot(m, item.slot+n-1, mc.scratch)
	}
	tail := item.slot + item.Heads
	switch {
	case item.Tails == 0:
	case n <= item.Tails:
		mc.setSlot(m, tail+n-1, mc.scratch)
	default:
		mc.shiftSlots(m, tail, item.Tails, mc.scratch)
	}
}

// shiftSlots removes the first event of n slots and appends one.
func (mc *Machine) shiftSlots(m *match, from, n int, e []byte) {
	src := mc.collected(m)
	at, _ := skipSlots(src, from)
	size, _ := skipSlots(src[at:], n)
	second := slotSize(src[at:])
	dst := append(mc.slots[:0], src[:at]...)
	dst = append(dst, src[at+second:at+size]...)
	dst = append(binary.AppendUvarint(dst, uint64(len(e))), e...)
	mc.slots = append(dst, src[at+size:]...)
	mc.collect(m, mc.slots)
}

// event returns event n of an item, or event n before the last; nil if there is none.
func (mc *Machine) event(m *match, item *Item, last bool, n int) []byte {
	if !mc.Steps[item.step].Count {
		if n > 0 || item.Heads == 0 {
			return nil
		}
		return mc.slot(m, item.slot)
	}
	have := int(mc.counts(m)[item.step])
	switch {
	case n >= have:
		return nil
	case last && n < item.Tails:
		return mc.slot(m, item.slot+item.Heads+min(have, item.Tails)-1-n)
	case !last && n < item.Heads:
		return mc.slot(m, item.slot+n)
	}
	return nil
}

// copyBefore makes m a copy of the events of o at the steps before one.
func (mc *Machine) copyBefore(m, o *match, step int) {
	end := 0
	for i := range mc.Items {
		if item := &mc.Items[i]; item.step < step {
			end = item.slot + item.Heads + item.Tails
		}
	}
	src := mc.collected(o)
	size, _ := skipSlots(src, end)
	mc.slots = append(mc.slots[:0], src[:size]...)
	mc.collect(m, mc.slots)
	to, from := mc.counts(m), mc.counts(o)
	for s := range to {
		if s < step {
			to[s] = from[s]
		}
	}
	m.first, m.last = o.first, o.last
	m.set(hasFirst, o.is(hasFirst))
}

// appendSlots appends the slots of a match, also the empty ones.
func (mc *Machine) appendSlots(dst []byte, m *match) []byte {
	src := mc.collected(m)
	_, missing := skipSlots(src, mc.Spec.slots)
	dst = append(dst, src...)
	for range missing {
		dst = append(dst, 0)
	}
	return dst
}
