package aggregate

import (
	"math"
	"slices"
)

// multiset holds ordered keys with how often each is present: blocks of sorted
// keys, split when they are full. Groups of a few values, which are most, cost a
// short slice; large ones cost a search over blocks and a short move.
type multiset struct{ blocks []msBlock }

type msBlock struct {
	keys   []int64
	counts []int64
}

const msBlockKeys = 256

// add counts key once more.
func (m *multiset) add(key int64) {
	if len(m.blocks) == 0 {
		m.blocks = append(m.blocks, msBlock{})
	}
	b := m.find(key)
	block := &m.blocks[b]
	i, found := slices.BinarySearch(block.keys, key)
	if found {
		block.counts[i]++
		return
	}
	block.keys = slices.Insert(block.keys, i, key)
	block.counts = slices.Insert(block.counts, i, 1)
	if len(block.keys) > msBlockKeys {
		m.split(b)
	}
}

// remove counts key once less. A key that is not there is left alone.
func (m *multiset) remove(key int64) {
	if len(m.blocks) == 0 {
		return
	}
	b := m.find(key)
	block := &m.blocks[b]
	i, found := slices.BinarySearch(block.keys, key)
	if !found {
		return
	}
	if block.counts[i]--; block.counts[i] > 0 {
		return
	}
	block.keys = slices.Delete(block.keys, i, i+1)
	block.counts = slices.Delete(block.counts, i, i+1)
	if len(block.keys) == 0 && len(m.blocks) > 1 {
		m.blocks = slices.Delete(m.blocks, b, b+1)
	}
}

// find returns the index of the block that holds key or should.
func (m *multiset) find(key int64) int {
	if len(m.blocks) == 1 {
		return 0
	}
	b, _ := slices.BinarySearchFunc(m.blocks, key, func(b msBlock, key int64) int {
		if b.keys[len(b.keys)-1] < key {
			return -1
		}
		return 1
	})
	return min(b, len(m.blocks)-1)
}

func (m *multiset) split(b int) {
	block := &m.blocks[b]
	half := len(block.keys) / 2
	upper := msBlock{keys: slices.Clone(block.keys[half:]), counts: slices.Clone(block.counts[half:])}
	block.keys, block.counts = block.keys[:half], block.counts[:half]
	m.blocks = slices.Insert(m.blocks, b+1, upper)
}

// ends returns the smallest and the largest key; false if there is none.
func (m *multiset) ends() (least, most int64, ok bool) {
	if len(m.blocks) == 0 || len(m.blocks[0].keys) == 0 {
		return 0, 0, false
	}
	last := m.blocks[len(m.blocks)-1].keys
	return m.blocks[0].keys[0], last[len(last)-1], true
}

// clear drops all keys and keeps the memory of a small set.
func (m *multiset) clear() {
	if len(m.blocks) == 0 {
		return
	}
	m.blocks = m.blocks[:1]
	m.blocks[0].keys = m.blocks[0].keys[:0]
	m.blocks[0].counts = m.blocks[0].counts[:0]
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
