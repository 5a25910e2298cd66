package checkpointer

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

const (
	// scalePause bounds how long the logs of an app may be closed before the commit.
	scalePause = 5 * time.Minute
	scaleCut   = 2 * time.Minute  // and how long one checkpoint may take
	scaleTasks = 30 * time.Second // and how long a task may be away
	// scaleCuts is how many checkpoints may be necessary until all clocks are equal. One is
	// enough, two if a clock is ahead; the others are for epochs that are aborted.
	scaleCuts     = 10
	scaleParallel = 2
)

// scaler changes the number of partitions of apps. It owns the scalings in progress.
type scaler struct {
	*leadership
	coordinators *coordinators
	committer    *committer
	references   *references
	projection   *projection
	barriers     *barrierWriters
	streams      *streamKeeper
	upgrader     *upgrader
	reports      *reports
	scaling      sync.Map // scalingRun, by app
}

// scalingRun is a scaling that this leader carries out.
type scalingRun struct {
	step        atomic.Value // string
	read, total atomic.Int64
	stop        context.CancelCauseFunc
	leading     context.Context // ends with the leadership
}

// scaleOnce starts to carry out a scaling, unless that is already in progress.
func (sc *scaler) scaleOnce(ctx context.Context, app string) {
	limited, stop := context.WithCancelCause(ctx)
	run := &scalingRun{stop: stop}
	run.step.Store("starting")
	if _, under := sc.scaling.LoadOrStore(app, run); under {
		stop(nil)
		return
	}
	sc.work.Go(func() {
		defer stop(nil)
		defer sc.scaling.Delete(app)
		a := sc.cfg.FSM.app(app)
		if a == nil || a.Removing || a.Scaling == nil {
			return
		}
		if !a.Scaling.Committed {
			run.leading = ctx
			err := sc.divideApp(limited, app, run)
			if ctx.Err() != nil {
				return // the next leader starts again, or completes it
			}
			if err != nil {
				sc.abandon(ctx, app, err)
				return
			}
		}
		run.step.Store("opening the logs")
		sc.untilDone(ctx, app, "complete a scaling", sc.completeScaling)
	})
}

// abandon opens the logs again, and ends a scaling that could not be committed.
func (sc *scaler) abandon(ctx context.Context, app string, why error) {
	sc.log.Warn("an app is not scaled; it goes on as it was", "app", app, "reason", why)
	sc.untilDone(ctx, app, "open the logs of an app that was not scaled", func(ctx context.Context, app string) error {
		done, err := sc.streams.turn(ctx, app)
		if err != nil {
			return err
		}
		defer done()
		a := sc.cfg.FSM.app(app)
		if a == nil || a.Scaling == nil || a.Scaling.Committed {
			return nil
		}
		if err := sc.cfg.Raft.VerifyLeader(ctx); err != nil {
			return err // another leader may be dividing the app
		}
		if err := sc.streams.openLogs(ctx, a); err != nil {
			return err
		}
		if _, err := sc.propose(ctx, &command{Kind: kindScaled, App: app, Upgrade: &control.Version{Number: a.Scaled.Number}, Reason: why.Error()}); err != nil {
			return err
		}
		return sc.projection.project(ctx)
	})
}

// openLogs opens all logs of an app, under the subject that its number of partitions has.
func (sk *streamKeeper) openLogs(ctx context.Context, a *appState) error {
	return eachPartition(a.Partitions, func(p uint32) error {
		return natsconn.OpenWAL(ctx, sk.js, a.Name, p, a.Scalings)
	})
}

func eachPartition(partitions uint32, do func(p uint32) error) error {
	var group errgroup.Group
	group.SetLimit(startedAtOnce)
	for p := range partitions {
		group.Go(func() error { return do(p) })
	}
	return group.Wait()
}

// divideApp takes a scaling up to its commit.
func (sc *scaler) divideApp(ctx context.Context, app string, run *scalingRun) error {
	ctx, cancel := context.WithTimeoutCause(ctx, scalePause, fmt.Errorf("the logs may be closed for at most %s", scalePause))
	defer cancel()
	err := sc.tryDivide(ctx, app, run)
	if err != nil && ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	return err
}

