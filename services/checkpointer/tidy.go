package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eventflux/shared/bus"
	"eventflux/shared/checkpoint"
	"eventflux/shared/state"
	"eventflux/shared/store"
)

const (
	sweepEvery = time.Minute
	// sweepGrace is how long an object that nothing refers to is left alone: it may
	// belong to the epoch under way, or to one of a task that does not know yet that it
	// was aborted.
	sweepGrace = 10 * time.Minute
)

// tidy does what a new checkpoint allows: it retires those that retention does not keep,
// trims the logs below the oldest that is left, and sweeps the store. What fails is done
// after the next checkpoint.
func (l *leader) tidy(ctx context.Context, app string) {
	l.tidying.Lock()
	defer l.tidying.Unlock()
	err := l.retire(ctx, app)
	if err == nil {
		err = l.trim(ctx, app)
	}
	if err == nil && time.Since(l.swept) >= sweepEvery {
		l.swept = time.Now()
		err = l.sweep(ctx)
	}
	if err != nil && ctx.Err() == nil {
		l.log.Warn("tidy up behind a checkpoint; the next one tries again", "app", app, "err", err)
	}
}

// surplus returns the epochs that retention does not keep.
func surplus(all []committed, keep int, span time.Duration) []state.Epoch {
	var epochs []state.Epoch
	for i, k := range all {
		newest := all[len(all)-1]
		if len(all)-i > keep && newest.Time.Sub(k.Time) > span {
			epochs = append(epochs, k.Epoch)
		}
	}
	return epochs
}

// retire forgets checkpoints in Raft, and then deletes their manifests.
func (l *leader) retire(ctx context.Context, app string) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil {
		return nil
	}
	old := surplus(a.Committed, l.s.cfg.RetentionCheckpoints, l.s.cfg.RetentionSpan)
	if len(old) == 0 {
		return nil
	}
	if _, err := l.propose(ctx, &command{Kind: kindRetire, App: app, Epochs: old}); err != nil {
		return fmt.Errorf("retire %d checkpoints: %w", len(old), err)
	}
	for _, epoch := range old {
		if err := l.s.cfg.Store.Delete(ctx, checkpoint.ManifestName(app, epoch), time.Time{}); err != nil {
			return err
		}
	}
	return nil
}

// trim drops what no retained checkpoint needs of the logs. The barrier of the oldest
// stays: it is what proves that the log is the same.
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
		stream, err := l.s.js.Stream(ctx, bus.WALStream(app, p))
		if err != nil {
			return fmt.Errorf("trim %s: %w", bus.WALStream(app, p), err)
		}
		if stream.CachedInfo().State.FirstSeq >= first {
			continue
		}
		if err := stream.Purge(ctx, jetstream.WithPurgeSequence(first)); err != nil {
			return fmt.Errorf("trim %s below %d: %w", bus.WALStream(app, p), first, err)
		}
		l.s.tally.trimmed(app, first-max(stream.CachedInfo().State.FirstSeq, 1))
	}
	return nil
}

// objectsOf returns the names of all data that a manifest refers to.
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

// sweep deletes the objects that no retained checkpoint refers to. What cannot be read
// stops it: better garbage than a hole.
func (l *leader) sweep(ctx context.Context) error {
	live := map[string]bool{}
	for _, a := range l.s.cfg.FSM.apps() {
		for _, k := range a.Committed {
			live[k.Manifest] = true
			m, err := checkpoint.ReadManifest(ctx, l.s.cfg.Store, k.Manifest, k.Digest)
			if err != nil {
				return fmt.Errorf("sweep: checkpoint %d of %s: %w; see eventflux checkpoint verify %[2]s %[1]d", k.Epoch, a.Name, err)
			}
			names, err := l.objectsOf(ctx, m)
			if err != nil {
				return fmt.Errorf("sweep: checkpoint %d of %s: %w; see eventflux checkpoint verify %[2]s %[1]d", k.Epoch, a.Name, err)
			}
			for _, name := range names {
				live[name] = true
			}
		}
		if a.Open != nil {
			live[checkpoint.ManifestName(a.Name, a.Open.Epoch)] = true
		}
	}
	before := time.Now().Add(-max(sweepGrace, 2*l.s.cfg.Timeout))
	var dead []string
	err := l.s.cfg.Store.List(ctx, "", func(o store.Object) error {
		ours := strings.HasPrefix(o.Name, "runs/") || strings.HasPrefix(o.Name, "blocks/") || strings.HasPrefix(o.Name, "apps/")
		if ours && !live[o.Name] && o.Used.Before(before) {
			dead = append(dead, o.Name)
		}
		return nil
	})
	var errs []error
	for _, name := range dead {
		errs = append(errs, l.s.cfg.Store.Delete(ctx, name, before))
	}
	if len(dead) > 0 {
		l.log.Info("swept the store", "objects", len(dead))
	}
	return errors.Join(append(errs, err)...)
}
