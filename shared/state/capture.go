package state

import (
	"bytes"
	"slices"
	"sync"
	"unsafe"
)

// Capture is a delta or a snapshot, as of the time when it was taken. Its reader does the
// slow work (hashing, sorting, merging, encoding) beside the task. A Capture is safe for
// concurrent use. If its component is frozen, it may be read once the component has thawed.
type Capture struct {
	index  *entryIndex // to learn the rest from; nil: it is complete
	filled bool        // index.mu guards it
	cuts   []*snapshot
	digest Digest
}

// Digest returns the digest of all entries when the capture was taken; for a delta, at the
// last cut.
func (c *Capture) Digest() Digest {
	c.learn()
	return c.digest
}

// Changes returns the captured changes sorted by key, each key once. The bytes are
// shared and must not be changed. In a snapshot nothing is deleted.
func (c *Capture) Changes() []Change {
	c.learn()
	lists := make([][]Change, len(c.cuts))
	for i, cut := range c.cuts {
		lists[i] = cut.sorted()
	}
	return mergeChanges(lists)
}

// Entries returns the captured entries sorted by key, without those that were
// deleted. The bytes are shared and must not be changed.
func (c *Capture) Entries() []Entry { return Merge(nil, c.Changes()) }

// learn reads what the task told the index before the capture.
func (c *Capture) learn() {
	if c.index == nil {
		return
	}
	c.index.mu.Lock()
	defer c.index.mu.Unlock()
	if !c.filled {
		c.index.read()
	}
	if !c.filled {
		panic("state: a capture was read while its component is frozen")
	}
}

// fill takes what was cut after an epoch.
func (c *Capture) fill(b *entryIndex, since Epoch) {
	for _, cut := range b.cuts {
		if cut.epoch > since {
			c.cuts = append(c.cuts, cut)
		}
	}
	c.digest, c.filled = b.cut, true
}

// snapshot is what changed after the previous snapshot, up to an epoch.
type snapshot struct {
	epoch   Epoch
	size    int64 // of changes in memory; readers may be sorting those
	sort    sync.Once
	changes []Change // each key once
}

func (c *snapshot) sorted() []Change {
	c.sort.Do(func() {
		slices.SortFunc(c.changes, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
	})
	return c.changes
}

// arena copies byte slices into blocks, which never move; new blocks get larger.
type arena struct {
	block []byte
	most  int   // bytes of a block; 0: arenaBlockBytes
	taken int64 // bytes of all
}

const (
	arenaBlockBytes    = 64 << 10
	arenaBlockBytesMin = 512
)

// keep returns a copy of b in the arena.
func keep[T []byte | string](a *arena, b T) []byte {
	a.taken += int64(len(b))
	if len(a.block)+len(b) > cap(a.block) {
		most := a.most
		if most == 0 {
			most = arenaBlockBytes
		}
		size := min(max(2*cap(a.block), arenaBlockBytesMin), most)
		if len(b) > size/4 {
			return append([]byte(nil), b...)
		}
		a.block = make([]byte, 0, size)
	}
	start := len(a.block)
	a.block = append(a.block, b...)
	return a.block[start:len(a.block):len(a.block)]
}

// view returns bytes as a string. The bytes must never change.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
