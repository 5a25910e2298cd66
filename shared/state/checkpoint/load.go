package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sync/semaphore"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Load puts a partition's state of the epoch into its components, each after its
// dependencies, and compares their digests with the manifest. A component that the
// checkpoint does not have starts empty; one that the program does not have is an error.
// After an error the components must not be used.
//
// workers is how many blocks, of any runs and components, are fetched, decompressed and
// decoded at once; how many independent components take in their entries at the same time;
// and how many pieces of one component that can take several are put at once. With one
// worker, everything happens one by one.
func Load(ctx context.Context, s store.Store, part *Partition, epoch state.Epoch, components *state.Registry, workers int) error {
	stored := map[string]*Component{}
	for i := range part.Components {
		c := &part.Components[i]
		if _, ok := components.ByID(c.ID); !ok {
			return fmt.Errorf("%w: the checkpoint has a component %q, which this program does not have; load it with the version that wrote it or a newer one", ErrVersion, c.ID)
		}
		stored[c.ID] = c
	}
	ordered, err := components.Ordered()
	if err != nil {
		return err
	}
	urgentFirst(ordered, stored)
	workers = max(workers, 1)
	group, ctx := errgroup.WithContext(ctx)
	chains := make([][]Run, len(part.Components))
	for i := range part.Components {
		chains[i] = part.Components[i].Runs
	}
	l := &loader{
		store: SharedReads(s, chains...), epoch: epoch, fetching: newSlots(workers), loading: newSlots(workers),
		memory: semaphore.NewWeighted(aheadBytesMax), done: map[string]chan struct{}{},
	}
	if workers == 1 {
		group.SetLimit(1)
	}
	for _, h := range ordered {
		l.done[h.Info().ID] = make(chan struct{})
	}
	for rank, h := range ordered {
		c := stored[h.Info().ID]
		if err := l.memory.Acquire(ctx, weightOf(c)); err != nil {
			break // one of them has failed
		}
		group.Go(func() error {
			if err := l.load(ctx, rank, h, c); err != nil && c != nil {
				return fmt.Errorf("partition %d, component %s: %w", part.Partition, c.ID, err)
			} else if err != nil {
				return err
			}
			return nil
		})
	}
	return group.Wait()
}

// urgentFirst puts the components that others wait for first, then those with many entries,
// which take longest: started last, they would leave the other workers idle. Each component
// stays after its dependencies.
func urgentFirst(ordered []state.Holder, stored map[string]*Component) {
	awaited, entries := map[string]bool{}, map[string]int64{}
	for _, h := range ordered {
		info := h.Info()
		for _, other := range info.DependsOn {
			awaited[other] = true
		}
		if c := stored[info.ID]; c != nil {
			for i := range c.Runs {
				entries[info.ID] += c.Runs[i].Entries
			}
		}
	}
	slices.SortStableFunc(ordered, func(a, b state.Holder) int {
		x, y := a.Info().ID, b.Info().ID
		switch {
		case awaited[x] && awaited[y]:
			return 0
		case awaited[x]:
			return -1
		case awaited[y]:
			return 1
		}
		return cmp.Compare(entries[y], entries[x])
	})
}

// aheadBytesMax bounds the uncompressed bytes that were fetched and wait to be loaded. A
// single component may have more.
const aheadBytesMax = 256 << 20

// weightOf estimates the memory that a component's entries take.
func weightOf(c *Component) (n int64) {
	if c == nil {
		return 0
	}
	for i := range c.Runs {
		n += c.Runs[i].RawBytes
	}
	return min(n, aheadBytesMax)
}

// loader loads the components of a partition. They start in an order where none waits for a
// later one, so that waiting ends.
type loader struct {
	store    store.Store
	epoch    state.Epoch
	fetching *slots
	loading  *slots
	memory   *semaphore.Weighted
	done     map[string]chan struct{} // by id; closed: it is loaded
}

// load loads one component after its dependencies; c is nil if the checkpoint does not have
// it. rank is its position in the order.
func (l *loader) load(ctx context.Context, rank int, h state.Holder, c *Component) error {
	defer l.memory.Release(weightOf(c))
	info := h.Info()
	load := func() error { return h.Load(l.epoch, info.Version, 1) }
	if c != nil {
		version, err := compatible(c, info)
		if err != nil {
			return err
		}
		pieces, err := l.fetch(ctx, rank, c)
		if err != nil {
			return err
		}
		load = func() error { return loadOne(c, l.epoch, h, version, l.loading.size, pieces) }
	}
	for _, other := range info.DependsOn {
		select {
		case <-l.done[other]:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := l.loading.do(ctx, rank, load); err != nil {
		return err
	}
	close(l.done[info.ID])
	return nil
}

// compatible returns the schema version of a stored component, if it can be loaded.
func compatible(c *Component, known state.Info) (*semver.Version, error) {
	version, err := semver.StrictNewVersion(c.Version)
	if err != nil {
		return nil, corrupt(c.ID, -1, "schema version %q is none", c.Version)
	}
	return version, state.CheckCompatible(state.Info{ID: c.ID, Type: c.Type, Version: version}, known)
}

// fetch returns the entries of a component exactly as they were stored. Their digest proves
// that. If it does not, the hashes of blocks tell which one is damaged.
func (l *loader) fetch(ctx context.Context, rank int, c *Component) ([]*state.Hashed, error) {
	pieces, err := l.read(ctx, rank, c)
	if errors.Is(err, ErrCorrupt) {
		if _, why := loadChain(ctx, l.store, c.Runs, l.fetching, rank, false); why != nil {
			err = why
		}
	}
	return pieces, err
}

func (l *loader) read(ctx context.Context, rank int, c *Component) ([]*state.Hashed, error) {
	entries, err := loadChain(ctx, l.store, c.Runs, l.fetching, rank, true)
	if err != nil {
		return nil, err
	}
	parts := split(entries)
	pieces := make([]*state.Hashed, len(parts))
	group, ctx := errgroup.WithContext(ctx)
	for i, part := range parts {
		group.Go(func() error {
			return l.fetching.do(ctx, rank, func() error {
				pieces[i] = state.Hash(part)
				return nil
			})
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return pieces, compareDigest(c, state.DigestOfHashed(pieces...))
}

// A piece is what one worker hashes and puts at a time: a number of entries, or a number of
// bytes.
const (
	pieceEntriesMax = 512
	pieceBytes      = 128 << 10
)

// split divides entries into pieces.
func split(entries []state.Entry) (pieces [][]state.Entry) {
	from, size := 0, 0
	for i := range entries {
		size += len(entries[i].Value)
		if next := i + 1; next-from == pieceEntriesMax || size >= pieceBytes || next == len(entries) {
			pieces = append(pieces, entries[from:next])
			from, size = next, 0
		}
	}
	return pieces
}

// loadOne loads a component.
func loadOne(c *Component, epoch state.Epoch, h state.Holder, version *semver.Version, workers int, pieces []*state.Hashed) error {
	err := h.Load(epoch, version, workers, pieces...)
	var wrong *state.EntryError
	if errors.As(err, &wrong) {
		return corrupt(c.ID, -1, "%v", err)
	}
	return err
}

func compareDigest(c *Component, got state.Digest) error {
	if got == c.Digest {
		return nil
	}
	return &CorruptError{
		Object: c.ID, What: fmt.Sprintf("digest of the entries is %s, the manifest says %s", got, c.Digest), Offset: -1, digest: true,
	}
}
