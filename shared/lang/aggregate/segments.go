package aggregate

import (
	"cmp"
	"fmt"
	"math/bits"
	"slices"
)

// segmentItemsMax is the largest number of items in a segment. A change of one item writes its
// whole segment.
const segmentItemsMax = 64

// segments holds items by key, for many groups. The items of a group are in segments, in key
// order: a segment has all items with keys that share certain leading bits, and has the fewest
// such bits that keep it within segmentItemsMax. The history of a group does not show. One
// item more or less changes a segment, splits it or joins two. A group of a few items, as most
// are, is one segment and a short slice; a large one costs a search over segments and a short
// move.
type segments[V any] struct {
	groups  [][]segment[V]
	tracked bool // ChangedSegments was called, so changes are recorded
	changed []segmentName
	spare   [][]item[V] // memory of segments that have gone
	loading struct {    // memory for what is loaded: most groups are one segment of few items
		segments []segment[V]
		items    []item[V]
	}
}

// segment is one segment of a group. Only a segment without leading bits can be empty.
type segment[V any] struct {
	items []item[V] // by key
	last  uint64    // the largest key that can be here, as ordered
	bits  uint8     // the number of leading bits that define the segment
	dirty bool      // its name is in changed
}

func newSegment[V any](items []item[V], leading uint8, key int64) segment[V] {
	return segment[V]{items: items, bits: leading, last: ordered(key) | behind(leading)}
}

// has reports whether key belongs to the segment.
func (p *segment[V]) has(key int64) bool { return ordered(key)|behind(p.bits) == p.last }

// first is the smallest key that can be here, as ordered.
func (p *segment[V]) first() uint64 { return p.last &^ behind(p.bits) }

// item is a value with its key. The order of items with the same key is undefined.
type item[V any] struct {
	key   int64
	value V
}

// segmentName tells a segment from others: the leading bits of its keys, in their ordered form,
// with 0 after them.
type segmentName struct {
	slot  int32
	bits  uint8
	first uint64
}

// sortByKey puts items in order.
func sortByKey[V any](items []item[V]) {
	slices.SortFunc(items, func(a, b item[V]) int { return cmp.Compare(a.key, b.key) })
}

// ordered maps keys to unsigned numbers in the same order.
func ordered(key int64) uint64 { return uint64(key) ^ 1<<63 }

// behind has a 1 for each bit after the leading ones.
func behind(leading uint8) uint64 { return ^uint64(0) >> leading }

// alike returns how many leading bits two keys share.
func alike(a, b int64) uint8 { return uint8(bits.LeadingZeros64(uint64(a ^ b))) }

// find returns the segment of a key, or, with false, where it would be.
func find[V any](group []segment[V], key int64) (int, bool) {
	if len(group) == 1 && group[0].bits == 0 {
		return 0, true
	}
	k := ordered(key)
	low, high := 0, len(group)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if group[middle].last < k {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(group) && group[low].has(key)
}

// search returns the index of the first item of a key, or where it would be.
func search[V any](items []item[V], key int64) (int, bool) {
	low, high := 0, len(items)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if items[middle].key < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(items) && items[low].key == key
}

// touch notes that segment n of a slot has changed, or is about to go. It does not note the
// segment without a name.
func (x *segments[V]) touch(slot, n int) {
	if x.tracked {
		x.record(slot, n)
	}
}

func (x *segments[V]) record(slot, n int) {
	if p := &x.groups[slot][n]; !p.dirty && p.bits > 0 {
		p.dirty = true
		x.changed = append(x.changed, segmentName{int32(slot), p.bits, p.first()})
	}
}

// put inserts an item at place i of segment n.
func (x *segments[V]) put(slot, n, i int, it item[V]) {
	p := &x.groups[slot][n]
	p.items = append(p.items, it)
	if i < len(p.items)-1 {
		copy(p.items[i+1:], p.items[i:])
		p.items[i] = it
	}
	x.touch(slot, n)
	if len(p.items) > segmentItemsMax {
		x.split(slot, n)
	}
}

// addSegment makes segment n for an item that belongs to no segment.
func (x *segments[V]) addSegment(slot, n int, it item[V]) {
	group := x.groups[slot]
	p := newSegment(append(x.spareItems(), it), gapBits(group, n, it.key), it.key)
	x.groups[slot] = slices.Insert(group, n, p)
	x.touch(slot, n)
}

// gapBits returns how many bits a new segment needs for a key between two segments, so that it is
// none of the segments that were split to make those two.
func gapBits[V any](group []segment[V], n int, key int64) uint8 {
	leading := uint8(0)
	if n > 0 {
		leading = 1 + alike(group[n-1].items[0].key, key)
	}
	if n < len(group) {
		leading = max(leading, 1+alike(group[n].items[0].key, key))
	}
	return leading
}

// split splits a segment that has too many items in two, unless all have one key.
func (x *segments[V]) split(slot, n int) {
	items := x.groups[slot][n].items
	at, leading := cutOf(items)
	if at == 0 {
		return
	}
	behind := newSegment(append(x.spareItems(), items[at:]...), leading, items[at].key)
	clear(items[at:])
	x.groups[slot][n] = newSegment(items[:at], leading, items[0].key)
	x.groups[slot] = slices.Insert(x.groups[slot], n+1, behind)
	x.touch(slot, n)
	x.touch(slot, n+1)
}

// cutOf returns where items first differ in a bit, and how many leading bits there are up
// to that one; 0 if all have one key.
func cutOf[V any](items []item[V]) (at int, leading uint8) {
	first, last := items[0].key, items[len(items)-1].key
	if first == last {
		return 0, 0
	}
	leading = alike(first, last) + 1
	at, _ = search(items, int64((ordered(last)&^behind(leading))^1<<63))
	return at, leading
}

// drop removes item i of segment n.
func (x *segments[V]) drop(slot, n, i int) {
	p := &x.groups[slot][n]
	x.touch(slot, n)
	last := len(p.items) - 1
	copy(p.items[i:], p.items[i+1:])
	p.items[last] = item[V]{}
	p.items = p.items[:last]
	if p.bits > 0 {
		x.shrink(slot, n)
	}
}

// shrink joins segment n, which has lost an item, with others while possible.
func (x *segments[V]) shrink(slot, n int) {
	for {
		m, joins := besides(x.groups[slot], n)
		if !joins {
			break
		}
		if m >= 0 {
			x.touch(slot, m)
			n = min(n, m)
			x.join(slot, n)
		}
		p := &x.groups[slot][n]
		p.bits, p.dirty = p.bits-1, false
		p.last |= behind(p.bits)
		x.touch(slot, n)
	}
	if group := x.groups[slot]; len(group[n].items) == 0 && len(group) > 1 {
		x.reuse(group[n].items)
		x.groups[slot] = slices.Delete(group, n, n+1)
	}
}

// besides reports whether segment n must join everything that differs from it in its last bit:
// segment m, or nothing if m is -1.
func besides[V any](group []segment[V], n int) (m int, joins bool) {
	p := &group[n]
	if p.bits == 0 {
		return -1, false
	}
	m = n + 1
	if p.last>>(64-p.bits)&1 == 1 {
		m = n - 1
	}
	if m < 0 || m == len(group) || (group[m].last^p.last)&^behind(p.bits-1) != 0 {
		return -1, true
	}
	return m, group[m].bits == p.bits && len(p.items)+len(group[m].items) <= segmentItemsMax
}

// join appends the items of segment n+1 to those of segment n.
func (x *segments[V]) join(slot, n int) {
	group := x.groups[slot]
	group[n].items = append(group[n].items, group[n+1].items...)
	x.reuse(group[n+1].items)
	x.groups[slot] = slices.Delete(group, n+1, n+2)
}

// sparesMax is how many segments may come and go in turn without new memory.
const sparesMax = 8

// spareItems returns memory for the items of a segment; reuse keeps memory for it.
func (x *segments[V]) spareItems() []item[V] {
	n := len(x.spare)
	if n == 0 {
		return nil
	}
	items := x.spare[n-1]
	x.spare = x.spare[:n-1]
	return items
}

func (x *segments[V]) reuse(items []item[V]) {
	if len(x.spare) < sparesMax {
		clear(items)
		x.spare = append(x.spare, items[:0])
	}
}

// Clear empties the slot, and keeps the memory of a small group.
func (x *segments[V]) Clear(slot int) {
	x.groups = grow(x.groups, slot)
	group := x.groups[slot]
	if len(group) == 0 {
		return
	}
	for n := range group {
		x.touch(slot, n)
	}
	items := group[0].items
	clear(items)
	clear(group)
	group[0] = newSegment(items[:0], 0, 0)
	x.groups[slot] = group[:1]
}

// has returns the number of items of a slot.
func (x *segments[V]) has(slot int) (n int) {
	for i := range x.groups[slot] {
		n += len(x.groups[slot][i].items)
	}
	return n
}

// nameless returns the items that are in the segment without a name, if there is one.
func (x *segments[V]) nameless(slot int) []item[V] {
	if group := x.groups[slot]; len(group) == 1 && group[0].bits == 0 {
		return group[0].items
	}
	return nil
}

// ChangedSegments implements Segmented.
func (x *segments[V]) ChangedSegments(visit func(slot int, name []byte)) {
	if !x.tracked {
		x.tracked = true
		for slot := range x.groups {
			x.Segments(slot, func(name []byte) { visit(slot, name) })
		}
		return
	}
	var scratch [9]byte
	for _, name := range x.changed {
		if p := x.segment(name); p != nil {
			p.dirty = false
		}
		visit(int(name.slot), name.append(scratch[:0]))
	}
	x.changed = x.changed[:0]
}

// Segments implements Segmented.
func (x *segments[V]) Segments(slot int, visit func(name []byte)) {
	x.groups = grow(x.groups, slot)
	var scratch []byte
	for i := range x.groups[slot] {
		if p := &x.groups[slot][i]; p.bits > 0 {
			scratch = segmentName{0, p.bits, p.first()}.append(scratch[:0])
			visit(scratch)
		}
	}
}

// segment returns the segment of that name, or nil.
func (x *segments[V]) segment(name segmentName) *segment[V] {
	x.groups = grow(x.groups, int(name.slot))
	n, ok := find(x.groups[name.slot], int64(name.first^1<<63))
	if !ok || x.groups[name.slot][n].bits != name.bits {
		return nil
	}
	return &x.groups[name.slot][n]
}

// named returns the items of a segment that has a name; none if there is no such segment.
func (x *segments[V]) named(slot int, name []byte) []item[V] {
	parsed, err := parsePartName(slot, name)
	if err != nil {
		return nil
	}
	if p := x.segment(parsed); p != nil {
		return p.items
	}
	return nil
}

// append writes the bytes that hold the leading bits, and the number of those bits.
func (n segmentName) append(dst []byte) []byte {
	for i := uint8(0); i < n.bits; i += 8 {
		dst = append(dst, byte(n.first>>(56-i)))
	}
	return append(dst, n.bits)
}

func parsePartName(slot int, name []byte) (segmentName, error) {
	last := len(name) - 1
	if last < 1 || last > 8 || int(name[last]+7)/8 != last {
		return segmentName{}, fmt.Errorf("segment %x has no name", name)
	}
	n := segmentName{int32(slot), name[last], 0}
	for i, b := range name[:last] {
		n.first |= uint64(b) << (56 - 8*i)
	}
	if n.first&behind(n.bits) != 0 {
		return segmentName{}, fmt.Errorf("segment %x has more bits than its name says", name)
	}
	return n, nil
}

// load adds a segment. Its items are in order.
func (x *segments[V]) load(slot int, name []byte, items []item[V]) error {
	x.groups = grow(x.groups, slot)
	if group := x.groups[slot]; len(group) == 1 && len(group[0].items) == 0 {
		x.groups[slot] = group[:0]
	}
	if len(name) == 0 && len(items) == 0 {
		return nil
	}
	leading := uint8(0)
	if len(name) > 0 {
		parsed, err := parsePartName(slot, name)
		if err != nil {
			return err
		}
		if leading = parsed.bits; len(items) == 0 || ordered(items[0].key)&^behind(leading) != parsed.first {
			return fmt.Errorf("segment %x has no items, or others", name)
		}
	}
	p := newSegment(items, leading, items[0].key)
	last := items[len(items)-1].key
	if !p.has(last) || len(items) > segmentItemsMax && items[0].key != last {
		return fmt.Errorf("segment %x has items of others, or too many: %d", name, len(items))
	}
	group := x.groups[slot]
	n, covered := find(group, items[0].key)
	if covered || n < len(group) && p.has(group[n].items[0].key) || n > 0 && p.has(group[n-1].items[0].key) {
		return fmt.Errorf("segment %x is in another one, or has one in it", name)
	}
	if len(group) == 0 {
		x.groups[slot] = append(pieceOf(&x.loading.segments, 1, len(x.groups))[:0], p)
	} else {
		x.groups[slot] = slices.Insert(group, n, p)
	}
	return nil
}

// itemsToLoad returns memory for n items.
func (x *segments[V]) itemsToLoad(n int) []item[V] {
	return pieceOf(&x.loading.items, n, len(x.groups))
}

// pieceMax is how many segments or items are made at once, unless one piece has more.
const pieceMax = 256

// pieceOf cuts n elements off a slice that is allocated for several groups at once.
func pieceOf[T any](from *[]T, n, groups int) []T {
	if n > len(*from) {
		*from = make([]T, max(n, min(groups, pieceMax)))
	}
	piece := (*from)[:n:n]
	*from = (*from)[n:]
	return piece
}

// CheckSegments implements Segmented.
func (x *segments[V]) CheckSegments(slot int) error {
	x.groups = grow(x.groups, slot)
	group := x.groups[slot]
	for n := range group {
		if _, joins := besides(group, n); joins {
			return fmt.Errorf("segment %d of %d should be one with that beside it", n, len(group))
		}
	}
	return nil
}

// fill sets the items of a slot that is empty. They are in order.
func (x *segments[V]) fill(slot int, items []item[V]) {
	x.groups = grow(x.groups, slot)
	x.groups[slot] = divide(x.groups[slot][:0], items, 0)
	for n := range x.groups[slot] {
		x.touch(slot, n)
	}
}

// divide appends segments of items whose keys share the leading bits.
func divide[V any](group []segment[V], items []item[V], leading uint8) []segment[V] {
	if len(items) > segmentItemsMax {
		if at, next := cutOf(items); at > 0 {
			return divide(divide(group, items[:at:at], next), items[at:], next)
		}
	}
	if len(items) == 0 {
		return group
	}
	return append(group, newSegment(items, leading, items[0].key))
}
