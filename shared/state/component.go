package state

import (
	"fmt"
	"math"
	"sync/atomic"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/testing/scribble"
)

// Component makes a Holder of a Source. It takes changes from the source and tells them to
// its index, which knows what they mean for digest and delta. The index may be read beside
// the task: at a barrier the task itself only copies values, and for a Freezer not even
// those.
type Component struct {
	info   Info
	source Source
	index  *entryIndex
	frozen *indexUpdate // the last cut, if the source has not told all of it yet; nil: none

	oldest, last Epoch // the oldest that a delta can start after, and the last cut or loaded

	keys    keyList
	scratch []byte
}

var _ Holder = (*Component)(nil)

// noEpoch is the oldest epoch for a delta if there is none yet: the stored state has an
// older schema version, and entries of two versions do not merge.
const noEpoch = math.MaxUint64

// NewComponent returns a holder of the source's present state: its entries count as changed
// after epoch 0. An info without id, type or version is a bug of the caller and panics.
func NewComponent(info Info, source Source) *Component {
	if err := info.check(); err != nil {
		panic(err)
	}
	c := &Component{info: info, source: source, index: newEntryIndex(0)}
	source.Changed(func([]byte) {})
	source.Keys(c.keys.add)
	c.index.enqueue(&indexUpdate{batch: c.takeListed()})
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
func (c *Component) Bytes() int64 { return c.source.Bytes() + c.index.bytes.Load() }

// Digest implements Holder.
func (c *Component) Digest() Digest {
	c.takeChanged()
	return c.index.digest()
}

// PreEncode implements Holder. It leaves out the entries of a Freezer: they would be taken
// again whenever they change, and do not keep the task at the barrier.
func (c *Component) PreEncode() {
	if _, ok := c.source.(Freezer); !ok {
		c.takeChanged()
		c.index.tidy()
	}
}

// takeChanged tells the index of all changes so far.
func (c *Component) takeChanged() {
	c.thawAll()
	c.source.Changed(c.keys.add)
	if c.keys.len() > 0 {
		c.index.enqueue(&indexUpdate{batch: c.takeListed()})
	}
}

// takeListed takes the entries of the listed keys.
func (c *Component) takeListed() *batch {
	b := &batch{}
	for i := range c.keys.len() {
		key := c.keys.at(i)
		value, ok := c.source.Append(c.scratch[:0], key)
		c.scratch = value
		b.add(key, value, ok)
	}
	c.keys.reset()
	return b
}

// Cut implements Holder.
func (c *Component) Cut(e Epoch) {
	c.Freeze(e)
	c.thawAll()
}

// Freeze implements Holder.
func (c *Component) Freeze(e Epoch) {
	if e <= c.last {
		panic(fmt.Sprintf("cut of component %q at epoch %d after %d", c.info.ID, e, c.last))
	}
	c.thawAll()
	c.index.catchUp()
	c.last = e
	if c.oldest == noEpoch {
		c.oldest = e
	}
	cut := &indexUpdate{cut: e}
	if f, ok := c.source.(Freezer); ok {
		cut.batch, cut.open = &batch{}, true
		c.frozen = cut
		f.Freeze(cut.batch.add)
	} else {
		c.source.Changed(c.keys.add)
		cut.batch = c.takeListed()
	}
	c.index.enqueue(cut)
}

// Thaw implements Holder.
func (c *Component) Thaw() bool {
	if c.frozen == nil {
		return false
	}
	if c.source.(Freezer).Thaw(thawEntries) {
		return true
	}
	c.index.complete(c.frozen)
	c.frozen = nil
	return false
}

// thawEntries is about how many entries are taken at once: about ten microseconds of work.
const thawEntries = 128

func (c *Component) thawAll() {
	for c.Thaw() {
	}
}

// Delta implements Holder.
func (c *Component) Delta(since Epoch) (*Capture, error) {
	if since < c.oldest {
		return nil, fmt.Errorf("%w: component %q was asked for those after epoch %d; take a snapshot",
			ErrPruned, c.info.ID, since)
	}
	capture := &Capture{index: c.index}
	c.index.enqueue(&indexUpdate{capture: capture, since: since})
	return capture, nil
}

// Snapshot implements Holder.
func (c *Component) Snapshot() *Capture {
	c.takeChanged()
	all := &snapshot{epoch: c.last}
	digest := c.index.digest()
	var bytes arena
	c.index.each(func(key string) {
		kept := keep(&bytes, key)
		all.changes = append(all.changes, Change{Key: kept, Value: keep(&bytes, c.value(kept))})
	})
	return &Capture{cuts: []*snapshot{all}, digest: digest}
}

// value returns the value of an entry that must be there. It is valid until the next call.
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
	c.index.enqueue(&indexUpdate{committed: e})
	c.index.tidy()
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
			c.source.Keys(c.keys.add)
			c.index.know(c.takeListed())
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

// forget drops all entries and all records of them, and makes room for others.
func (c *Component) forget(room int) {
	c.thawAll() // captures must stay as they were
	c.source.Reset()
	if r, ok := c.source.(Roomy); ok && room > 0 {
		r.Room(room)
	}
	c.source.Changed(func([]byte) {})
	*c = Component{info: c.info, source: c.source, index: newEntryIndex(room), keys: c.keys, scratch: c.scratch}
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
			key, value := scribble.Lend(now.Key), scribble.Lend(now.Value)
			err = c.source.Put(key, value)
			if scribble.On {
				scribble.Bytes(key)
				scribble.Bytes(value)
			}
		}
		if err != nil {
			return &EntryError{c.info.ID, e.Key, err}
		}
	}
	return nil
}

// know takes over the records of entries that the source loads: they are hashed as they are
// loaded. Writing everything again would cost more than loading it; tests ensure that a
// source writes exactly what it loaded.
func (c *Component) know(pieces []*Hashed) {
	for _, h := range pieces {
		c.index.load(h)
	}
}

// compareKeys returns an error unless the source has exactly the known keys. That is cheap
// to check.
func (c *Component) compareKeys() error {
	b, ours, others := c.index, 0, 0
	c.source.Keys(func(key []byte) {
		// Sources mostly list keys in order of arrival.
		if next := ours; next < len(b.known) && b.known[next].key == string(key) {
			ours++
		} else if _, ok := b.index.find(b.known, view(key), b.index.hash(view(key))); ok {
			ours++
		} else {
			others++
		}
	})
	if n := len(b.known); b.index.n != n || ours != n || others > 0 {
		return &EntryError{c.info.ID, nil, fmt.Errorf("%d entries with %d keys were loaded; the component now has %d of them, and %d others", n, b.index.n, ours, others)}
	}
	return nil
}

// keyList holds copies of keys, one after the other.
type keyList struct {
	bytes []byte
	ends  []int
}

func (l *keyList) add(key []byte) {
	l.bytes = append(l.bytes, key...)
	l.ends = append(l.ends, len(l.bytes))
}

func (l *keyList) len() int { return len(l.ends) }

func (l *keyList) at(i int) []byte {
	start := 0
	if i > 0 {
		start = l.ends[i-1]
	}
	return l.bytes[start:l.ends[i]]
}

func (l *keyList) reset() { l.bytes, l.ends = l.bytes[:0], l.ends[:0] }
