package aggregate

import (
	"encoding/binary"
	"math"
)

// multiset holds numbers in order, each with its count. It is the state of min, max and
// distinctCount.
type multiset struct{ segments[int64] }

// add counts key once more, and reports whether it is new.
func (m *multiset) add(slot int, key int64) bool {
	m.groups = grow(m.groups, slot)
	n, exists := find(m.groups[slot], key)
	if !exists {
		m.addSegment(slot, n, item[int64]{key, 1})
		return true
	}
	items := m.groups[slot][n].items
	i, found := search(items, key)
	if found {
		items[i].value++
		m.touch(slot, n)
		return false
	}
	m.put(slot, n, i, item[int64]{key, 1})
	return true
}

// remove counts key once less, and reports whether it was the last. It ignores a key that
// is not there.
func (m *multiset) remove(slot int, key int64) bool {
	m.groups = grow(m.groups, slot)
	n, exists := find(m.groups[slot], key)
	if !exists {
		return false
	}
	items := m.groups[slot][n].items
	i, found := search(items, key)
	if !found {
		return false
	}
	if items[i].value > 1 {
		items[i].value--
		m.touch(slot, n)
		return false
	}
	m.drop(slot, n, i)
	return true
}

// ends returns the smallest and the largest key; false if there is none.
func (m *multiset) ends(slot int) (least, most int64, ok bool) {
	m.groups = grow(m.groups, slot)
	group := m.groups[slot]
	if len(group) == 0 || len(group[0].items) == 0 {
		return 0, 0, false
	}
	last := group[len(group)-1].items
	return group[0].items[0].key, last[len(last)-1].key, true
}

// appendAll writes the items of all segments as if they were one.
func (m *multiset) appendAll(dst []byte, slot int) []byte {
	dst = binary.AppendUvarint(dst, uint64(m.has(slot)))
	before, first := int64(0), true
	for _, p := range m.groups[slot] {
		dst = appendItems(dst, p.items, before, first)
		if len(p.items) > 0 {
			before, first = p.items[len(p.items)-1].key, false
		}
	}
	return dst
}

// appendSome writes the number of items, then each key, as its distance from the
// one before, with its count.
func appendSome(dst []byte, items []item[int64]) []byte {
	return appendItems(binary.AppendUvarint(dst, uint64(len(items))), items, 0, true)
}

func appendItems(dst []byte, items []item[int64], before int64, first bool) []byte {
	for _, it := range items {
		dst = appendKey(dst, it.key, before, first)
		dst = binary.AppendUvarint(dst, uint64(it.value))
		before, first = it.key, false
	}
	return dst
}

// numbers reads what appendAll or appendSome wrote. It refuses keys of reals that no double
// has.
func (m *multiset) numbers(r *stateBytes, reals bool) []item[int64] {
	items := m.itemsToLoad(r.Count(2))
	before := int64(0)
	for i := range items {
		key := r.key(before, i == 0)
		if reals && realKey(keyReal(key)) != key {
			r.Fail("no double has the key %d", key)
		}
		items[i] = item[int64]{key, r.count()}
		if r.Failed() {
			return nil
		}
		before = key
	}
	return items
}

// realKey maps doubles to integers in the same order: -0.0 below 0.0, and NaN,
// which equals itself, above all.
func realKey(v float64) int64 {
	if v != v {
		v = math.NaN()
	}
	bits := int64(math.Float64bits(v))
	return bits ^ int64(uint64(bits>>63)>>1)
}

// keyReal undoes realKey.
func keyReal(key int64) float64 {
	return math.Float64frombits(uint64(key ^ int64(uint64(key>>63)>>1)))
}
