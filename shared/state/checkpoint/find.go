package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Find reads the manifest of a checkpoint by its epoch, 0 for the newest, from a store that
// belongs to no cluster that runs here.
func Find(ctx context.Context, s store.Store, app string, epoch state.Epoch) (*Manifest, error) {
	head, err := s.Head(ctx, app)
	if err != nil {
		return nil, err
	}
	if epoch == 0 || uint64(epoch) == head.Epoch {
		if head.Name == "" {
			return nil, fmt.Errorf("%w %s", ErrNoCheckpoint, app)
		}
		return ReadManifest(ctx, s, head.Name, "")
	}
	all, err := manifestsOf(ctx, s, app)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(m listed) bool { return m.epoch != epoch })
	// A merged manifest follows the one that it replaces.
	slices.SortFunc(all, func(a, b listed) int { return strings.Compare(b.name, a.name) })
	var damaged []error
	for _, m := range all {
		manifest, err := ReadManifest(ctx, s, m.name, "")
		if !errors.Is(err, ErrCorrupt) {
			return manifest, err
		}
		damaged = append(damaged, err)
	}
	if len(damaged) > 0 {
		return nil, errors.Join(damaged...)
	}
	return nil, fmt.Errorf("the store has no checkpoint %d of app %s; its newest is %d", epoch, app, head.Epoch)
}
