package checkpoint

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
)

// WriterOptions describe a run to be written.
type WriterOptions struct {
	Kind  Kind
	Epoch state.Epoch // the checkpoint that it is written for
	// Choice is how blocks are compressed. The name of a run does not depend on it.
	Choice compress.Choice
	// Parallel is how many blocks are compressed and put at once; 0 is 1. Each takes about
	// twice its raw size in memory while that happens.
	Parallel int
}

// Writer stores a run while it is written: blocks as they fill, the run's own object
// last.
type Writer struct {
	store store.Store
	opt   WriterOptions
	block blockBuilder
	index runIndex
	run   Run

	parent context.Context
	ctx    context.Context // of group
	group  *errgroup.Group
	held   *fullBlock   // the first block, which may be the only one
	stored []chan int   // by block: its stored size
	known  map[hash]int // blocks that the store surely has, with their stored size
}

// fullBlock is a block that is ready to be put.
type fullBlock struct {
	place int
	raw   []byte
}

// NewWriter returns a writer. The end of ctx stops its work.
func NewWriter(ctx context.Context, s store.Store, opt WriterOptions) *Writer {
	w := &Writer{store: s, opt: opt, parent: ctx, index: runIndex{version: runVersion, kind: opt.Kind}}
	w.group, w.ctx = errgroup.WithContext(ctx)
	w.group.SetLimit(max(opt.Parallel, 1))
	return w
}

// know notes the blocks of a run, which need not be put again.
func (w *Writer) know(x *runIndex) {
	if x.inline != nil {
		return
	}
	if w.known == nil {
		w.known = map[hash]int{}
	}
	for i := range x.blocks {
		w.known[x.blocks[i].hash] = x.blocks[i].stored
	}
}

// Add appends a copy of a change, whose key must follow all before. An error of the store
// may appear only in Finish.
func (w *Writer) Add(c *state.Change) error {
	if w.run.Entries > 0 && string(c.Key) <= string(w.block.last) {
		return fmt.Errorf("run: key %q does not follow %q", c.Key, w.block.last)
	}
	if c.Deleted && w.opt.Kind == Base {
		return fmt.Errorf("run: key %q is deleted in a base", c.Key)
	}
	if n := len(c.Key) + len(c.Value); n > blockRawMax-blockBytesMax-64 {
		return fmt.Errorf("run: the entry of key %.40q takes %d bytes, limit %d", c.Key, n, blockRawMax-blockBytesMax-64)
	}
	w.run.Entries++
	if w.block.add(c) {
		w.end()
	}
	return w.ctx.Err()
}

// end closes the current block and stores it in the background.
func (w *Writer) end() {
	if w.block.entries == 0 {
		return
	}
	b := &fullBlock{place: len(w.index.blocks), raw: w.block.raw}
	w.index.blocks = append(w.index.blocks, blockRef{
		hash: sha256.Sum256(b.raw), entries: w.block.entries, raw: len(b.raw),
	})
	w.run.RawBytes += int64(len(b.raw))
	w.block.reset()
	if b.place == 0 {
		w.held = b
		return
	}
	w.release()
	w.put(b)
}

// release stores the first block when another one follows it.
func (w *Writer) release() {
	if w.held != nil {
		w.put(w.held)
		w.held = nil
	}
}

func (w *Writer) put(b *fullBlock) {
	ref := w.index.blocks[b.place] // a copy, because the index grows in the meantime
	done := make(chan int, 1)
	w.stored = append(w.stored, done)
	if size, ok := w.known[ref.hash]; ok {
		done <- size
		return
	}
	w.group.Go(func() error {
		data := compress.Seal(nil, b.raw, w.opt.Choice)
		done <- len(data)
		return putData(w.ctx, w.store, blockName(ref.hash), data, func(there []byte) error {
			_, err := openBlock(blockName(ref.hash), there, &ref, false)
			return err
		})
	})
}

// Finish stores the rest, and the run's object. The whole run is durable on return. A run
// without entries is an error: there is nothing to store.
func (w *Writer) Finish() (Run, error) {
	w.end()
	if len(w.index.blocks) == 0 {
		return Run{}, errors.Join(ErrNoEntries, w.group.Wait())
	}
	if w.held != nil {
		data := compress.Seal(nil, w.held.raw, w.opt.Choice)
		if len(data) <= inlineBytesMax {
			w.index.inline, w.index.blocks[0].stored = data, len(data)
			w.held = nil
		}
	}
	w.release()
	if err := w.group.Wait(); err != nil {
		return Run{}, err
	}
	for i, done := range w.stored {
		w.index.blocks[i].stored = <-done
		w.run.Bytes += int64(w.index.blocks[i].stored)
	}
	w.run.Name, w.run.Kind, w.run.Epoch, w.run.Blocks = w.index.name(), w.opt.Kind, w.opt.Epoch, len(w.index.blocks)
	data := w.index.encode()
	w.run.Bytes += int64(len(data))
	// The group's context ended when Wait returned.
	return w.run, putRun(w.parent, w.store, w.run.Name, data)
}

// putRun puts the object of a run.
func putRun(ctx context.Context, s store.Store, run string, data []byte) error {
	name := runName(run)
	return putData(ctx, s, name, data, func(there []byte) error {
		x, err := decodeRun(name, there)
		if err == nil && x.name() != run {
			err = corrupt(name, -1, "it is run %s", x.name())
		}
		return err
	})
}

// putData puts data under a name that identifies it. An existing object is kept, unless it
// is damaged: then it is replaced.
func putData(ctx context.Context, s store.Store, name string, data []byte, check func(there []byte) error) error {
	err := s.Put(ctx, name, data)
	if !errors.Is(err, store.ErrExists) {
		return err
	}
	there, err := s.Get(ctx, name)
	if err == nil {
		err = check(there)
	}
	if err == nil || !errors.Is(err, ErrCorrupt) && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if err := s.Delete(ctx, name, time.Time{}); err != nil {
		return fmt.Errorf("replace %s, which is damaged: %w", name, err)
	}
	if err := s.Put(ctx, name, data); !errors.Is(err, store.ErrExists) {
		return err // else another writer has replaced it
	}
	return nil
}

// WriteRun stores sorted changes as a run.
func WriteRun(ctx context.Context, s store.Store, opt WriterOptions, changes []state.Change) (Run, error) {
	w := NewWriter(ctx, s, opt)
	for i := range changes {
		if err := w.Add(&changes[i]); err != nil {
			return Run{}, errors.Join(err, w.group.Wait())
		}
	}
	return w.Finish()
}
