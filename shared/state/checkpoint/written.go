package checkpoint

import (
	"context"
	"errors"

	"github.com/eventflux/eventflux/shared/state/store"
)

// CheckWritten checks that the store has the objects that were written for the epoch of a manifest,
// and that packs have their full length. It reads one byte of each object. An error that is
// ErrCorrupt names the object.
func CheckWritten(ctx context.Context, s store.Store, m *Manifest) error {
	checked := map[string]bool{}
	for _, chain := range m.Chains() {
		for i := range chain {
			r := &chain[i]
			if r.Epoch != m.Epoch || checked[r.Object()] {
				continue
			}
			checked[r.Object()] = true
			// How long an object of one run is depends on its codec, and the run may have been there.
			offset := max(r.PackBytes-1, 0)
			data, err := store.GetRange(ctx, s, r.Object(), offset, 1)
			switch {
			case errors.Is(err, store.ErrNotFound):
				return corrupt(r.Object(), -1, "it is missing")
			case err != nil:
				return err
			case len(data) == 0:
				return corrupt(r.Object(), -1, "it has fewer than %d bytes", offset+1)
			}
		}
	}
	return nil
}