func (sc *scaler) tryDivide(ctx context.Context, app string, run *scalingRun) error {
	run.step.Store("pausing intake")
	if err := sc.projection.project(ctx); err != nil {
		return err
	}
	sc.awaitPaused(ctx, app)
	faultpoint.Reach(faultpoint.ScalePaused)
	a := sc.cfg.FSM.app(app)
	if a == nil || a.Removing {
		return removed(app)
	}
	run.step.Store("closing the logs")
	if err := sc.streams.closeLogs(ctx, a); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.ScaleClosed)
	run.step.Store("making a checkpoint")
	for range scaleCuts {
		if a := sc.cfg.FSM.app(app); a == nil || a.Scaling == nil || a.Scaling.Committed {
			return nil // this leader has committed what a former one had stored
		}
		m, err := sc.lastSnapshot(ctx, a)
		if err != nil {
			return err
		}
		if m == nil {
			continue
		}
		faultpoint.Reach(faultpoint.ScaleCut)
		again, err := sc.startScaled(ctx, a, m, run)
		if err != nil || !again {
			return err
		}
	}
	return fmt.Errorf("%d checkpoints were not enough for the clocks of all partitions to be equal; eventflux checkpoint ls %s shows them", scaleCuts, app)
}

// closeLogs closes all logs of an app. The turn makes it wait for another goroutine that is about to open them.
func (sk *streamKeeper) closeLogs(ctx context.Context, a *appState) error {
	done, err := sk.turn(ctx, a.Name)
	if err != nil {
		return err
	}
	defer done()
	return eachPartition(a.Partitions, func(p uint32) error { return natsconn.CloseWAL(ctx, sk.js, a.Name, p) })
}

// awaitPaused waits until no ingest accepts events for the app any more, for stopWait at most:
// what an ingest still sends after that is refused by the closed logs.
func (sc *scaler) awaitPaused(ctx context.Context, app string) {
	for end := time.Now().Add(stopWait); time.Now().Before(end); {
		if _, _, heardAll := sc.reports.processors.alive(time.Now()); heardAll && sc.reports.ingests.paused(app, time.Now()) {
			return
		}
		if !pauseFor(ctx, stopPause) {
			return
		}
	}
}

// paused reports whether all ingests that serve an app have paused it.
func (in *ingests) paused(app string, now time.Time) bool {
	for _, one := range in.alive(now) {
		if s, serves := one.apps[app]; serves && !s.Paused {
			return false
		}
	}
	return true
}

// completeScaling puts the frame of the new version into all logs, opens them, and records that
// in Raft. Tasks of the former number of partitions stop at the frame.
func (sc *scaler) completeScaling(ctx context.Context, app string) error {
	done, err := sc.streams.turn(ctx, app)
	if err != nil {
		return err
	}
	defer done()
	a := sc.cfg.FSM.app(app)
	if a == nil || a.Removing || a.Scaling == nil || !a.Scaling.Committed {
		return nil
	}
	// The state of the new generation knows no writers, so theirs end here.
	sc.barriers.drop(app, a.streams())
	v := a.newest()
	d := deployment(&a.App, v)
	if err := eachPartition(a.Partitions, func(p uint32) error {
		stream, err := sc.js.Stream(ctx, natsconn.WALStream(app, p))
		if err != nil {
			return err
		}
		if slices.Equal(stream.CachedInfo().Config.Subjects, []string{natsconn.RoutedSubject(app, p, a.Scalings)}) {
			return nil // it is open already, after the frame
		}
		if err := natsconn.CloseWAL(ctx, sc.js, app, p); err != nil {
			return err
		}
		return d.AppendClosed(ctx, sc.js, p)
	}); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.ScaleFrames)
	if err := sc.streams.openLogs(ctx, a); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.ScaleOpened)
	if _, err := sc.propose(ctx, &command{Kind: kindScaled, App: app, Upgrade: &control.Version{Number: v.Number}}); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.ScaleDone)
	sc.log.Info("app is scaled, and its logs are open", "app", app, "partitions", a.Partitions)
	sc.nudge()
	return sc.projection.project(ctx)
}
