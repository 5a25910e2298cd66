package engine

import (
	"math/bits"
	"math/rand/v2"
)

// wordTable maps words to slots: an open-addressed table with linear probing, several times
// as fast as a map for the short keys that most groups have. It spreads words by
// multiplication with a random odd number (M. Dietzfelbinger et al., A reliable randomized
// algorithm for the closest-pair problem, 1997), so that publishers cannot choose keys that
// collide. The order of entries never shows.
//
// Package wordmap has the other table for words. It is not used here, because a lookup costs it a
// second multiplication, and it fills up to three quarters, which makes lookups among many groups
// slower. In return it can remove a single word; groups are only forgotten many at once, by
// rebuild.
type wordTable struct {
	entries []wordEntry
	factor  uint64
	shift   uint
	used    int
}

type wordEntry struct {
	word uint64
	slot int32 // +1; 0: empty
}

const (
	wordTableMin  = 16
	wordTableKeep = 1024 // a table of this size is not worth shrinking
)

func (t *wordTable) get(word uint64) (int32, bool) {
	if len(t.entries) == 0 {
		return 0, false
	}
	mask := len(t.entries) - 1
	for i := int(word * t.factor >> t.shift); ; i = (i + 1) & mask {
		switch e := &t.entries[i]; {
		case e.slot == 0:
			return 0, false
		case e.word == word:
			return e.slot - 1, true
		}
	}
}

// put adds a word that is not in the table.
func (t *wordTable) put(word uint64, slot int32) {
	if 2*(t.used+1) > len(t.entries) {
		old := t.entries
		t.resize(2 * len(old))
		for _, e := range old {
			if e.slot != 0 {
				t.insert(e)
			}
		}
	}
	t.insert(wordEntry{word, slot + 1})
}

func (t *wordTable) insert(e wordEntry) {
	mask := len(t.entries) - 1
	i := int(e.word * t.factor >> t.shift)
	for t.entries[i].slot != 0 {
		i = (i + 1) & mask
	}
	t.entries[i] = e
	t.used++
}

func (t *wordTable) resize(size int) {
	size = max(size, wordTableMin)
	t.entries = make([]wordEntry, size)
	t.shift = uint(64 - bits.TrailingZeros(uint(size)))
	t.used = 0
	if t.factor == 0 {
		t.factor = rand.Uint64() | 1
	}
}

// rebuild makes the table hold only the words among keys.
func (t *wordTable) rebuild(keys []groupKey) {
	words := 0
	for i := range keys {
		if keys[i].kind == wordKey {
			words++
		}
	}
	clear(t.entries)
	t.used = 0
	if size := len(t.entries); size > wordTableKeep && 32*words < size {
		t.resize(size / 2)
	}
	for i := range keys {
		if keys[i].kind == wordKey {
			t.insert(wordEntry{keys[i].word, int32(i) + 1})
		}
	}
}
