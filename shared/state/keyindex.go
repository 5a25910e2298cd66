package state

import "hash/maphash"

// keyIndex finds the place of a key among records: a table with open addressing that holds
// places and a part of the hashes of their keys; the keys themselves are elsewhere. A map
// would keep the keys once more, and take several times as long to fill.
type keyIndex struct {
	seed  maphash.Seed
	slots []keySlot // a power of two of them, three quarters in use at most
	n     int
}

type keySlot struct {
	hash  uint32
	place int32 // +1; 0: the slot is free
}

const keySlotsMin = 8

func newKeyIndex(room int) keyIndex { return keyIndex{seed: maphash.MakeSeed(), slots: slotsFor(room)} }

// slotsFor makes room for n keys.
func slotsFor(n int) []keySlot {
	size := keySlotsMin
	for n > size/4*3 {
		size *= 2
	}
	return make([]keySlot, size)
}

// hash returns the hash that the index uses.
func (x *keyIndex) hash(key string) uint32 { return uint32(maphash.String(x.seed, key)) }

// find returns the place of a key.
func (x *keyIndex) find(known []record, key string, hash uint32) (int32, bool) {
	s := &x.slots[x.slotOf(known, key, hash)]
	return s.place - 1, s.place > 0
}

// slotOf returns the slot of a key, or the free one where it would be.
func (x *keyIndex) slotOf(known []record, key string, hash uint32) int {
	mask := len(x.slots) - 1
	for i := int(hash) & mask; ; i = (i + 1) & mask {
		if s := x.slots[i]; s.place == 0 || s.hash == hash && known[s.place-1].key == key {
			return i
		}
	}
}

// fetch makes the processor load the memory that finding these keys will read. The waits
// for memory then overlap, instead of coming one after the other. The result has no
// meaning.
func (x *keyIndex) fetch(known []record, hashes []hashes) (seen int) {
	mask := len(x.slots) - 1
	for i := range hashes {
		if place := x.slots[int(hashes[i].key)&mask].place; place > 0 {
			if key := known[place-1].key; len(key) > 0 {
				seen += int(key[0])
			}
		}
	}
	return seen
}

// insert inserts a key that is not there.
func (x *keyIndex) insert(hash uint32, place int32) {
	if x.n >= len(x.slots)/4*3 {
		old := x.slots
		x.slots = make([]keySlot, 2*len(old))
		for _, s := range old {
			if s.place > 0 {
				x.enter(s)
			}
		}
	}
	x.enter(keySlot{hash, place + 1})
	x.n++
}

func (x *keyIndex) enter(s keySlot) {
	mask := len(x.slots) - 1
	i := int(s.hash) & mask
	for x.slots[i].place > 0 {
		i = (i + 1) & mask
	}
	x.slots[i] = s
}

// remove removes an existing key. Keys after it move up, so that no key is after a free
// slot.
func (x *keyIndex) remove(known []record, key string) {
	mask := len(x.slots) - 1
	free := x.slotOf(known, key, x.hash(key))
	for i := (free + 1) & mask; x.slots[i].place > 0; i = (i + 1) & mask {
		if home := int(x.slots[i].hash) & mask; (i-home)&mask >= (i-free)&mask {
			x.slots[free] = x.slots[i]
			free = i
		}
	}
	x.slots[free] = keySlot{}
	x.n--
}
