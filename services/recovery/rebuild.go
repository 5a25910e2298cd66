package recovery

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// rebuildRun holds the options of a rebuild, and counts its progress.
type rebuildRun struct {
	workers int
	bytes   atomic.Int64 // read from the store
	frames  atomic.Uint64
	raw     atomic.Int64 // bytes of loaded state, uncompressed
	// The expected totals of bytes and frames, as far as they are known.
	bytesTotal  atomic.Int64
	framesTotal atomic.Uint64
	phase       func(name string) // called at the start of each phase; may be nil
	watch       func(p uint32, t *rebuild.Task) rebuild.Watch
	only        int // the partition to rebuild, if alone
	alone       bool
	replayed    atomic.Uint64 // events
}

// expect adds the size of a checkpoint that will be read to the total.
func (e *rebuildRun) expect(c *basis) {
	if c.manifest == nil {
		return
	}
	for i := range c.manifest.Partitions {
		for k := range c.manifest.Partitions[i].Components {
			for _, run := range c.manifest.Partitions[i].Components[k].Runs {
				e.bytesTotal.Add(run.Bytes)
			}
		}
	}
}

// counting is a store that counts the bytes read from it.
type counting struct {
	store.Store
	read *atomic.Int64
}

// Get implements store.Store.
func (c counting) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := c.Store.Get(ctx, name)
	c.read.Add(int64(len(data)))
	return data, err
}

// GetRange implements store.Ranger.
func (c counting) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	data, err := store.GetRange(ctx, c.Store, name, offset, n)
	c.read.Add(int64(len(data)))
	return data, err
}

func (e *rebuildRun) store(s store.Store) store.Store { return counting{s, &e.bytes} }

func (e *rebuildRun) enter(phase string) {
	if e.phase != nil {
		e.phase(phase)
	}
}

// rebuild loads a checkpoint and replays each partition to its target. It returns the
// tasks by partition; a task is nil if e asks for another partition alone.
func (h *history) rebuild(ctx context.Context, from *basis, to func(p uint32) rebuild.Target, e *rebuildRun) ([]*rebuild.Task, error) {
	tasks := make([]*rebuild.Task, h.app.Partitions)
	e.enter(phaseLoad)
	started := time.Now()
	for p := range tasks {
		if e.alone && p != e.only {
			continue
		}
		var err error
		if tasks[p], err = h.load(ctx, from, uint32(p), e); err != nil {
			return nil, err
		}
	}
	h.s.rates.loaded(e.raw.Swap(0), time.Since(started))
	e.enter(phaseReplay)
	started = time.Now()
	before := e.replayed.Load()
	group, replaying := errgroup.WithContext(ctx)
	group.SetLimit(e.workers)
	for p, t := range tasks {
		if t != nil {
			group.Go(func() error { return h.replay(replaying, from, uint32(p), t, to(uint32(p)), e) })
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	h.s.rates.replayed(e.replayed.Load()-before, time.Since(started))
	return tasks, nil
}

func (h *history) load(ctx context.Context, from *basis, p uint32, e *rebuildRun) (*rebuild.Task, error) {
	plan, settings, err := h.version(ctx, from, p)
	if err != nil {
		return nil, err
	}
	t, err := rebuild.New(plan, p, settings)
	if err != nil {
		return nil, err
	}
	part := from.part(p)
	cfg := h.s.reader(h.plan.Name, p)
	if part != nil {
		cfg.Skip = lineage.SkipOf(part)
	}
	t.Core.ReadAgain(func(first, end uint64, visit func(uint64, *frame.Frame) error) error {
		return asUnusable(wal.Visit(ctx, cfg, first, end, visit))
	})
	if part == nil {
		return t, nil
	}
	if err := t.Load(ctx, e.store(h.s.cfg.Store), part, from.epoch(), e.workers); err != nil {
		return nil, fmt.Errorf("load checkpoint %d: %w", from.epoch(), err)
	}
	for i := range part.Components {
		for k := range part.Components[i].Runs {
			e.raw.Add(part.Components[i].Runs[k].RawBytes)
		}
	}
	return t, nil
}

func (h *history) replay(ctx context.Context, from *basis, p uint32, t *rebuild.Task, to rebuild.Target, e *rebuildRun) error {
	if !to.Timed && to.Compare(t.Position()) <= 0 {
		return nil
	}
	log, done, err := h.openLog(ctx, from, p, h.logs[p].last)
	if err != nil {
		return fmt.Errorf("partition %d: %w", p, err)
	}
	defer done()
	w := rebuild.Watch{}
	if e.watch != nil {
		w = e.watch(p, t)
	}
	watchFrame := w.Frame
	w.Frame = func(seq uint64, f *frame.Frame, r engine.Reached, bytes int) {
		e.frames.Add(1)
		e.replayed.Add(uint64(r.Events))
		if watchFrame != nil {
			watchFrame(seq, f, r, bytes)
		}
	}
	d, err := t.Replay(ctx, log, to, w)
	if err != nil {
		return fmt.Errorf("replay partition %d to %s: %w", p, to, err)
	}
	if !d.Reached && !to.Timed {
		return unusablef("partition %d: the log ended at %s, before %s", p, d.At, to)
	}
	return nil
}

// carryOut rebuilds the tasks of the plan. If the checkpoint turns out to be damaged, it
// uses an older one.
func (c *restorePlan) carryOut(ctx context.Context, e *rebuildRun) ([]*rebuild.Task, error) {
	for {
		if c.plan.Refused != "" {
			return nil, c.refusal()
		}
		tasks, err := c.h.rebuild(ctx, c.from, func(p uint32) rebuild.Target { return c.target.of(p, c.from, c.h.logs[p].last) }, e)
		if !errors.Is(err, checkpoint.ErrCorrupt) || c.from.manifest == nil {
			return tasks, err
		}
		if err := c.fallBack(ctx, err.Error()); err != nil {
			return nil, err
		}
	}
}

// refusal returns an error that says why the plan is refused and what to do instead.
func (c *restorePlan) refusal() error {
	return failure(control.CodeInvalid, "%s; next: %s", c.plan.Refused, c.plan.Next)
}
