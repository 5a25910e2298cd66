package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Import copies one checkpoint to another store, as the newest one of its app there, and reads it
// back. It returns its epoch in the other store, which is later than all there. The app must not
// be deployed in the cluster of that store.
func Import(ctx context.Context, from store.Store, m *Manifest, to store.Store, workers int) (state.Epoch, error) {
	head, err := to.Head(ctx, m.App)
	if err != nil {
		return 0, err
	}
	copied := *m
	copied.Epoch, copied.Term = max(m.Epoch, state.Epoch(head.Epoch)+1), max(m.Term, Term(head.Term))
	done := map[string]bool{}
	var names []string
	group, limited := errgroup.WithContext(ctx)
	group.SetLimit(max(workers, 1))
	for p := range m.Partitions {
		for _, c := range m.Partitions[p].Components {
			for i := range c.Runs {
				objects, err := Objects(ctx, from, &c.Runs[i])
				if err != nil {
					return 0, errors.Join(err, group.Wait())
				}
				for _, name := range objects {
					if done[name] {
						continue
					}
					done[name] = true
					names = append(names, name)
					group.Go(func() error {
						data, err := from.Get(limited, name)
						if err == nil {
							err = to.Put(limited, name, data)
						}
						if errors.Is(err, store.ErrExists) {
							err = nil
						}
						return err
					})
				}
			}
		}
	}
	if err := group.Wait(); err != nil {
		return 0, err
	}
	report, err := Verify(ctx, to, &copied, workers)
	if err != nil {
		return 0, err
	}
	if len(report.Problems) > 0 {
		p := report.Problems[0]
		return 0, fmt.Errorf("the copy is damaged: %w", &CorruptError{Object: p.Object, What: p.What, Offset: -1})
	}
	data, err := copied.Encode()
	if err != nil {
		return 0, err
	}
	return copied.Epoch, to.Commit(ctx, store.Commit{
		App: m.App, Term: uint64(copied.Term), Epoch: uint64(copied.Epoch), Name: ManifestName(m.App, copied.Epoch), Manifest: data, Objects: names,
	})
}
