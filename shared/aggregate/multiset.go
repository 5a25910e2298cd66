package aggregate

import (
	"math"
	"slices"
)

// multiset holds ordered keys with how often each is present: blocks of sorted
// keys, split when they are full. Groups of a few values, which are most, cost a
// short slice; large ones cost a search over blocks and a short move.
type multiset struct{ blocks []msBlock }

// msBlock has its keys in order, each once.
type msBlock []msKey

type msKey struct {
	key   int64
	count int64
}

const msBlockKeys = 256

// search returns the place of key, or where it would be.
func (b msBlock) search(key int64) (int, bool) {
	low, high := 0, len(b)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if b[middle].key < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low, low < len(b) && b[low].key == key
}

// add counts key once more.
func (m *multiset) add(key int64) {
	if len(m.blocks) == 0 {
		m.blocks = append(m.blocks, nil)
	}
	n := m.find(key)
	block := m.blocks[n]
	i, found := block.search(key)
	if found {
		block[i].count++
		return
	}
	block = append(block, msKey{})
	copy(block[i+1:], block[i:])
	block[i] = msKey{key, 1}
	m.blocks[n] = block
	if len(block) > msBlockKeys {
		m.split(n)
	}
}

// remove counts key once less. A key that is not there is left alone.
func (m *multiset) remove(key int64) {
	if len(m.blocks) == 0 {
		return
	}
	n := m.find(key)
	block := m.blocks[n]
	i, found := block.search(key)
	if !found {
		return
	}
	if block[i].count--; block[i].count > 0 {
		return
	}
	copy(block[i:], block[i+1:])
	m.blocks[n] = block[:len(block)-1]
	if len(block) == 1 && len(m.blocks) > 1 {
		m.blocks = slices.Delete(m.blocks, n, n+1)
	}
}

// find returns the index of the block that holds key or should: the first whose
// last key is not below it.
func (m *multiset) find(key int64) int {
	low, high := 0, len(m.blocks)-1
	for low < high {
		middle := int(uint(low+high) >> 1)
		if b := m.blocks[middle]; b[len(b)-1].key < key {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (m *multiset) split(n int) {
	block := m.blocks[n]
	half := len(block) / 2
	m.blocks = slices.Insert(m.blocks, n+1, slices.Clone(block[half:]))
	m.blocks[n] = block[:half]
}

// ends returns the smallest and the largest key; false if there is none.
func (m *multiset) ends() (least, most int64, ok bool) {
	if len(m.blocks) == 0 || len(m.blocks[0]) == 0 {
		return 0, 0, false
	}
	last := m.blocks[len(m.blocks)-1]
	return m.blocks[0][0].key, last[len(last)-1].key, true
}

// clear drops all keys and keeps the memory of a small set.
func (m *multiset) clear() {
	if len(m.blocks) > 0 {
		m.blocks = m.blocks[:1]
		m.blocks[0] = m.blocks[0][:0]
	}
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
