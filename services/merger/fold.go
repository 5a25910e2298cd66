package merger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// mergeApp folds the chains of an app's newest checkpoint that are due. started is a time
// of the leader's clock from before mergeApp puts anything.
func (s *Service) mergeApp(ctx context.Context, app *control.LiveApp, started time.Time) error {
	if len(app.Checkpoints) == 0 {
		return nil
	}
	ref := app.Checkpoints[0]
	if s.looked[app.App] == ref.Digest {
		return nil
	}
	m, err := checkpoint.ReadManifest(ctx, s.cfg.Store, ref.Manifest, ref.Digest)
	if err != nil {
		return s.failed(app, ref, err)
	}
	merged, err := s.lastMerged(ctx, app)
	if err != nil {
		return s.failed(app, ref, err)
	}
	picked := s.limits().picks(m, merged)
	moves, packs := s.limits().movesOf(m, merged, picked)
	if len(picked)+len(moves) == 0 {
		s.looked[app.App] = ref.Digest
		return nil
	}
	faultpoint.Reach(faultpoint.MergeBefore)
	folded, done, err := s.fold(ctx, m, picked, moves, packs)
	if err != nil {
		return s.failed(app, ref, err)
	}
	data, err := folded.Encode()
	if err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.MergeDone)
	_, err = s.cfg.Control.Swap(ctx, control.SwapRequest{App: app.App, Epoch: ref.Epoch, Digest: ref.Digest, Begun: started, Manifest: data})
	faultpoint.Reach(faultpoint.MergeKnown)
	switch code := control.Code(err); {
	case code == control.CodeFenced || code == control.CodeNotFound:
		s.counters.overtaken.Add(1)
		s.log.Debug("a merge was overtaken", "app", app.App, "epoch", ref.Epoch, "err", err)
		return nil
	case err != nil:
		return s.failed(app, ref, err)
	}
	s.looked[app.App] = checkpoint.SHA256(data)
	s.counters.swaps.Add(1)
	s.counters.chains.Add(uint64(len(picked)))
	s.counters.saved.Add(done.saved())
	s.log.Debug("chains merged", "app", app.App, "epoch", ref.Epoch, "chains", len(picked), "saved", done.saved())
	return nil
}

// failed wraps err. If the checkpoint can never be merged, mergeApp ignores it until there
// is a newer one.
func (s *Service) failed(app *control.LiveApp, ref control.CheckpointRef, err error) error {
	if errors.Is(err, checkpoint.ErrCorrupt) || control.Code(err) == control.CodeInvalid || control.Code(err) == control.CodeTooLarge {
		s.looked[app.App] = ref.Digest
	}
	return fmt.Errorf("merge checkpoint %d of app %s: %w", ref.Epoch, app.App, err)
}

// lastMerged returns the newest checkpoint whose chains were folded, or nil.
func (s *Service) lastMerged(ctx context.Context, app *control.LiveApp) (*checkpoint.Manifest, error) {
	for _, ref := range app.Checkpoints {
		if ref.Manifest == checkpoint.ManifestName(app.App, ref.Epoch) {
			continue // as committed: no merge has replaced it
		}
		m, err := checkpoint.ReadManifest(ctx, s.cfg.Store, ref.Manifest, ref.Digest)
		if errors.Is(err, checkpoint.ErrCorrupt) {
			return nil, nil // its chains are folded once more
		}
		return m, err
	}
	return nil, nil
}

