package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Problem is one kind of damage.
type Problem struct {
	Object    string // name in the store, or the component's id
	Component string // partition/id
	What      string
}

// Report is what Verify found.
type Report struct {
	Runs, Blocks   int
	Entries, Bytes int64 // bytes uncompressed
	Problems       []Problem
}

// Verify reads everything that a manifest refers to, and names the damage: checksums,
// hashes, counts, and the digest of each component. An error means that it could not
// finish.
func Verify(ctx context.Context, s store.Store, m *Manifest, workers int) (Report, error) {
	var r Report
	s = SharedReads(s, m.Chains()...)
	for p := range m.Partitions {
		for c := range m.Partitions[p].Components {
			component := &m.Partitions[p].Components[c]
			for i := range component.Runs {
				run := &component.Runs[i]
				r.Runs, r.Blocks, r.Entries, r.Bytes = r.Runs+1, r.Blocks+run.Blocks, r.Entries+run.Entries, r.Bytes+run.RawBytes
			}
			entries, err := LoadChain(ctx, s, component.Runs, workers)
			if err == nil {
				err = compareDigest(component, state.DigestOf(entries))
			}
			if err := r.record(fmt.Sprintf("%d/%s", p, component.ID), err); err != nil {
				return r, err
			}
		}
	}
	return r, nil
}

// record adds damage to the report, and returns any other error.
func (r *Report) record(component string, err error) error {
	var wrong *CorruptError
	if !errors.As(err, &wrong) {
		return err
	}
	what := wrong.What
	if wrong.Offset >= 0 {
		what = fmt.Sprintf("%s (at byte %d)", what, wrong.Offset)
	}
	r.Problems = append(r.Problems, Problem{wrong.Object, component, what})
	return nil
}
