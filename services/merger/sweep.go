package merger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
	"github.com/eventflux/eventflux/shared/testing/invariant"
)

// sweep deletes the objects that nothing refers to. If it cannot read a manifest or a run,
// it deletes nothing: garbage is better than a missing object.
func (s *Service) sweep(ctx context.Context) error {
	live, err := s.live(ctx, control.LiveRequest{Sweep: true})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	faultpoint.Reach(faultpoint.SweepBefore)
	before, err := s.byStore(ctx, &live)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	names, err := s.names(ctx, &live)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var dead []store.Object
	err = s.cfg.Store.List(ctx, "", func(o store.Object) error {
		ours := slices.Contains(folders, o.Name[:strings.IndexByte(o.Name, '/')+1])
		if ours && !names[o.Name] && o.Used.Before(before) {
			dead = append(dead, o)
		}
		return nil
	})
	errs := []error{err}
	for _, o := range dead {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		faultpoint.Reach(faultpoint.SweepEach)
		err := s.cfg.Store.Delete(ctx, o.Name, before) // not if it was used since
		if err == nil {
			s.counters.sweptObjects.Add(1)
			s.counters.sweptBytes.Add(uint64(o.Bytes))
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if invariant.Enabled {
		s.checkSwept(ctx, dead)
	}
	faultpoint.Reach(faultpoint.SweepDone)
	if len(dead) > 0 {
		s.log.Debug("swept the store", "objects", len(dead))
	}
	s.counters.swept(live.Time)
	return nil
}

// checkSwept panics if something refers to an object that was deleted.
func (s *Service) checkSwept(ctx context.Context, dead []store.Object) {
	live, err := s.live(ctx, control.LiveRequest{})
	if err != nil {
		return // the leader is gone
	}
	names, err := s.names(ctx, &live)
	if err != nil {
		return
	}
	for _, o := range dead {
		if !names[o.Name] {
			continue
		}
		_, err := s.cfg.Store.Get(ctx, o.Name)
		invariant.That(!errors.Is(err, store.ErrNotFound), "a sweep deleted %s, which is in use", o.Name)
	}
}

// folders are those of the objects that a sweep may delete.
var folders = []string{"runs/", "blocks/", "packs/", "apps/"}

// clockName is the object that byStore puts to read the store's clock.
const clockName = "sweeps/clock"

// byStore returns a time by the store's clock: only objects that were not used since then may
// be deleted. To a checkpointer whose clock is ahead, an object that was just put looks old.
func (s *Service) byStore(ctx context.Context, live *control.Live) (before time.Time, err error) {
	if err := s.cfg.Store.Put(ctx, clockName, []byte("what time is it\n")); err != nil && !errors.Is(err, store.ErrExists) {
		return before, err
	}
	var now time.Time // zero if another merger has just deleted the object: then nothing is old
	err = s.cfg.Store.List(ctx, clockName, func(o store.Object) error {
		now = o.Used
		return nil
	})
	if err != nil {
		return before, err
	}
	if err := s.cfg.Store.Delete(ctx, clockName, time.Time{}); err != nil {
		return before, err
	}
	if now.IsZero() {
		return now, nil
	}
	return live.Before.Add(min(0, now.Sub(live.Time))), nil
}

// names returns the names of all objects that something refers to.
func (s *Service) names(ctx context.Context, live *control.Live) (map[string]bool, error) {
	names, before := map[string]bool{}, s.known
	s.known = map[string][]string{}
	for _, app := range live.Apps {
		for _, ref := range slices.Concat(app.Checkpoints, app.Kept) {
			if err := s.refer(ctx, before, names, ref.Manifest, ref.Digest); err != nil {
				return nil, fmt.Errorf("checkpoint %d of %s: %w; see eventflux checkpoint verify %[2]s %[1]d", ref.Epoch, app.App, err)
			}
		}
		// Between the commit in the store and the commit in Raft, the head is ahead.
		head, err := s.cfg.Store.Head(ctx, app.App)
		if err != nil {
			return nil, err
		}
		if head.Name == "" || names[head.Name] {
			continue
		}
		names[head.Name] = true
		// A head manifest that is damaged or gone refers to nothing.
		if err := s.refer(ctx, before, names, head.Name, ""); err != nil && !errors.Is(err, checkpoint.ErrCorrupt) {
			return nil, fmt.Errorf("head of %s: %w", app.App, err)
		}
	}
	return names, s.addForeign(ctx, before, names, live)
}

// addForeign adds the checkpoints of apps that the group does not know, and checkpoints from
// before the deployment of an app. They belong to a lost cluster, whose apps were never
// removed.
func (s *Service) addForeign(ctx context.Context, before map[string][]string, names map[string]bool, live *control.Live) error {
	base := map[string]state.Epoch{}
	for _, app := range live.Apps {
		base[app.App] = app.Base
	}
	var foreign []string
	err := s.cfg.Store.List(ctx, "apps/", func(o store.Object) error {
		app, _, _ := strings.Cut(strings.TrimPrefix(o.Name, "apps/"), "/")
		last, ours := base[app]
		epoch, ok := checkpoint.EpochOf(o.Name)
		if !names[o.Name] && (!ours || ok && epoch <= last) {
			foreign = append(foreign, o.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range foreign {
		names[name] = true
		// A damaged manifest refers to objects that are of no use. The references of a newer
		// format are unknown, so nothing is deleted.
		if err := s.refer(ctx, before, names, name, ""); err != nil && !errors.Is(err, checkpoint.ErrCorrupt) {
			return fmt.Errorf("checkpoint %s of a former cluster: %w", name, err)
		}
	}
	return nil
}

// refer adds a manifest and all objects that it refers to. Objects never change, so the
// references that an earlier sweep read are still valid.
func (s *Service) refer(ctx context.Context, before map[string][]string, names map[string]bool, name, digest string) error {
	key := name + " " + digest
	of, known := before[key]
	if digest == "" || !known {
		m, err := checkpoint.ReadManifest(ctx, s.cfg.Store, name, digest)
		if err != nil {
			return err
		}
		of = nil
		seen := map[string]bool{}
		for p := range m.Partitions {
			for _, c := range m.Partitions[p].Components {
				for i := range c.Runs {
					objects, err := s.objects(ctx, before, &c.Runs[i])
					if err != nil {
						return fmt.Errorf("partition %d, component %s: %w", p, c.ID, err)
					}
					for _, object := range objects {
						if !seen[object] { // several runs may share it
							seen[object] = true
							of = append(of, object)
						}
					}
				}
			}
		}
	}
	s.known[key] = of
	names[name] = true
	for _, object := range of {
		names[object] = true
	}
	return nil
}

func (s *Service) objects(ctx context.Context, before map[string][]string, run *checkpoint.Run) (of []string, err error) {
	if run.Pack != "" { // nothing is read for it, and other packs may have the run, too
		return checkpoint.Objects(ctx, s.cfg.Store, run)
	}
	of, known := s.known[run.Name]
	if !known {
		of, known = before[run.Name]
	}
	if !known {
		if of, err = checkpoint.Objects(ctx, s.cfg.Store, run); err != nil {
			return nil, err
		}
	}
	s.known[run.Name] = of
	return of, nil
}
