package checkpointer

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// lastSnapshot makes a checkpoint of an app whose logs are closed, and returns its manifest if all
// clocks are equal in it. Otherwise it moves the clocks to the largest one, in the logs.
func (sc *scaler) lastSnapshot(ctx context.Context, a *appState) (*checkpoint.Manifest, error) {
	if err := sc.awaitTasks(ctx, a.Name); err != nil {
		return nil, err
	}
	limited, cancel := context.WithTimeoutCause(ctx, scaleCut, fmt.Errorf("no checkpoint within %s", scaleCut))
	defer cancel()
	watched, stop := context.WithCancelCause(limited)
	defer stop(nil)
	sc.work.Go(func() { sc.watchTasks(watched, a.Name, stop) })
	o, err := sc.coordinators.ask(watched, a.Name, message{kind: msgTrigger})
	if watched.Err() != nil {
		return nil, context.Cause(watched)
	}
	if err != nil {
		return nil, err
	}
	if !o.Committed {
		sc.log.Warn("the checkpoint for a scaling was aborted; trying again", "app", a.Name, "epoch", o.Epoch, "reason", o.Reason)
		if !pauseFor(ctx, projectRetry) {
			return nil, ctx.Err()
		}
		return nil, nil
	}
	k, err := sc.cfg.FSM.ref(&control.CheckpointRequest{App: a.Name, Epoch: o.Epoch})
	if err != nil {
		return nil, nil // a newer one has replaced it
	}
	m, err := checkpoint.ReadManifest(ctx, sc.cfg.Store, k.Manifest, k.Digest)
	if err != nil {
		return nil, err
	}
	clock, equal := m.Partitions[0].Clock, true
	for i := range m.Partitions {
		equal = equal && m.Partitions[i].Clock == m.Partitions[0].Clock
		clock = max(clock, m.Partitions[i].Clock)
	}
	if equal {
		return m, nil
	}
	return nil, sc.moveClocks(a, clock)
}

// moveClocks moves the clocks of all partitions to ms clock.
func (sc *scaler) moveClocks(a *appState, clock int64) error {
	plan, err := siddhiql.CompileDeployed(a.newest().Text)
	if err != nil {
		return err
	}
	tick := frame.Frame{Header: frame.Header{Kind: frame.Tick, Stamp: max(clock, 0)}}
	if plan.Playback { // the input clock is ahead by the lateness
		tick.Stamp, tick.HasClock, tick.Clock = sc.cfg.Now().UnixMilli(), true, clock
		if plan.Lateness > 0 && clock != window.NoTime {
			tick.Clock += plan.Lateness
		}
	}
	ended := make(chan error, a.Partitions)
	for p := range a.Partitions {
		if err := sc.barriers.tick(a.logOf(p), &tick, ended); err != nil {
			return fmt.Errorf("partition %d: %w", p, err)
		}
	}
	for range a.Partitions {
		select {
		case err = <-ended:
			if err != nil {
				return err
			}
		case <-time.After(barrierTimeout):
			return fmt.Errorf("the log accepted no tick for %s", barrierTimeout)
		}
	}
	return nil
}

// awaitTasks waits until all tasks of an app run. A task that ends while the logs are closed
// starts again: it may read them.
func (sc *scaler) awaitTasks(ctx context.Context, app string) error {
	for end := time.Now().Add(scaleTasks); ; {
		missing, err := sc.lacks(app)
		switch {
		case err != nil || len(missing) == 0:
			return err
		case time.Now().After(end):
			return awayError(missing)
		case !pauseFor(ctx, stopPause):
			return ctx.Err()
		}
	}
}

// watchTasks cancels the checkpoint for a scaling if a task halts, or is away for long.
func (sc *scaler) watchTasks(ctx context.Context, app string, cancel context.CancelCauseFunc) {
	for since := time.Now(); pauseFor(ctx, placeEvery); {
		missing, err := sc.lacks(app)
		switch {
		case err != nil:
			cancel(err)
		case len(missing) == 0:
			since = time.Now()
		case time.Since(since) > scaleTasks:
			cancel(awayError(missing))
		}
	}
}

func awayError(missing []string) error {
	return fmt.Errorf("not all tasks run within %s: %s", scaleTasks, strings.Join(missing, "; "))
}

// lacks returns which tasks of an app that is being scaled do not run. It fails if one of them
// has halted.
func (sc *scaler) lacks(app string) ([]string, error) {
	a := sc.cfg.FSM.app(app)
	if a == nil || a.Removing || a.Scaling == nil || a.Scaling.Committed {
		return nil, nil
	}
	sc.reports.addStates(a)
	if slices.ContainsFunc(a.Owners, func(o control.Owner) bool { return o.State == control.TaskHalted }) {
		return nil, fmt.Errorf("a task has halted; eventflux doctor says why and what to do")
	}
	able, _, heardAll := sc.reports.processors.alive(time.Now())
	if !heardAll {
		return []string{"the checkpointer has just become the leader and does not know all processors yet"}, nil
	}
	return missingTasks(a, len(able)), nil
}
