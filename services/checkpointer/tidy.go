package checkpointer

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// tidy cleans up after a new checkpoint: it retires checkpoints that retention does not keep,
// and trims the logs below the oldest one that is left. If something fails, it is done after
// the next checkpoint. The merger sweeps the objects of retired checkpoints.
func (l *leader) tidy(ctx context.Context, app string) {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	err := l.retire(ctx, app)
	if err == nil {
		err = l.trim(ctx, app)
	}
	if err == nil {
		err = l.trimResults(ctx, app)
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("clean up after a checkpoint; the next checkpoint tries again", "app", app, "err", err)
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
func (l *leader) retire(ctx context.Context, app string) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil {
		return nil
	}
	old := surplus(a.Committed, l.s.cfg.RetentionCheckpoints, l.s.cfg.RetentionSpan, l.s.cfg.gapMax())
	if len(old) == 0 {
		return nil
	}
	faultpoint.Reach(faultpoint.RetireBefore)
	if _, err := l.propose(ctx, &command{Kind: kindRetire, App: app, Epochs: old}); err != nil {
		return fmt.Errorf("retire %d checkpoints: %w", len(old), err)
	}
	faultpoint.Reach(faultpoint.RetireDone)
	return nil
}

// trim deletes the part of the logs that no retained checkpoint needs. It keeps the barrier
// of the oldest one, which proves that the log is the same.
func (l *leader) trim(ctx context.Context, app string) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil || len(a.Committed) == 0 {
		return nil
	}
	for p := range a.Partitions {
		first := a.Committed[0].Barriers[p]
		for _, k := range a.Committed {
			first = min(first, k.Barriers[p])
		}
		stream, err := l.s.js.Stream(ctx, natsconn.WALStream(app, p))
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
		l.s.tally.trimmed(app, first-max(stream.CachedInfo().State.FirstSeq, 1))
		faultpoint.Reach(faultpoint.TrimDone)
	}
	return nil
}

// objectsOf returns the names of all objects that a manifest refers to.
func (l *leader) objectsOf(ctx context.Context, m *checkpoint.Manifest) ([]string, error) {
	var names []string
	for p := range m.Partitions {
		for _, c := range m.Partitions[p].Components {
			for i := range c.Runs {
				of, err := checkpoint.Objects(ctx, l.s.cfg.Store, &c.Runs[i])
				if err != nil {
					return nil, fmt.Errorf("partition %d, component %s: %w", p, c.ID, err)
				}
				names = append(names, of...)
			}
		}
	}
	return names, nil
}
