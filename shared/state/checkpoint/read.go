package checkpoint

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
)

// get returns an object. A missing one is damage, because something refers to it.
func get(ctx context.Context, s store.Store, name string) ([]byte, error) {
	data, err := s.Get(ctx, name)
	if errors.Is(err, store.ErrNotFound) {
		return nil, corrupt(name, -1, "it is missing")
	}
	return data, err
}

// openBlock returns the uncompressed bytes of a block, and checks them by their hash,
// unless the digest of the component proves them.
func openBlock(object string, data []byte, ref *blockRef, proven bool) ([]byte, error) {
	raw, err := compress.Open(nil, data, ref.raw)
	var wrong *compress.CorruptError
	switch {
	case errors.As(err, &wrong):
		return nil, corrupt(object, wrong.Offset, "%s", wrong.What)
	case errors.Is(err, compress.ErrVersion):
		return nil, fmt.Errorf("%w: %s: %w", ErrVersion, object, err)
	case err != nil:
		return nil, corrupt(object, -1, "%v", err)
	case len(raw) != ref.raw:
		return nil, corrupt(object, -1, "%d bytes, the run says %d", len(raw), ref.raw)
	}
	if proven {
		return raw, nil
	}
	if got := hash(sha256.Sum256(raw)); got != ref.hash {
		return nil, corrupt(object, -1, "its content has the hash %s, the run says %s", got, ref.hash)
	}
	return raw, nil
}

// openRun reads the index of a run and checks it against the reference to it.
func openRun(ctx context.Context, s store.Store, run *Run) (*runIndex, error) {
	object := run.Object()
	data, err := getRun(ctx, s, run)
	if err != nil {
		return nil, err
	}
	x, err := decodeRun(object, data)
	var wrong *CorruptError
	if errors.As(err, &wrong) && wrong.Offset >= 0 {
		wrong.Offset += int(run.Offset)
	}
	if err != nil {
		return nil, err
	}
	if run.Pack != "" && x.inline == nil {
		return nil, corrupt(object, int(run.Offset), "run %s, whose block is not in it", run.Name)
	}
	if got := x.name(); got != run.Name {
		return nil, corrupt(object, -1, "it is run %s", got)
	}
	var entries, raw int64
	for i := range x.blocks {
		entries, raw = entries+int64(x.blocks[i].entries), raw+int64(x.blocks[i].raw)
	}
	if x.kind != run.Kind || entries != run.Entries || raw != run.RawBytes || len(x.blocks) != run.Blocks {
		return nil, corrupt(object, -1, "a %s of %d entries, %d bytes, %d blocks; the manifest says a %s of %d, %d, %d",
			x.kind, entries, raw, len(x.blocks), run.Kind, run.Entries, run.RawBytes, run.Blocks)
	}
	return x, nil
}

// changes reads a block of a run.
func (x *runIndex) changes(ctx context.Context, s store.Store, run *Run, i int) ([]state.Change, error) {
	ref := &x.blocks[i]
	object, data := run.Object(), x.inline
	if data == nil {
		object = blockName(ref.hash)
		var err error
		if data, err = get(ctx, s, object); err != nil {
			return nil, err
		}
	}
	raw, err := openBlock(object, data, ref, x.proven)
	if err != nil {
		return nil, err
	}
	changes, err := readBlock(object, raw, ref.entries)
	if err != nil {
		return nil, err
	}
	if x.version == runWithKeys && string(changes[0].Key) != string(ref.first) {
		return nil, corrupt(object, 0, "it starts with key %q, the run says %q", changes[0].Key, ref.first)
	}
	if x.version == runWithKeys && i+1 < len(x.blocks) && string(changes[len(changes)-1].Key) >= string(x.blocks[i+1].first) {
		return nil, corrupt(object, -1, "it reaches into the next block")
	}
	if x.kind == Base {
		for k := range changes {
			if changes[k].Deleted {
				return nil, corrupt(object, -1, "key %q is deleted in a base", changes[k].Key)
			}
		}
	}
	return changes, nil
}

// follows checks that block k of a run starts after the last key of the block before.
func follows(run *Run, k int, last []byte, block []state.Change) error {
	if k > 0 && string(block[0].Key) <= string(last) {
		return corrupt(run.Object(), -1, "block %d starts with a key that does not follow the block before", k)
	}
	return nil
}

// LoadChain returns the entries of a component, sorted: the entries of the base with the
// deltas applied. workers is how many blocks are fetched and decoded at once.
func LoadChain(ctx context.Context, s store.Store, chain []Run, workers int) ([]state.Entry, error) {
	return loadChain(ctx, s, chain, newSlots(max(workers, 1)), 0, false)
}

