package table

import (
	"encoding/binary"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/wordmap"
)

// bits is a flag for each slot. A bit each keeps the flags of many rows in the caches of the
// processor; while no flag is set, none is read.
type bits struct {
	words []uint64
	on    int // how many are set
}

func (b *bits) has(slot int32) bool { return b.on > 0 && b.words[slot>>6]>>(slot&63)&1 != 0 }

func (b *bits) set(slot int32, on bool) {
	if b.has(slot) == on {
		return
	}
	b.words[slot>>6] ^= 1 << (slot & 63)
	if on {
		b.on++
	} else {
		b.on--
	}
}

// grow makes room for a slot, the next one.
func (b *bits) grow(slot int32) {
	if int(slot>>6) == len(b.words) {
		b.words = append(b.words, 0)
	}
}

// rowsByKey finds rows by the bytes of their primary key. A key of one number is a word.
type rowsByKey struct {
	words *wordmap.Map[wordRow] // nil: keys are texts, or have several parts
	bytes map[string]int32
}

// wordRow is 1 more than the slot of a row.
type wordRow int32

func newRowsByKey(t *Table) rowsByKey {
	if len(t.key) == 1 && t.class[t.key[0]] != event.Texts {
		return rowsByKey{words: wordmap.New[wordRow]()}
	}
	return rowsByKey{bytes: map[string]int32{}}
}

func (x *rowsByKey) get(key []byte) (slot int32, ok bool) {
	switch {
	case x.words == nil:
		slot, ok = x.bytes[string(key)]
	case len(key) == 8:
		return x.getWord(binary.BigEndian.Uint64(key))
	}
	return slot, ok
}

func (x *rowsByKey) getWord(word uint64) (slot int32, ok bool) {
	row := x.words.Get(word)
	return int32(row) - 1, row != 0
}

func (x *rowsByKey) put(key []byte, slot int32) {
	if x.words == nil {
		x.bytes[string(key)] = slot
	} else {
		*x.words.At(binary.BigEndian.Uint64(key)) = wordRow(slot + 1)
	}
}

func (x *rowsByKey) remove(key []byte) {
	if x.words == nil {
		delete(x.bytes, string(key))
	} else {
		x.words.Remove(binary.BigEndian.Uint64(key))
	}
}
