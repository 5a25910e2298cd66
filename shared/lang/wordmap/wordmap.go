// Package wordmap maps words of 64 bits to small values, in one piece of memory without pointers.
// Tables find rows by their primary keys in it, and joins find rows by the hashes of their keys.
package wordmap

import (
	"math/bits"
	"math/rand/v2"
)

// Map uses open addressing: entries with equal or neighboring hashes follow one another, so that a
// lookup reads one cache line, or two. The zero value marks a free entry and is never stored.
// Nothing depends on the order of the entries. It is not safe for concurrent use.
//
// Package engine has a table of its own for groups, which looks up faster among many words, but
// stays half empty and cannot remove a single word. Rows come and go one by one, and there may be
// many more of them.
type Map[V comparable] struct {
	entries []entry[V] // none, or a power of two of them; less than three quarters are used
	shift   uint       // 64 less the bits of a place
	used    int
	seed    uint64 // random, so that publishers cannot choose keys that collide
}

type entry[V comparable] struct {
	key   uint64
	value V
}

const entriesMin = 8

// New returns an empty map.
func New[V comparable]() *Map[V] { return &Map[V]{seed: rand.Uint64()} }

// Len returns the number of keys.
func (m *Map[V]) Len() int { return m.used }

// Reset removes all keys.
func (m *Map[V]) Reset() { m.entries, m.used = nil, 0 }

// home returns the place where a key is, unless others take it.
func (m *Map[V]) home(key uint64) int {
	hi, lo := bits.Mul64(key^m.seed, 0x9e3779b97f4a7c15)
	return int(((hi ^ lo) * 0xd6e8feb86659fd93) >> (m.shift & 63))
}

// find returns the place of a key, or the free one where it belongs.
func (m *Map[V]) find(key uint64) int {
	var free V
	at := m.home(key)
	for m.entries[at].value != free && m.entries[at].key != key {
		at = (at + 1) & (len(m.entries) - 1)
	}
	return at
}

// Get returns the value of a key; the zero value if it has none.
func (m *Map[V]) Get(key uint64) (v V) {
	if m.used == 0 {
		return v
	}
	return m.entries[m.find(key)].value
}

// At returns the value of a key, for the caller to change: it stays valid until the next key is
// added or removed. A key that is not there is added, and the caller must set its value, which is
// zero. No other key may get the zero value: Remove removes a key.
func (m *Map[V]) At(key uint64) *V {
	if (m.used+1)*4 > len(m.entries)*3 {
		m.grow()
	}
	var free V
	e := &m.entries[m.find(key)]
	if e.value == free {
		m.used++
		e.key = key
	}
	return &e.value
}

// Present returns the value of a key, as At does, or nil if it is not there.
func (m *Map[V]) Present(key uint64) *V {
	if m.used == 0 {
		return nil
	}
	var free V
	e := &m.entries[m.find(key)]
	if e.value == free {
		return nil
	}
	return &e.value
}

func (m *Map[V]) grow() {
	old := m.entries
	m.entries = make([]entry[V], max(entriesMin, 2*len(old)))
	m.shift = uint(64 - bits.TrailingZeros(uint(len(m.entries))))
	var free V
	for i := range old {
		if old[i].value != free {
			m.entries[m.find(old[i].key)] = old[i]
		}
	}
}

// Remove removes a key, and moves the entries after it that would not be found any more.
func (m *Map[V]) Remove(key uint64) {
	if m.used == 0 {
		return
	}
	var free V
	at := m.find(key)
	if m.entries[at].value == free {
		return
	}
	m.used--
	last := len(m.entries) - 1
	for next := (at + 1) & last; m.entries[next].value != free; next = (next + 1) & last {
		if home := m.home(m.entries[next].key); (next-home)&last >= (next-at)&last {
			m.entries[at] = m.entries[next]
			at = next
		}
	}
	m.entries[at] = entry[V]{}
}

// Prefetch reads the places where keys should be, all of them before it looks at any: a branch that
// depends on memory would keep the processor from reading the next place. The result has no
// meaning; it keeps the reads.
func (m *Map[V]) Prefetch(keys []uint64) (sum uint64) {
	if m.used == 0 {
		return 0
	}
	for _, key := range keys {
		sum += m.entries[m.home(key)].key
	}
	return sum
}

// Bytes returns the memory of the map.
func (m *Map[V]) Bytes() int64 { return 16 * int64(len(m.entries)) }
