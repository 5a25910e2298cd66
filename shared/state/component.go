package state

import (
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"
)

// Component makes a Holder of a Source. It keeps the hash of every entry and the
// keys that changed since the last cut, so that digest and delta cost time for the
// changes alone.
type Component struct {
	info   Info
	source Source
	sum    Sum

	index map[string]int32 // key to place in known
	known []record
	free  []int32 // places in known that are not in use
	dirty []int32 // places in known, each once

	oldest, last Epoch   // the oldest that a delta can be since, and the last cut or loaded
	cuts         []*cut  // after oldest, oldest first
	settled      *taking // the next cut, as far as Settle has taken it; nil: not at all

	bytes   int64 // of keys in index, and of what cuts keep
	keys    keyList
	scratch []byte
}

// record is what is known of an entry.
type record struct {
	key   string
	hash  entryHash
	taken int32 // in the cut that is being made: place + 1
	dirty bool  // changed since the last cut
	live  bool  // is there now
	old   bool  // was there at the last cut
}

var _ Holder = (*Component)(nil)

// noEpoch is the oldest epoch for a delta if there is none yet: what is stored is of
// an older schema version, and entries of two versions do not merge.
const noEpoch = math.MaxUint64

// recordBytes is about what an entry takes here, beside its key.
const recordBytes = 80

// NewComponent returns a holder of the source's state, as it is now: what is in it
// counts as changed after epoch 0. An info without id, type or version is a bug of
// the caller and panics.
func NewComponent(info Info, source Source) *Component {
	if err := info.check(); err != nil {
		panic(err)
	}
	c := &Component{info: info, source: source, index: map[string]int32{}}
	source.Changed(func([]byte) {})
	source.Keys(c.keys.add)
	c.absorb()
	return c
}

// Info implements Holder.
func (c *Component) Info() Info { return c.info }

// CompatibleWith implements Holder.
func (c *Component) CompatibleWith(stored *semver.Version) error {
	_, _, err := migrationPath(&c.info, stored)
	return err
}

// Bytes implements Holder.
func (c *Component) Bytes() int64 {
	return c.source.Bytes() + c.bytes + recordBytes*int64(len(c.known))
}

// Digest implements Holder.
func (c *Component) Digest() Digest {
	c.source.Changed(c.keys.add)
	c.absorb()
	return c.sum.Digest()
}

// Settle implements Holder.
func (c *Component) Settle() {
	if c.settled == nil {
		c.settled = &taking{cut: &cut{}}
	}
	c.source.Changed(c.keys.add)
	c.absorb()
}

// Cut implements Holder.
func (c *Component) Cut(e Epoch) {
	if e <= c.last {
		panic(fmt.Sprintf("cut of component %q at epoch %d after %d", c.info.ID, e, c.last))
	}
	c.Settle()
	taking := c.settled
	c.settled, taking.cut.epoch = nil, e
	for _, place := range c.dirty {
		c.take(place, taking)
	}
	c.dirty = c.dirty[:0]
	taking.finish()
	c.last = e
	c.fold()
	if c.oldest == noEpoch {
		c.oldest = e
	} else if len(taking.cut.changes) > 0 {
		c.cuts = append(c.cuts, taking.cut)
		c.bytes += taking.cut.size
	}
}

// fold makes one of the cuts that are still open when the next is made. They are
// mostly of aborted epochs, and however many those are, no key is kept twice. If
// one of them is committed after all, the next delta says more than it has to.
func (c *Component) fold() {
	if len(c.cuts) < 2 {
		return
	}
	lists := make([][]Change, len(c.cuts))
	for i, cut := range c.cuts {
		c.bytes -= cut.size
		lists[i] = cut.sorted()
	}
	folded := &cut{epoch: c.cuts[len(c.cuts)-1].epoch, changes: mergeChanges(lists)}
	folded.measure()
	c.cuts = append(c.cuts[:0], folded)
	c.bytes += folded.size
}

