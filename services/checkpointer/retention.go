package checkpointer

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// retention deletes what retention does not keep: checkpoints in Raft, the start of logs,
// and results. Mergers sweep the objects of retired checkpoints.
type retention struct {
	*leadership
	tally   *tally
	streams *streamKeeper
	tidying sync.Mutex
	// compactAt has, by output stream, the sequence that its end has to reach before compact
	// looks at its subjects again.
	compactAt map[string]uint64
}

// tidy cleans up after a new checkpoint: it retires checkpoints that retention does not keep,
// and trims the logs below the oldest one that is left. If something fails, it is done after
// the next checkpoint. The merger sweeps the objects of retired checkpoints.
func (rt *retention) tidy(ctx context.Context, app string) {
	rt.tidying.Lock()
	defer rt.tidying.Unlock()
	err := rt.retire(ctx, app)
	if err == nil {
		err = rt.trim(ctx, app)
	}
	if err == nil {
		err = rt.trimResults(ctx, app)
	}
	if err != nil && ctx.Err() == nil {
		rt.log.Warn("clean up after a checkpoint; the next checkpoint tries again", "app", app, "err", err)
	}
}

// surplus returns the epochs that retention does not keep, oldest first. Age is the sum of
// the times between checkpoints, each at most gapMax. So a clock that was set forward does
// not make checkpoints old, and a clock that was set back does not keep them young.
func surplus(all []committed, keep int, span, gapMax time.Duration) []state.Epoch {
	var epochs []state.Epoch
	var age time.Duration
	for i := len(all) - 2; i >= 0; i-- {
		age += min(max(0, all[i+1].Time.Sub(all[i].Time)), gapMax)
		if len(all)-i > keep && age > span {
			epochs = append(epochs, all[i].Epoch)
		}
	}
	slices.Reverse(epochs)
	return epochs
}

// gapMax is the longest time between two checkpoints that counts in full. It allows for one
// aborted checkpoint between them.
func (c *Config) gapMax() time.Duration { return 2 * (c.Interval + c.Timeout) }

// retire retires surplus checkpoints in Raft.
func (rt *retention) retire(ctx context.Context, app string) error {
	a := rt.cfg.FSM.app(app)
	if a == nil {
		return nil
	}
	old := surplus(a.Committed, rt.cfg.RetentionCheckpoints, rt.cfg.RetentionSpan, rt.cfg.gapMax())
	old = slices.DeleteFunc(old, a.shadowStartsAt)
	if len(old) == 0 {
		return nil
	}
	faultpoint.Reach(faultpoint.RetireBefore)
	if _, err := rt.propose(ctx, &command{Kind: kindRetire, App: app, Epochs: old}); err != nil {
		return fmt.Errorf("retire %d checkpoints: %w", len(old), err)
	}
	faultpoint.Reach(faultpoint.RetireDone)
	return nil
}

// trim deletes the part of the logs that no retained checkpoint needs. It keeps the barrier
// of the oldest one, which proves that the log is the same, and what a backfill after it reads.
func (rt *retention) trim(ctx context.Context, app string) error {
	a := rt.cfg.FSM.app(app)
	if a == nil || len(a.Committed) == 0 {
		return nil
	}
	for p := range a.streams() {
		first, needed := uint64(math.MaxUint64), false
		for _, k := range a.Committed {
			if int(p) < len(k.Barriers) {
				first, needed = min(first, k.Barriers[p]), true
			}
		}
		first = a.keptFor(p, first)
		if !needed { // the app had this partition, and no checkpoint has it any more
			continue
		}
		stream, err := rt.js.Stream(ctx, natsconn.WALStream(app, p))
		if err != nil {
			return fmt.Errorf("trim %s: %w", natsconn.WALStream(app, p), err)
		}
		if stream.CachedInfo().State.FirstSeq >= first {
			continue
		}
		faultpoint.Reach(faultpoint.TrimBefore)
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(first)); err != nil {
			return fmt.Errorf("trim %s below %d: %w", natsconn.WALStream(app, p), first, err)
		}
		rt.tally.trimmed(app, first-max(stream.CachedInfo().State.FirstSeq, 1))
		faultpoint.Reach(faultpoint.TrimDone)
	}
	return nil
}
