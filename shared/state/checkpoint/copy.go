package checkpoint

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Copied is what a Copier has done.
type Copied struct {
	Checkpoints int // manifests
	Retired     int // manifests that were deleted while they were copied
	Objects     int
	Bytes       int64
	Newest      state.Epoch // of the app in the other store
}

// Copier copies the checkpoints of an app to another store, which nothing else writes to. It
// goes on where it stopped, and it may run while the app makes checkpoints.
type Copier struct {
	From, To store.Store
	App      string
	Workers  int // how many objects are copied at once; 0 is 1
}

// Copy copies each checkpoint that the other store lacks, oldest first, and reads it back
// before it commits it there. On return, the other store has the newest checkpoint that there
// was at the call.
func (c *Copier) Copy(ctx context.Context) (done Copied, err error) {
	for range copyTries {
		if err = c.pass(ctx, &done); !errors.Is(err, ErrReplaced) {
			break
		}
	}
	return done, err
}

// copyTries is how often a copy starts again because a merge has replaced the newest manifest.
const copyTries = 5

// Errors of a Copy that a later one may not have.
var (
	ErrNoCheckpoint = errors.New("the store has no checkpoint of the app")
	ErrReplaced     = errors.New("the newest checkpoint was replaced while it was copied")
)

func (c *Copier) pass(ctx context.Context, done *Copied) error {
	head, err := c.From.Head(ctx, c.App)
	if err != nil {
		return err
	}
	if head.Epoch == 0 {
		return ErrNoCheckpoint
	}
	there, err := c.To.Head(ctx, c.App)
	if err != nil {
		return err
	}
	source, err := manifestsOf(ctx, c.From, c.App)
	if err != nil {
		return err
	}
	if err := c.continues(ctx, there, source); err != nil {
		return err
	}
	target, err := manifestsOf(ctx, c.To, c.App)
	if err != nil {
		return err
	}
	slices.SortFunc(source, func(a, b listed) int {
		return cmp.Or(cmp.Compare(a.epoch, b.epoch), compareBool(a.name == head.Name, b.name == head.Name), a.used.Compare(b.used), strings.Compare(a.name, b.name))
	})
	held := map[string]bool{} // objects with runs that the other store has
	for _, m := range target {
		manifest, err := ReadManifest(ctx, c.To, m.name, "")
		if err != nil {
			return err
		}
		for object := range manifest.RunObjects() {
			held[object] = true
		}
	}
	for _, m := range source {
		if m.epoch > state.Epoch(head.Epoch) || slices.ContainsFunc(target, func(t listed) bool { return t.name == m.name }) {
			continue
		}
		if err := c.copyOne(ctx, m, head, held, done); err != nil {
			return fmt.Errorf("copy %s: %w", m.name, err)
		}
	}
	there, err = c.To.Head(ctx, c.App)
	done.Newest = state.Epoch(there.Epoch)
	if err == nil && there.Name != head.Name {
		err = fmt.Errorf("%w: %s is there, and %s was copied", ErrReplaced, head.Name, there.Name)
	}
	return err
}

// listed is a manifest in a listing.
type listed struct {
	name  string
	epoch state.Epoch
	used  time.Time
}

func manifestsOf(ctx context.Context, s store.Store, app string) (found []listed, err error) {
	err = s.List(ctx, "apps/"+app+"/checkpoints/", func(o store.Object) error {
		if epoch, ok := EpochOf(o.Name); ok {
			found = append(found, listed{o.Name, epoch, o.Used})
		}
		return nil
	})
	return found, err
}

func compareBool(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// continues checks that what the other store has of the app was copied from this store.
func (c *Copier) continues(ctx context.Context, there store.Head, source []listed) error {
	if there.Epoch == 0 {
		return nil
	}
	theirs, err := ReadManifest(ctx, c.To, there.Name, "")
	if err != nil {
		return fmt.Errorf("read what was copied before: %w", err)
	}
	for _, m := range source {
		if m.epoch != state.Epoch(there.Epoch) {
			continue
		}
		ours, err := ReadManifest(ctx, c.From, m.name, "")
		if errors.Is(err, store.ErrNotFound) {
			continue // just deleted
		}
		if err != nil {
			return err
		}
		if CheckSwap(theirs, ours) == nil {
			return nil
		}
	}
	return fmt.Errorf("the other store has checkpoint %d of app %s, which this one does not have: it belongs to something else, or was copied too long ago; choose another folder, bucket or prefix", there.Epoch, c.App)
}

// copyOne copies a checkpoint. If retention deletes it during the copy, it is left out.
func (c *Copier) copyOne(ctx context.Context, m listed, head store.Head, held map[string]bool, done *Copied) error {
	err := c.move(ctx, m, head, held, done)
	if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if _, again := c.From.Get(ctx, m.name); !errors.Is(again, store.ErrNotFound) {
		return errors.Join(err, again)
	}
	done.Retired++
	return nil
}

func (c *Copier) move(ctx context.Context, m listed, head store.Head, held map[string]bool, done *Copied) error {
	data, err := c.From.Get(ctx, m.name)
	if err != nil {
		return err
	}
	manifest, err := DecodeManifest(m.name, data)
	if err != nil {
		return err
	}
	objects, err := c.copyRuns(ctx, manifest, held, done)
	if err != nil {
		return err
	}
	report, err := Verify(ctx, c.To, manifest, c.Workers)
	if err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		p := report.Problems[0]
		return fmt.Errorf("%d problems in the copy, first %s of component %s: %s; eventflux checkpoint verify %s says whether the original is sound", len(report.Problems), p.Object, p.Component, p.What, c.App)
	}
	there, err := c.To.Head(ctx, c.App)
	if err != nil {
		return err
	}
	commit := store.Commit{App: c.App, Term: head.Term, Epoch: uint64(m.epoch), Name: m.name, Manifest: data, Objects: objects}
	switch {
	case uint64(m.epoch) == there.Epoch: // a merge replaced it
		commit.Replaces = there.Name
	case uint64(m.epoch) < there.Epoch:
		commit.Replaces = SwappedName(c.App, m.epoch, strings.Repeat("0", swappedDigits)) // the head stays
	}
	done.Checkpoints++
	return c.To.Commit(ctx, commit)
}

// copyRuns copies what a manifest refers to and the other store does not hold. It returns the
// names of all of it.
func (c *Copier) copyRuns(ctx context.Context, m *Manifest, held map[string]bool, done *Copied) (names []string, err error) {
	runs := map[string]*Run{}
	for p := range m.Partitions {
		for i := range m.Partitions[p].Components {
			for r := range m.Partitions[p].Components[i].Runs {
				run := &m.Partitions[p].Components[i].Runs[r]
				runs[run.Object()] = run
			}
		}
	}
	var mu sync.Mutex
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(max(c.Workers, 1))
	started := map[string]bool{}
	for name, run := range runs {
		from := c.From
		if held[name] {
			from = c.To
		}
		objects, err := Objects(ctx, from, run)
		if err != nil {
			return nil, errors.Join(err, group.Wait())
		}
		for _, object := range objects {
			if started[object] {
				continue
			}
			started[object] = true
			names = append(names, object)
			if held[name] {
				continue
			}
			group.Go(func() error {
				data, err := c.From.Get(limited, object)
				if err != nil {
					return err
				}
				if err := c.To.Put(limited, object, data); err != nil && !errors.Is(err, store.ErrExists) {
					return err
				}
				mu.Lock()
				defer mu.Unlock()
				done.Objects, done.Bytes = done.Objects+1, done.Bytes+int64(len(data))
				return nil
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	for name := range runs {
		held[name] = true
	}
	return names, nil
}
