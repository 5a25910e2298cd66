package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// A change with a backfill reads the logs from the oldest retained checkpoint on. From the entry
// in Raft on, retention keeps them from there, until every retained checkpoint lies after the
// change.

// backfill is a version that builds state from the logs.
type backfill struct {
	Version uint32   `json:"version"`
	First   []uint64 `json:"first_sequences"` // that it reads, by partition
}

// retains reports whether the logs are retained from these sequences on, whichever leader trims
// them.
func (a *appState) retains(first []uint64) bool {
	if len(first) != int(a.Partitions) {
		return false
	}
	for p := range first {
		if first[p] < a.oldestBarrier(p) {
			return false
		}
	}
	return true
}

// oldestBarrier returns the barrier of a partition's oldest retained checkpoint with the present
// number of partitions; 0 for none.
func (a *appState) oldestBarrier(p int) (barrier uint64) {
	for _, k := range a.Committed {
		if k.Generation >= a.Rescaled && p < len(k.Barriers) && (barrier == 0 || k.Barriers[p] < barrier) {
			barrier = k.Barriers[p]
		}
	}
	return barrier
}

// before reports whether a task that starts from the checkpoint may meet the frame of a version.
func (k *committed) before(version uint32) bool {
	return len(k.Versions) == 0 || slices.Min(k.Versions) < version
}

// forgetBackfills drops the backfills that no retained checkpoint lies before.
func (a *appState) forgetBackfills() {
	a.Backfills = slices.DeleteFunc(a.Backfills, func(b backfill) bool {
		return !slices.ContainsFunc(a.Committed, func(k committed) bool { return k.before(b.Version) })
	})
	if len(a.Backfills) == 0 {
		a.Backfills = nil
	}
}

// keptFor returns the first sequence that is kept of a partition's log, if checkpoints alone would
// keep it from sequence first on.
func (a *appState) keptFor(p uint32, first uint64) uint64 {
	for _, b := range a.Backfills {
		if int(p) < len(b.First) {
			first = min(first, b.First[p])
		}
	}
	return first
}

// readableFrom returns the first sequence of each log that a backfill can read: what follows the
// oldest retained checkpoint. It is 1 only if the app had no state before the log.
func (up *upgrader) readableFrom(ctx context.Context, a *appState) ([]uint64, error) {
	first := make([]uint64, a.Partitions)
	for p := range first {
		first[p] = a.oldestBarrier(p) + 1
		if len(a.After) > p { // frames of major version 0 are not applied
			first[p] = max(first[p], a.After[p]+1)
		}
		if a.From > 0 {
			first[p] = max(first[p], 2)
		}
	}
	return first, up.passSkipped(ctx, a, first)
}

// passSkipped moves the sequences past the records that a restore has skipped: later checkpoints
// do not name them any more.
func (up *upgrader) passSkipped(ctx context.Context, a *appState, first []uint64) error {
	generation := a.First
	for i := range a.Committed {
		k := &a.Committed[i]
		if k.Generation <= generation || k.Generation < a.Rescaled {
			continue
		}
		generation = k.Generation // this may be its first checkpoint, which names them
		m, err := checkpoint.ReadManifest(ctx, up.cfg.Store, k.Manifest, k.Digest)
		if err != nil {
			return failure(control.CodeUnavailable, "which records of the log are skipped is not known: checkpoint %d of app %s: %v; try again, or change the app without a backfill", k.Epoch, a.Name, err)
		}
		for p := range first {
			if p >= len(m.Partitions) {
				continue
			}
			for _, s := range m.Partitions[p].Skipped {
				first[p] = max(first[p], s.Sequence+1)
			}
		}
	}
	return nil
}

// backfillStarts looks up when the frames were stored that the logs are read from.
func (up *upgrader) backfillStarts(ctx context.Context, app string, first []uint64) ([]control.BackfillStart, error) {
	starts := make([]control.BackfillStart, len(first))
	for p := range starts {
		starts[p].Sequence = first[p]
		name := natsconn.WALStream(app, uint32(p))
		stream, err := up.js.Stream(ctx, name)
		if err != nil {
			return nil, fmt.Errorf("log %s: %w", name, err)
		}
		if oldest := stream.CachedInfo().State.FirstSeq; oldest > first[p] {
			return nil, failure(control.CodeUnavailable, "log %s starts at %d, and the backfill would read it from %d; a newer checkpoint has trimmed it in the meantime, so plan the change again", name, oldest, first[p])
		}
		m, err := stream.GetMsg(ctx, first[p])
		switch {
		case err == nil:
			starts[p].Time = m.Time
		case !errors.Is(err, jetstream.ErrMsgNotFound):
			return nil, fmt.Errorf("log %s, sequence %d: %w", name, first[p], err)
		}
	}
	return starts, nil
}

// startsText tells from where logs are read. Of several partitions, it is the latest time.
func startsText(starts []control.BackfillStart) string {
	latest := starts[0].Time
	for _, s := range starts {
		if s.Time.IsZero() || latest.IsZero() {
			latest = time.Time{}
			break
		}
		if s.Time.After(latest) {
			latest = s.Time
		}
	}
	when := "now"
	if !latest.IsZero() {
		when = latest.UTC().Format(time.RFC3339)
	}
	if len(starts) == 1 {
		return fmt.Sprintf("seq:%d (%s)", starts[0].Sequence, when)
	}
	return when + " at the latest, in all partitions"
}
