package state

import (
	"bytes"
	"slices"
	"sync"
)

// Capture is a delta or a snapshot as it was when it was taken. It does not depend
// on the component any more, so what is slow - sorting, merging, encoding - is done
// beside the task. It is safe for concurrent use.
type Capture struct{ cuts []*cut }

// Changes returns the captured changes sorted by key, each key once. The bytes are
// shared and must not be changed. In a snapshot nothing is deleted.
func (c *Capture) Changes() []Change {
	lists := make([][]Change, len(c.cuts))
	for i, cut := range c.cuts {
		lists[i] = cut.sorted()
	}
	return mergeChanges(lists)
}

// Entries returns the captured entries sorted by key, without those that were
// deleted. The bytes are shared and must not be changed.
func (c *Capture) Entries() []Entry { return Merge(nil, c.Changes()) }

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

// arena copies byte slices into large blocks, which stay where they are.
type arena struct{ block []byte }

const arenaBlockBytes = 64 << 10

// keep returns a copy of b in the arena.
func keep[T []byte | string](a *arena, b T) []byte {
	if len(a.block)+len(b) > cap(a.block) {
		if len(b) > arenaBlockBytes/4 {
			return append([]byte(nil), b...)
		}
		a.block = make([]byte, 0, arenaBlockBytes)
	}
	start := len(a.block)
	a.block = append(a.block, b...)
	return a.block[start:len(a.block):len(a.block)]
}