// fold folds the picked chains of a checkpoint, moves runs out of packs, and returns the manifest
// with the new chains. It does not change m.
func (s *Service) fold(ctx context.Context, m *checkpoint.Manifest, picked []pick, moves []move, packs map[string]bool) (*checkpoint.Manifest, *outcome, error) {
	metered := &meter{Store: s.cfg.Store}
	defer func() {
		s.counters.read.Add(metered.read.Load())
		s.counters.written.Add(metered.written.Load())
	}()
	folded := *m
	folded.Partitions = slices.Clone(m.Partitions)
	for p := range folded.Partitions {
		folded.Partitions[p].Components = slices.Clone(m.Partitions[p].Components)
	}
	var lists [][]checkpoint.Component
	for p := range folded.Partitions {
		lists = append(lists, folded.Partitions[p].Components)
	}
	packer := checkpoint.NewPacker(checkpoint.SharedReads(metered, chainsOf(picked, moves)...), s.cfg.Workers)
	all := &outcome{before: map[string]int64{}, after: map[string]int64{}}
	for _, pick := range picked {
		c := &folded.Partitions[pick.partition].Components[pick.component]
		was := c.Runs
		c.Runs = pick.runs
		var err error
		if c.Runs, err = s.foldChain(ctx, packer, c, was, all); err != nil {
			return nil, nil, fmt.Errorf("partition %d, component %s: %w", pick.partition, c.ID, err)
		}
		faultpoint.Reach(faultpoint.MergeChain)
		if err := packer.FlushFull(ctx, lists...); err != nil {
			return nil, nil, err
		}
	}
	for _, move := range moves {
		c := &folded.Partitions[move.partition].Components[move.component]
		var err error
		if c.Runs, err = checkpoint.Unpack(ctx, packer, move.runs, packs); err != nil {
			return nil, nil, fmt.Errorf("partition %d, component %s: %w", move.partition, c.ID, err)
		}
		if err := packer.FlushFull(ctx, lists...); err != nil {
			return nil, nil, err
		}
	}
	if err := packer.Flush(ctx, lists...); err != nil {
		return nil, nil, err
	}
	all.written = int64(metered.written.Load())
	s.counters.reused.Add(uint64(all.reused()))
	return &folded, all, nil
}

func chainsOf(picked []pick, moves []move) (chains [][]checkpoint.Run) {
	for _, p := range picked {
		chains = append(chains, p.runs)
	}
	for _, m := range moves {
		chains = append(chains, m.runs)
	}
	return chains
}

// foldChain folds the chain of c. was is the chain that the manifest has now. The sizes of
// the objects of both are added to o.
func (s *Service) foldChain(ctx context.Context, into store.Store, c *checkpoint.Component, was []checkpoint.Run, o *outcome) ([]checkpoint.Run, error) {
	held := map[string]bool{} // runs of the manifest that is to be replaced
	for i := range was {
		held[was[i].Name] = true
		if err := addSizes(ctx, s.cfg.Store, &was[i], o.before); err != nil {
			return nil, err
		}
	}
	runs, err := checkpoint.FoldChain(ctx, into, s.options(c.Runs), c, held)
	for i := range runs {
		if err == nil {
			err = addSizes(ctx, into, &runs[i], o.after)
		}
	}
	return runs, err
}

// options returns the writer options of a base that replaces a chain. The base has the
// epoch of the newest run, because it holds the state as of that epoch.
func (s *Service) options(chain []checkpoint.Run) checkpoint.WriterOptions {
	choice := s.cfg.Compression
	if choice == (compress.Choice{}) {
		choice = state.Cold.Choice()
	}
	return checkpoint.WriterOptions{
		Kind: checkpoint.Base, Epoch: chain[len(chain)-1].Epoch, Choice: choice, Parallel: s.cfg.Workers,
	}
}

// addSizes adds the objects of a run, with their sizes, to sizes.
func addSizes(ctx context.Context, from store.Store, run *checkpoint.Run, sizes map[string]int64) error {
	objects, err := checkpoint.Footprint(ctx, from, run)
	for name, n := range objects {
		sizes[name] = n
	}
	return err
}

// outcome describes what folding changed: the sizes of the chains' objects before and
// after, and the bytes written.
type outcome struct {
	before, after map[string]int64
	written       int64
}

// saved returns how many bytes the store saves once nothing refers to the old objects. It
// is negative if the store grows.
func (o *outcome) saved() int64 {
	n := -o.written
	for name, size := range o.before {
		if _, stays := o.after[name]; !stays {
			n += size
		}
	}
	return n
}

// reused returns the size of the objects that both the old and the new chains use.
func (o *outcome) reused() (n int64) {
	for name, size := range o.after {
		if _, was := o.before[name]; was {
			n += size
		}
	}
	return n
}

// meter counts the bytes read from and written to a store.
type meter struct {
	store.Store
	read, written atomic.Uint64
}

// Get implements store.Store.
func (m *meter) Get(ctx context.Context, name string) ([]byte, error) {
	data, err := m.Store.Get(ctx, name)
	m.read.Add(uint64(len(data)))
	return data, err
}

// GetRange implements store.Ranger.
func (m *meter) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	data, err := store.GetRange(ctx, m.Store, name, offset, n)
	m.read.Add(uint64(len(data)))
	return data, err
}

// Put implements store.Store.
func (m *meter) Put(ctx context.Context, name string, data []byte) error {
	err := m.Store.Put(ctx, name, data)
	if err == nil {
		m.written.Add(uint64(len(data)))
	}
	return err
}