// Delta implements Holder.
func (c *Component) Delta(since Epoch) (*Capture, error) {
	if since < c.oldest {
		return nil, fmt.Errorf("%w: component %q was asked for those after epoch %d; take a snapshot",
			ErrPruned, c.info.ID, since)
	}
	capture := &Capture{}
	for _, cut := range c.cuts {
		if cut.epoch > since {
			capture.cuts = append(capture.cuts, cut)
		}
	}
	return capture, nil
}

// Snapshot implements Holder.
func (c *Component) Snapshot() *Capture {
	c.source.Changed(c.keys.add)
	c.absorb()
	all := &cut{epoch: c.last, changes: make([]Change, 0, len(c.index))}
	var bytes arena
	for i := range c.known {
		if r := &c.known[i]; r.live {
			key := keep(&bytes, r.key)
			all.changes = append(all.changes, Change{Key: key, Value: keep(&bytes, c.value(key))})
		}
	}
	return &Capture{cuts: []*cut{all}}
}

// value returns the value of an entry that is known to be there, for a moment.
func (c *Component) value(key []byte) []byte {
	value, ok := c.source.Append(c.scratch[:0], key)
	if !ok {
		panic(fmt.Sprintf("component %q dropped %q and did not say so", c.info.ID, key))
	}
	c.scratch = value
	return value
}

// Committed implements Holder.
func (c *Component) Committed(e Epoch) {
	if e <= c.oldest {
		return
	}
	c.oldest, c.last = e, max(c.last, e)
	n := 0
	for n < len(c.cuts) && c.cuts[n].epoch <= e {
		c.bytes -= c.cuts[n].size
		n++
	}
	c.cuts = slices.Delete(c.cuts, 0, n)
}

// Load implements Holder.
func (c *Component) Load(e Epoch, stored *semver.Version, workers int, pieces ...*Hashed) error {
	room := 0
	for _, h := range pieces {
		room += len(h.entries)
	}
	c.forget(room)
	asStored := stored.Equal(c.info.Version)
	var group errgroup.Group
	group.SetLimit(max(workers, 1))
	group.Go(func() error { return c.put(stored, workers, pieces) })
	if asStored {
		group.Go(func() error { c.know(pieces); return nil })
	}
	err := group.Wait()
	if err == nil {
		c.source.Changed(func([]byte) {})
		if asStored {
			err = c.compareKeys()
		} else {
			c.knowSource()
		}
	}
	if err != nil {
		c.forget(0)
		return err
	}
	c.oldest, c.last = e, e
	if !stored.Equal(c.info.Version) {
		c.oldest = noEpoch
	}
	return nil
}

// forget drops all entries and all that is known of them, and makes room for others.
func (c *Component) forget(room int) {
	c.source.Reset()
	if r, ok := c.source.(Roomy); ok && room > 0 {
		r.Room(room)
	}
	c.source.Changed(func([]byte) {})
	*c = Component{
		info: c.info, source: c.source, index: make(map[string]int32, room), known: make([]record, 0, room),
		keys: c.keys, scratch: c.scratch,
	}
}

func (c *Component) put(stored *semver.Version, workers int, pieces []*Hashed) error {
	path, _, err := migrationPath(&c.info, stored)
	if err != nil {
		return err
	}
	if p, ok := c.source.(Parallel); !ok || !p.PutsAtOnce() {
		workers = 1
	}
	var next atomic.Int64 // of pieces
	var group errgroup.Group
	for range min(workers, len(pieces)) {
		group.Go(func() error {
			for n := next.Add(1) - 1; n < int64(len(pieces)); n = next.Add(1) - 1 {
				if err := c.putPiece(stored, path, pieces[n]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	if err := c.source.Ready(); err != nil {
		return &EntryError{c.info.ID, nil, err}
	}
	return nil
}

func (c *Component) putPiece(stored *semver.Version, path []Migration, h *Hashed) error {
	for _, e := range h.entries {
		now, err := migrate(c.source, &c.info, stored, path, e)
		if err == nil {
			err = c.source.Put(now.Key, now.Value)
		}
		if err != nil {
			return &EntryError{c.info.ID, e.Key, err}
		}
	}
	return nil
}