// loadChain is LoadChain with slots that are shared with others, by rank. proven says that
// the caller checks a digest of the entries.
func loadChain(ctx context.Context, s store.Store, chain []Run, slots *slots, rank int, proven bool) ([]state.Entry, error) {
	if len(chain) == 0 {
		return nil, nil
	}
	runs := make([][][]state.Change, len(chain)) // by run, by block
	group, fetching := errgroup.WithContext(ctx)
	group.SetLimit(slots.size) // work that waits for a slot takes no memory
	for i := range chain {
		var x *runIndex
		err := slots.do(fetching, rank, func() (err error) {
			x, err = openRun(fetching, s, &chain[i])
			return err
		})
		if err == nil && (x.kind == Base) != (i == 0) {
			err = corrupt(chain[i].Object(), -1, "a %s in place %d of a chain, which is one base followed by deltas", x.kind, i)
		}
		if err != nil {
			return nil, errors.Join(err, group.Wait())
		}
		x.proven = proven
		runs[i] = make([][]state.Change, len(x.blocks))
		for k := range x.blocks {
			group.Go(func() error {
				return slots.do(fetching, rank, func() (err error) {
					runs[i][k], err = x.changes(fetching, s, &chain[i], k)
					return err
				})
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for i, blocks := range runs {
		var last []byte
		for k, block := range blocks {
			if err := follows(&chain[i], k, last, block); err != nil {
				return nil, err
			}
			last = block[len(block)-1].Key
		}
	}
	entries := make([]state.Entry, 0, chain[0].Entries) // as many as were read
	for _, block := range runs[0] {
		for i := range block {
			entries = append(entries, state.Entry{Key: block[i].Key, Value: block[i].Value})
		}
	}
	deltas := make([][]state.Change, len(chain)-1)
	for i, blocks := range runs[1:] {
		deltas[i] = slices.Concat(blocks...)
	}
	return state.Merge(entries, deltas...), nil
}

// Objects returns the names of all objects that have a run: its own first, or a pack. It reads only
// runs that may have blocks elsewhere.
func Objects(ctx context.Context, s store.Store, run *Run) ([]string, error) {
	if run.Pack != "" || run.whole() {
		return []string{run.Object()}, nil
	}
	return ReadObjects(ctx, s, run)
}

// ReadObjects is Objects, and always reads the run's object: damage of it is an error.
func ReadObjects(ctx context.Context, s store.Store, run *Run) ([]string, error) {
	x, err := openRun(ctx, s, run)
	if err != nil {
		return nil, err
	}
	names := []string{run.Object()}
	if x.inline == nil {
		for i := range x.blocks {
			names = append(names, blockName(x.blocks[i].hash))
		}
	}
	return names, nil
}

// whole reports whether the run's object surely has its only block in it. The run may have been
// written before, with another codec; but whichever that was, so small a block was not put elsewhere.
func (r *Run) whole() bool { return r.Blocks == 1 && r.RawBytes <= inlineBytesMax/2 }

// Footprint returns the names of all objects of a run, with the bytes that each takes in
// the store. For blocks that several runs share, that is what one of their writers noted:
// another may have compressed them differently. A run in a pack counts as an object of its own.
func Footprint(ctx context.Context, s store.Store, run *Run) (map[string]int64, error) {
	if run.Pack != "" {
		return map[string]int64{fmt.Sprintf("%s@%d", run.Object(), run.Offset): run.Bytes}, nil
	}
	x, err := openRun(ctx, s, run)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int64{runName(run.Name): int64(x.size)}
	if x.inline == nil {
		for i := range x.blocks {
			sizes[blockName(x.blocks[i].hash)] = int64(x.blocks[i].stored)
		}
	}
	return sizes, nil
}

// cursor reads a run in order, a few blocks ahead.
type cursor struct {
	run   *Run
	ahead chan future
	block []state.Change
	taken int    // blocks so far
	last  []byte // key of the newest of them
}

type future chan fetched

type fetched struct {
	changes []state.Change
	err     error
}

// openCursor starts reading. It ends with ctx.
func openCursor(ctx context.Context, s store.Store, run *Run, ahead int) (*cursor, *runIndex, error) {
	x, err := openRun(ctx, s, run)
	if err != nil {
		return nil, nil, err
	}
	c := &cursor{run: run, ahead: make(chan future, max(ahead, 1))}
	go func() {
		defer close(c.ahead)
		for i := range x.blocks {
			f := make(future, 1)
			select {
			case c.ahead <- f:
			case <-ctx.Done():
				return
			}
			go func() {
				changes, err := x.changes(ctx, s, run, i)
				f <- fetched{changes, err}
			}()
		}
	}()
	return c, x, nil
}

// head returns the current change, or nil at the end.
func (c *cursor) head(ctx context.Context) (*state.Change, error) {
	for len(c.block) == 0 {
		f, open := <-c.ahead
		if !open {
			return nil, ctx.Err()
		}
		got := <-f
		if got.err != nil {
			return nil, got.err
		}
		if err := follows(c.run, c.taken, c.last, got.changes); err != nil {
			return nil, err
		}
		c.block = got.changes
		c.taken, c.last = c.taken+1, got.changes[len(got.changes)-1].Key
	}
	return &c.block[0], nil
}

func (c *cursor) next() { c.block = c.block[1:] }

// ReadRun calls visit with each change of a run, in the order of keys. The slices are the
// caller's.
func ReadRun(ctx context.Context, s store.Store, run *Run, visit func(state.Change)) error {
	x, err := openRun(ctx, s, run)
	if err != nil {
		return err
	}
	for i := range x.blocks {
		changes, err := x.changes(ctx, s, run, i)
		if err != nil {
			return err
		}
		for _, c := range changes {
			visit(c)
		}
	}
	return nil
}
