package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// references knows which objects of the store manifests refer to. It makes sure that a new
// manifest refers only to objects that sweeps keep.
type references struct{ store store.Store }

// errGone says that a task builds on runs that may already be deleted.
var errGone = errors.New("a task builds on a checkpoint that is gone")

// check refuses a manifest with a run from before its epoch that no manifest in
// Raft refers to: a sweep may delete that run at any time. Runs that Raft refers to now stay
// until the epoch is over.
func (r *references) check(ctx context.Context, a *appState, m *checkpoint.Manifest) error {
	inherited := m.RunObjects()
	for name, epoch := range inherited {
		if epoch == m.Epoch {
			delete(inherited, name) // put since the epoch was opened, so sweeps keep it
		}
	}
	err := r.removeKept(ctx, a, inherited)
	for name := range inherited {
		if err == nil {
			err = fmt.Errorf("%w: %s is in no checkpoint that is kept", errGone, name)
		}
	}
	return err
}

// putAgain puts the objects again that the manifest refers to and Raft does not. Its epoch
// is open, so sweeps keep them until the epoch is over.
func (r *references) putAgain(ctx context.Context, a *appState, m *checkpoint.Manifest) error {
	unreferred := m.RunObjects()
	if err := r.removeKept(ctx, a, unreferred); err != nil {
		return err
	}
	for p := range m.Partitions {
		for _, c := range m.Partitions[p].Components {
			for i := range c.Runs {
				if _, is := unreferred[c.Runs[i].Object()]; !is {
					continue
				}
				delete(unreferred, c.Runs[i].Object()) // a pack has several runs
				names, err := checkpoint.Objects(ctx, r.store, &c.Runs[i])
				if err != nil {
					return err
				}
				for _, name := range names {
					data, err := r.store.Get(ctx, name)
					if err == nil {
						err = r.store.Put(ctx, name, data)
					}
					if err != nil && !errors.Is(err, store.ErrExists) {
						return err
					}
				}
			}
		}
	}
	return nil
}

// removeKept removes from objects those with runs that a manifest in Raft refers to.
func (r *references) removeKept(ctx context.Context, a *appState, objects map[string]state.Epoch) error {
	var refs []control.CheckpointRef
	for _, k := range slices.Backward(a.Committed) {
		refs = append(refs, k.CheckpointRef)
	}
	for _, k := range a.Kept {
		refs = append(refs, k.CheckpointRef)
	}
	slices.SortStableFunc(refs, func(x, y control.CheckpointRef) int { return int(y.Epoch) - int(x.Epoch) })
	for _, ref := range refs { // usually the first one refers to all of them
		if len(objects) == 0 {
			return nil
		}
		old, err := checkpoint.ReadManifest(ctx, r.store, ref.Manifest, ref.Digest)
		if errors.Is(err, checkpoint.ErrCorrupt) {
			continue
		}
		if err != nil {
			return err
		}
		for name := range old.RunObjects() {
			delete(objects, name)
		}
	}
	return nil
}

// objects returns the names of all objects that a manifest refers to.
func (r *references) objects(ctx context.Context, m *checkpoint.Manifest) ([]string, error) {
	var names []string
	seen := map[string]bool{}
	for p := range m.Partitions {
		for _, c := range m.Partitions[p].Components {
			for i := range c.Runs {
				of, err := checkpoint.Objects(ctx, r.store, &c.Runs[i])
				if err != nil {
					return nil, fmt.Errorf("partition %d, component %s: %w", p, c.ID, err)
				}
				for _, name := range of {
					if !seen[name] { // several runs may share it
						seen[name] = true
						names = append(names, name)
					}
				}
			}
		}
	}
	return names, nil
}
