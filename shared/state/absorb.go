package state

import (
	"runtime"
	"slices"
	"sync"
)

// absorb updates index, sum and the list of dirty keys with what was taken. If an epoch
// ends with it, the cut shares its bytes; otherwise they are copied, because most of them
// will be taken again.
func (b *entryIndex) absorb(x *batch, last bool) {
	for i := range x.gone {
		b.lose(view(x.gone[i].Key))
	}
	all := b.hash(x)
	b.reserve(len(all))
	for i := range x.there {
		b.putAll(x.there[i], all[i*batchChanges:], last)
	}
	b.sum.addMany(b.added)
	b.sum.removeMany(b.removed)
	b.added, b.removed = nil, nil
}

// hashes are the hash of an entry, and the hash of its key for the index.
type hashes struct {
	entry entryHash
	key   uint32
}

// hash returns the hashes of the entries of a batch. Its lists are full, except the last.
func (b *entryIndex) hash(x *batch) []hashes {
	n := 0
	for _, list := range x.there {
		n += len(list)
	}
	all := make([]hashes, n)
	inPieces(len(x.there), func(from, to int) {
		var pair []byte
		for i := from; i < to; i++ {
			for j := range x.there[i] {
				c := &x.there[i][j]
				pair = append(appendPair(pair[:0], c.Key), c.Value...)
				all[i*batchChanges+j] = hashes{hashPair(pair), b.index.hash(view(c.Key))}
			}
		}
	})
	return all
}

// reserve makes room for n changed entries. If no entry is known, these are all.
func (b *entryIndex) reserve(n int) {
	b.taking.cut.changes = slices.Grow(b.taking.cut.changes, n)
	b.dirty = slices.Grow(b.dirty, n)
	b.added = make([]entryHash, 0, n)
	if len(b.known) == 0 && n > cap(b.known) {
		b.known = make([]record, 0, n)
		b.index.slots = slotsFor(n)
	}
}

// inPieces calls do for pieces of n, on all cores if there are several.
func inPieces(n int, do func(from, to int)) {
	pieces := min(n, runtime.GOMAXPROCS(0))
	if pieces <= 1 {
		do(0, n)
		return
	}
	var group sync.WaitGroup
	for p := range pieces {
		group.Go(func() { do(n*p/pieces, n*(p+1)/pieces) })
	}
	group.Wait()
}

// lose records that the key has no entry.
func (b *entryIndex) lose(key string) {
	place, known := b.index.find(b.known, key, b.index.hash(key))
	if known && b.known[place].live {
		r := &b.known[place]
		b.removed = append(b.removed, r.hash)
		r.live = false
		b.touch(place)
	}
}

// putAll compares entries with their records.
func (b *entryIndex) putAll(list []Change, all []hashes, last bool) {
	const ahead = 32
	for i := range list {
		if i%ahead == 0 {
			b.fetched += b.index.fetch(b.known, all[i:min(i+ahead, len(list))])
		}
		b.put(list[i], &all[i], last)
	}
}

func (b *entryIndex) put(c Change, h *hashes, last bool) {
	place, known := b.index.find(b.known, view(c.Key), h.key)
	if !known {
		place = b.newRecord(c.Key, h.key)
	}
	hash := h.entry
	r := &b.known[place]
	if r.live && r.hash == hash {
		return
	}
	if r.live {
		b.removed = append(b.removed, r.hash)
	}
	b.added = append(b.added, hash)
	r.hash, r.live = hash, true
	b.touch(place)
	t := b.taking
	if !last {
		c.Key, c.Value = keep(&t.bytes, c.Key), keep(&t.bytes, c.Value)
	}
	if r.taken > 0 {
		t.cut.changes[r.taken-1].Value = c.Value
		return
	}
	t.cut.changes = append(t.cut.changes, c)
	r.taken = int32(len(t.cut.changes))
}

func (b *entryIndex) newRecord(key []byte, hash uint32) int32 {
	r := record{key: view(keep(&b.keys, key))}
	b.bytes.Add(recordBytes + int64(len(key)))
	place := int32(len(b.known))
	if n := len(b.free); n > 0 {
		place = b.free[n-1]
		b.free = b.free[:n-1]
		b.known[place] = r
	} else {
		b.known = append(b.known, r)
	}
	b.index.insert(hash, place)
	return place
}

func (b *entryIndex) touch(place int32) {
	if r := &b.known[place]; !r.dirty {
		r.dirty = true
		b.dirty = append(b.dirty, place)
	}
}

// take puts the change of a dirty key into the cut, unless it is there, and makes its
// record the record of an entry at a cut.
func (b *entryIndex) take(place int32, t *taking) {
	r := &b.known[place]
	if !r.live {
		t.takeDeletion(r)
		b.index.remove(b.known, r.key)
		b.bytes.Add(-recordBytes - int64(len(r.key)))
		*r = record{}
		b.free = append(b.free, place)
		return
	}
	r.taken, r.dirty, r.old = 0, false, true
}

// takeDeletion records that an entry is gone. Readers of cuts never need an entry that came
// after the last cut.
func (t *taking) takeDeletion(r *record) {
	switch {
	case r.taken > 0 && r.old:
		c := &t.cut.changes[r.taken-1]
		c.Value, c.Deleted = nil, true
	case r.taken > 0:
		t.gone = append(t.gone, int(r.taken)-1)
	case r.old:
		t.cut.changes = append(t.cut.changes, Change{Key: keep(&t.bytes, r.key), Deleted: true})
	}
}

// finish ends the cut.
func (t *taking) finish() {
	slices.Sort(t.gone)
	for _, i := range slices.Backward(t.gone) { // the last takes the place of each
		last := len(t.cut.changes) - 1
		t.cut.changes[i] = t.cut.changes[last]
		t.cut.changes = t.cut.changes[:last]
	}
	t.cut.measure()
}

// measure sets the size of a complete cut.
func (c *snapshot) measure() {
	for i := range c.changes {
		c.size += changeBytes + int64(len(c.changes[i].Key)+len(c.changes[i].Value))
	}
}

const changeBytes = 56 // of a Change, without what it refers to
