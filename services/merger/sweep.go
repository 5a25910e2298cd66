package merger

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"eventflux/shared/checkpoint"
	"eventflux/shared/control"
	"eventflux/shared/store"
)

// sweep deletes the objects that nothing refers to. What cannot be read stops it: better
// garbage than a hole.
func (s *Service) sweep(ctx context.Context) error {
	live, err := s.live(ctx, control.LiveRequest{Sweep: true})
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	names, err := s.names(ctx, &live)
	if err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	var dead []store.Object
	err = s.cfg.Store.List(ctx, "", func(o store.Object) error {
		ours := strings.HasPrefix(o.Name, "runs/") || strings.HasPrefix(o.Name, "blocks/") || strings.HasPrefix(o.Name, "apps/")
		if ours && !names[o.Name] && o.Used.Before(live.Before) {
			dead = append(dead, o)
		}
		return nil
	})
	errs := []error{err}
	for _, o := range dead {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		err := s.cfg.Store.Delete(ctx, o.Name, live.Before) // not if it was used meanwhile
		if err == nil {
			s.counters.sweptObjects.Add(1)
			s.counters.sweptBytes.Add(uint64(o.Bytes))
		}
		errs = append(errs, err)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("sweep: %w", err)
	}
	if len(dead) > 0 {
		s.log.Debug("swept the store", "objects", len(dead))
	}
	s.counters.swept(live.Time)
	return nil
}

// names returns the names of all objects that are referred to.
func (s *Service) names(ctx context.Context, live *control.Live) (map[string]bool, error) {
	names, before := map[string]bool{}, s.known
	s.known = map[string][]string{}
	for _, app := range live.Apps {
		for _, ref := range slices.Concat(app.Checkpoints, app.Kept) {
			if err := s.refer(ctx, before, names, ref.Manifest, ref.Digest); err != nil {
				return nil, fmt.Errorf("checkpoint %d of %s: %w; see eventflux checkpoint verify %[2]s %[1]d", ref.Epoch, app.App, err)
			}
		}
		// Between a commit in the store and the one in Raft the head is ahead.
		head, err := s.cfg.Store.Head(ctx, app.App)
		if err != nil {
			return nil, err
		}
		if head.Name == "" || names[head.Name] {
			continue
		}
		names[head.Name] = true
		// One that is damaged, or gone, refers to nothing.
		if err := s.refer(ctx, before, names, head.Name, ""); err != nil && !errors.Is(err, checkpoint.ErrCorrupt) {
			return nil, fmt.Errorf("head of %s: %w", app.App, err)
		}
	}
	return names, nil
}

// refer adds a manifest and all that it refers to. Objects never change, so what was
// read for a sweep before is known.
func (s *Service) refer(ctx context.Context, before map[string][]string, names map[string]bool, name, digest string) error {
	key := name + " " + digest
	of, known := before[key]
	if digest == "" || !known {
		m, err := checkpoint.ReadManifest(ctx, s.cfg.Store, name, digest)
		if err != nil {
			return err
		}
		of = nil
		for p := range m.Partitions {
			for _, c := range m.Partitions[p].Components {
				for i := range c.Runs {
					objects, err := s.objects(ctx, before, &c.Runs[i])
					if err != nil {
						return fmt.Errorf("partition %d, component %s: %w", p, c.ID, err)
					}
					of = append(of, objects...)
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
