package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/Masterminds/semver/v3"

	"eventflux/shared/state"
	"eventflux/shared/store"
)

// Load puts a partition's state of the epoch into its components, each behind those
// that it depends on, and compares their digests with the manifest. A component that
// the checkpoint does not have begins empty; one that the program does not have is an
// error. After an error the components must not be used.
//
// workers is how many blocks are fetched, decompressed and decoded at once, whichever
// runs and components they are of; meanwhile components that are complete are loaded,
// one by one, for those of a task share memory.
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
	var wanted []*Component
	for _, h := range ordered {
		if c := stored[h.Info().ID]; c != nil {
			wanted = append(wanted, c)
		}
	}
	chains := fetchAhead(ctx, s, wanted, workers)
	defer chains.close()
	for _, h := range ordered {
		c := stored[h.Info().ID]
		if c == nil {
			if err := h.Load(epoch, h.Info().Version, nil); err != nil {
				return err
			}
			continue
		}
		if err := loadOne(c, epoch, h, chains.next); err != nil {
			return fmt.Errorf("partition %d, component %s: %w", part.Partition, c.ID, err)
		}
	}
	return nil
}

// loadOne loads a component; next returns its entries.
func loadOne(c *Component, epoch state.Epoch, h state.Holder, next func() ([]state.Entry, error)) error {
	known := h.Info()
	version, err := semver.StrictNewVersion(c.Version)
	if err != nil {
		return corrupt(c.ID, -1, "schema version %q is none", c.Version)
	}
	if err := state.CheckCompatible(state.Info{ID: c.ID, Type: c.Type, Version: version}, known); err != nil {
		return err
	}
	entries, err := next()
	if err != nil {
		return err
	}
	same := version.Equal(known.Version)
	if !same { // what is loaded is migrated, so what was stored is compared
		if err := compareDigest(c, state.DigestOf(entries)); err != nil {
			return err
		}
	}
	if err := h.Load(epoch, version, entries); err != nil {
		var wrong *state.EntryError
		if errors.As(err, &wrong) {
			return corrupt(c.ID, -1, "%v", err)
		}
		return err
	}
	if same {
		return compareDigest(c, h.Digest())
	}
	return nil
}

func compareDigest(c *Component, got state.Digest) error {
	if got == c.Digest {
		return nil
	}
	return corrupt(c.ID, -1, "digest of the entries is %s, the manifest says %s", got, c.Digest)
}
