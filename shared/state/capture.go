package state

import (
	"bytes"
	"slices"
	"sync"
	"unsafe"
)

// Capture is a delta or a snapshot as it was when it was taken. What is slow - hashing,
// sorting, merging, encoding - is done by whoever reads it, beside the task. It is safe
// for concurrent use. That of a component that is frozen may be read when it has thawed.
type Capture struct {
	book   *book // of which the rest is to be learnt; nil: nothing is
	filled bool  // book.mu guards it
	cuts   []*cut
	digest Digest
}

// Digest returns the digest of all entries when the capture was taken: of a delta, at
// the last cut.
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

// learn reads what the task has told the book up to the capture.
func (c *Capture) learn() {
	if c.book == nil {
		return
	}
	c.book.mu.Lock()
	defer c.book.mu.Unlock()
	if !c.filled {
		c.book.read()
	}
	if !c.filled {
		panic("state: a capture was read while its component is frozen")
	}
}

// fill takes what was cut after an epoch.
func (c *Capture) fill(b *book, since Epoch) {
	for _, cut := range b.cuts {
		if cut.epoch > since {
			c.cuts = append(c.cuts, cut)
		}
	}
	c.digest, c.filled = b.cut, true
}

// cut is what changed up to an epoch, after the cut before it.
type cut struct {
	epoch   Epoch
	size    int64 // of changes in memory; readers may be sorting those
	sort    sync.Once
	changes []Change // each key once
}

func (c *cut) sorted() []Change {
	c.sort.Do(func() {
		slices.SortFunc(c.changes, func(a, b Change) int { return bytes.Compare(a.Key, b.Key) })
	})
	return c.changes
}

// arena copies byte slices into blocks, which stay where they are and become larger.
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

// view returns bytes that nobody changes as a string.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }
