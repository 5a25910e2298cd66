package state

import (
	"slices"
	"sync"
	"sync/atomic"
)

// entryIndex is what is known of the entries of a component from the updates that were read: the
// hash of each, and what changed since the last cuts, so that digest and delta cost time
// for the changes alone.
//
//	task ──updates──▶ entryIndex ◀── the reader of a Capture, or the task
//
// Notes are read in order, when their content is needed, so that a barrier does not stop the
// task for as long as its changes take to hash.
type entryIndex struct {
	updatesMu sync.Mutex
	updates   []*indexUpdate

	mu     sync.Mutex // guards the fields below, and reading updates
	sum    Sum
	index  keyIndex // key to place in known
	known  []record
	free   []int32     // places in known that are not in use
	dirty  []int32     // places in known, each once
	keys   arena       // of known
	cuts   []*snapshot // after the last committed one, oldest first
	taking *taking     // the next cut
	cut    Digest      // at the last cut

	added, removed []entryHash // by the current batch
	fetched        int         // without meaning; see keyIndex.fetch

	bytes atomic.Int64 // of the whole index
}

// indexUpdate is one message from the task.
type indexUpdate struct {
	batch     *batch   // what was taken from the source
	open      bool     // the batch is not complete; updatesMu guards it
	cut       Epoch    // the epoch that ends after the batch
	committed Epoch    // everything cut up to this epoch is durable
	capture   *Capture // receives what was cut after since
	since     Epoch
	bytes     int64 // of the batch, once it is complete
}

// batch is what was taken from a source at one time.
type batch struct {
	gone  []Change   // apply before the others: an entry that came back may be in both
	there [][]Change // of batchChanges each, so that none is moved while the task waits
	bytes arena
}

const batchChanges = 1 << 10

// add adds an entry, or records that the key has none.
func (b *batch) add(key, value []byte, there bool) {
	if !there {
		b.gone = append(b.gone, Change{Key: keep(&b.bytes, key), Deleted: true})
		return
	}
	last := len(b.there) - 1
	if last < 0 || len(b.there[last]) == batchChanges {
		b.there = append(b.there, nil)
		if last++; last > 0 {
			b.there[last] = make([]Change, 0, batchChanges)
		}
	}
	b.there[last] = append(b.there[last], Change{Key: keep(&b.bytes, key), Value: keep(&b.bytes, value)})
}

// size returns about how many bytes the batch takes.
func (b *batch) size() int64 {
	n := len(b.gone)
	for _, list := range b.there {
		n += len(list)
	}
	return changeBytes*int64(n) + b.bytes.taken
}

// record is what the index knows of an entry.
type record struct {
	key   string
	hash  entryHash
	taken int32 // in the cut that is being made: place + 1
	dirty bool  // changed since the last cut
	live  bool  // is there now
	old   bool  // was there at the last cut
}

// recordBytes is about what a record takes, without its key.
const recordBytes = 64

// taking is a cut that is being made.
type taking struct {
	cut   *snapshot
	bytes arena
	gone  []int // places in cut.changes of entries that came and went between two cuts
}

func newEntryIndex(room int) *entryIndex {
	b := &entryIndex{index: newKeyIndex(room), known: make([]record, 0, room), taking: newTaking()}
	b.keys.most = keysBlockBytes
	return b
}

// keysBlockBytes is how many bytes of gone keys the key of one entry can keep in memory.
const keysBlockBytes = 1 << 10

func newTaking() *taking { return &taking{cut: &snapshot{}} }

// enqueue adds a note, to be read later.
func (b *entryIndex) enqueue(n *indexUpdate) {
	b.updatesMu.Lock()
	defer b.updatesMu.Unlock()
	b.updates = append(b.updates, n)
	if n.batch != nil && !n.open {
		b.weigh(n)
	}
}

// weigh adds the bytes of a complete batch.
func (b *entryIndex) weigh(n *indexUpdate) {
	n.bytes = n.batch.size()
	b.bytes.Add(n.bytes)
}

// complete marks the batch of a note as complete.
func (b *entryIndex) complete(n *indexUpdate) {
	b.updatesMu.Lock()
	defer b.updatesMu.Unlock()
	n.open = false
	b.weigh(n)
}

