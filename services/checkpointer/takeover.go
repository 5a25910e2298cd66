package checkpointer

import (
	"context"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// startup is what a leader does before it serves requests: it checks that Raft is not older
// than the store, and takes over the apps of major version 0.
type startup struct {
	*leadership
	streams *streamKeeper
}

// errUncovered says that data of major version 0 cannot be taken over as it is.
var errUncovered = errors.New("the data is of version 0.x, and not all of it can be taken over")

// takeOver takes over the apps that a release of major version 0 deployed. Their logs have
// no semantics level, so this version never applies their frames: a checkpoint must cover
// each log to its end, and the deploy frame follows there. It runs before any request is
// served, so no other frame comes between. Either all apps are taken over, or nothing is
// written and the error says what to do with the old version.
func (st *startup) takeOver(ctx context.Context) error {
	for {
		err := st.tryTakeOver(ctx)
		if err == nil || errors.Is(err, errUncovered) || ctx.Err() != nil {
			return err
		}
		st.log.Warn("take over the apps of version 0.x; trying again", "err", err)
		if !pauseFor(ctx, projectRetry) {
			return ctx.Err()
		}
	}
}

func (st *startup) tryTakeOver(ctx context.Context) error {
	var commands []*command
	var uncovered []error
	for _, a := range st.cfg.FSM.apps() {
		if a.Level > 0 || a.Removing {
			continue
		}
		after, err := st.covered(ctx, a)
		if errors.Is(err, errUncovered) {
			uncovered = append(uncovered, err)
			continue
		}
		if err != nil {
			return err
		}
		commands = append(commands, &command{Kind: kindTakeOver, App: a.Name, Deploy: &control.App{
			Version: 1, Level: engine.Level, Build: st.cfg.Self.Version, Stamp: st.cfg.Now().UnixMilli(), After: after,
		}})
	}
	if len(uncovered) > 0 {
		return fmt.Errorf("%w; nothing was changed: start the version 0.x that ran here once more, without publishers, and stop it cleanly (Ctrl-C or SIGTERM: it makes a checkpoint of each app at its end; in a cluster, stop the ingests, run eventflux checkpoint trigger APP for each app, and stop the rest), then start this version", errors.Join(uncovered...))
	}
	for _, c := range commands {
		if _, err := st.propose(ctx, c); err != nil {
			return err
		}
		st.log.Info("app of version 0.x taken over; nothing before this point of its logs is replayed from now on", "app", c.App, "log_ends", c.Deploy.After)
	}
	for _, a := range st.cfg.FSM.apps() {
		if a.After == nil || a.Removing {
			continue
		}
		for _, err := range st.streams.startEach(ctx, a) {
			if lasting(err) {
				st.log.Error("the log of an app that was taken over from version 0.x has no deploy frame; its task halts", "app", a.Name, "err", err)
			} else if err != nil {
				return err
			}
		}
	}
	return nil
}

// lasting reports whether another attempt to append a deploy frame would fail with the same
// error.
func lasting(err error) bool {
	return errors.Is(err, wal.ErrForeign) || errors.Is(err, frame.ErrCorrupt) || errors.Is(err, jetstream.ErrMsgNotFound) || errors.Is(err, jetstream.ErrStreamNotFound)
}

// covered returns, by partition, where the logs of an app end, if its newest checkpoint is
// sound and covers all of them. Otherwise it fails with errUncovered.
func (st *startup) covered(ctx context.Context, a *appState) ([]uint64, error) {
	after := make([]uint64, a.Partitions)
	var newest *committed
	if n := len(a.Committed); n > 0 {
		newest = &a.Committed[n-1]
	}
	frames := false
	for p := range a.Partitions {
		stream, err := st.js.Stream(ctx, natsconn.WALStream(a.Name, p))
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("log of app %s, partition %d: %w", a.Name, p, err)
		}
		after[p] = stream.CachedInfo().State.LastSeq
		frames = frames || after[p] > 0
		switch {
		case after[p] == 0:
		case newest == nil:
			return nil, fmt.Errorf("%w: app %s has no checkpoint, and the log of its partition %d ends at %d", errUncovered, a.Name, p, after[p])
		case after[p] > newest.Barriers[p]:
			return nil, fmt.Errorf("%w: the newest checkpoint of app %s, %d, covers the log of partition %d to %d, and that ends at %d", errUncovered, a.Name, newest.Epoch, p, newest.Barriers[p], after[p])
		}
	}
	if !frames || newest == nil {
		return after, nil
	}
	return after, st.checkSound(ctx, a, newest)
}

// checkSound reads all of a checkpoint: it is the only one that the app can start from.
func (st *startup) checkSound(ctx context.Context, a *appState, k *committed) error {
	damaged := func(what any) error {
		return fmt.Errorf("%w: the newest checkpoint of app %s, %d, is damaged, and only version 0.x can make another from its log: %v", errUncovered, a.Name, k.Epoch, what)
	}
	m, err := checkpoint.ReadManifest(ctx, st.cfg.Store, k.Manifest, k.Digest)
	if errors.Is(err, checkpoint.ErrCorrupt) {
		return damaged(err)
	}
	if err != nil {
		return err
	}
	report, err := checkpoint.Verify(ctx, st.cfg.Store, m, 2)
	if err != nil {
		return err
	}
	if len(report.Problems) > 0 {
		p := report.Problems[0]
		return damaged(&checkpoint.CorruptError{Object: p.Object, What: p.What})
	}
	return nil
}