// next takes the first note, unless its batch is incomplete.
func (b *entryIndex) next() *indexUpdate {
	b.updatesMu.Lock()
	defer b.updatesMu.Unlock()
	if len(b.updates) == 0 || b.updates[0].open {
		return nil
	}
	n := b.updates[0]
	b.updates[0] = nil
	b.updates = b.updates[1:]
	return n
}

// cutWaits reports whether an unread note ends an epoch.
func (b *entryIndex) cutWaits() bool {
	b.updatesMu.Lock()
	defer b.updatesMu.Unlock()
	return slices.ContainsFunc(b.updates, func(n *indexUpdate) bool { return n.cut > 0 })
}

// tidy reads the updates, for the task. It does not if that may take long: when another
// goroutine is reading them, or a cut among them was not read yet.
func (b *entryIndex) tidy() {
	if !b.cutWaits() && b.mu.TryLock() {
		defer b.mu.Unlock()
		b.read()
	}
}

// catchUp reads the updates if the last cut was not read yet, so that few of them wait.
func (b *entryIndex) catchUp() {
	if b.cutWaits() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.read()
	}
}

// digest returns the digest of the entries.
func (b *entryIndex) digest() Digest {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read()
	return b.sum.Digest()
}

// each calls visit with the keys of all entries. The task must have told everything.
func (b *entryIndex) each(visit func(key string)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.read()
	for i := range b.known {
		if r := &b.known[i]; r.live {
			visit(r.key)
		}
	}
}

// read applies the updates.
func (b *entryIndex) read() {
	for n := b.next(); n != nil; n = b.next() {
		if n.batch != nil {
			b.absorb(n.batch, n.cut > 0)
			b.bytes.Add(-n.bytes)
		}
		switch {
		case n.cut > 0:
			b.endCut(n.cut)
		case n.committed > 0:
			b.drop(n.committed)
		case n.capture != nil:
			n.capture.fill(b, n.since)
		}
	}
}

// endCut ends the cut that is being made.
func (b *entryIndex) endCut(e Epoch) {
	taking := b.taking
	b.taking, taking.cut.epoch = newTaking(), e
	for _, place := range b.dirty {
		b.take(place, taking)
	}
	b.dirty = b.dirty[:0]
	taking.finish()
	b.cut = b.sum.Digest()
	b.fold()
	if len(taking.cut.changes) > 0 {
		b.cuts = append(b.cuts, taking.cut)
		b.bytes.Add(taking.cut.size)
	}
}

// fold joins the cuts that are still open when the next one is made. Most are of aborted
// epochs; however many there are, each key is kept once. If one of them is committed after
// all, the next delta has more than it needs.
func (b *entryIndex) fold() {
	if len(b.cuts) < 2 {
		return
	}
	lists := make([][]Change, len(b.cuts))
	for i, cut := range b.cuts {
		b.bytes.Add(-cut.size)
		lists[i] = cut.sorted()
	}
	folded := &snapshot{epoch: b.cuts[len(b.cuts)-1].epoch, changes: mergeChanges(lists)}
	folded.measure()
	b.cuts = append(b.cuts[:0], folded)
	b.bytes.Add(folded.size)
}

// drop forgets the cuts up to an epoch that is durable.
func (b *entryIndex) drop(e Epoch) {
	n := 0
	for n < len(b.cuts) && b.cuts[n].epoch <= e {
		b.bytes.Add(-b.cuts[n].size)
		n++
	}
	b.cuts = slices.Delete(b.cuts, 0, n)
}

// load takes over the records of entries that were hashed while they were loaded.
func (b *entryIndex) load(h *Hashed) {
	b.sum.addAll(&h.sum)
	place := int32(len(b.known))
	b.known = append(b.known, h.records...)
	for i := range h.records {
		key := h.records[i].key
		hash := b.index.hash(key)
		if _, twice := b.index.find(b.known, key, hash); !twice {
			b.index.insert(hash, place)
		}
		b.bytes.Add(recordBytes + int64(len(key)))
		place++
	}
}

// know makes records of all entries, as of the last cut.
func (b *entryIndex) know(all *batch) {
	b.absorb(all, false)
	for _, place := range b.dirty {
		r := &b.known[place]
		r.dirty, r.old, r.taken = false, true, 0
	}
	b.dirty, b.taking = b.dirty[:0], newTaking()
}
