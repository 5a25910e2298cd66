package checkpointer

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// restorer carries out restores, one at a time.
type restorer struct {
	*leadership
	coordinators *coordinators
	committer    *committer
	references   *references
	upgrader     *upgrader
	projection   *projection
	restores     chan restore
}

// restore is a request to restore an app. The leader carries out one at a time.
type restore struct {
	request *control.RestoreRequest
	adopt   *control.AdoptRequest // instead of request
	done    chan<- restored       // has room for one
}

type restored struct {
	answer control.Restored
	err    error
}

func (rs *restorer) restore(ctx context.Context, r *control.RestoreRequest) (any, error) {
	return rs.inTurn(ctx, restore{request: r})
}

// inTurn queues a restore and waits until the leader has carried it out.
func (rs *restorer) inTurn(ctx context.Context, r restore) (any, error) {
	done := make(chan restored, 1)
	r.done = done
	select {
	case rs.restores <- r:
	case <-rs.done:
		return nil, failure(control.CodeUnavailable, "the leader changed; ask again")
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case d := <-done:
		return d.answer, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// release makes an app that is held continue.
func (s *Service) release(ctx context.Context, l *leader, r *control.AppRequest) (any, error) {
	if _, err := s.cfg.FSM.known(r.App); err != nil {
		return nil, err
	}
	if _, err := l.propose(ctx, &command{Kind: kindRelease, App: r.App}); err != nil {
		return nil, err
	}
	l.nudge()
	if err := l.projection.project(ctx); err != nil {
		return nil, err
	}
	return s.app(ctx, l, r)
}

// keepRestoring carries out restores until ctx ends.
func (rs *restorer) keepRestoring(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-rs.restores:
			answer, err := rs.carryOut(ctx, &r)
			if err != nil && ctx.Err() != nil {
				err = failure(control.CodeUnavailable, "the leader changed; eventflux app ls shows whether the generation has changed too")
			}
			r.done <- restored{answer, err}
		}
	}
}

func (rs *restorer) carryOut(ctx context.Context, r *restore) (answer control.Restored, err error) {
	request, adopted := r.request, state.Epoch(0)
	if r.adopt != nil {
		if done, ok, err := rs.repeated(ctx, r.adopt.App, r.adopt.ID); ok || err != nil {
			return done, err
		}
		if request, adopted, err = rs.adoption(ctx, r.adopt); err != nil {
			return answer, err
		}
	}
	return rs.commit(ctx, request, adopted)
}

// repeated returns the result of a request that was carried out before. The leader of that
// time may have died before it answered, or even with the epoch open.
func (rs *restorer) repeated(ctx context.Context, app, id string) (done control.Restored, ok bool, err error) {
	a := rs.cfg.FSM.app(app)
	if a == nil || id == "" {
		return done, false, nil
	}
	if a.Open != nil && a.Open.Restore != nil && a.Open.Restore.ID == id {
		if _, err := rs.coordinators.ask(ctx, app, message{kind: msgPause}); err != nil {
			return done, false, err
		}
		rs.coordinators.goOn(app) // the epoch is decided
		if a = rs.cfg.FSM.app(app); a == nil {
			return done, false, nil
		}
	}
	done, ok = a.restored(id)
	return done, ok, nil
}

// commit commits a checkpoint that starts a new generation. The app keeps running until the
// commit. Then its tasks lose their assignments, and new ones load the checkpoint.
func (rs *restorer) commit(ctx context.Context, r *control.RestoreRequest, adopted state.Epoch) (answer control.Restored, err error) {
	if done, ok, err := rs.repeated(ctx, r.App, r.ID); ok || err != nil {
		return done, err
	}
	m, err := rs.manifestOf(ctx, r)
	if err != nil {
		return answer, err
	}
	kept, err := rs.upgrader.keepVersion(ctx, r, m)
	if err != nil {
		return answer, err
	}
	objects, err := rs.references.objects(ctx, m)
	if err != nil {
		return answer, err
	}
	if _, err := rs.coordinators.ask(ctx, r.App, message{kind: msgPause}); err != nil {
		return answer, err
	}
	defer rs.coordinators.goOn(r.App)
	faultpoint.Reach(faultpoint.RestorePaused)
	a := rs.cfg.FSM.app(r.App)
	if a == nil || a.Removing {
		return answer, removed(r.App)
	}
	m.Generation, m.Epoch, m.Term, m.Time = a.Generation+1, a.Newest+1, rs.termOf(r.App), rs.cfg.Now().UTC()
	open := &command{Kind: kindOpen, App: r.App, Epoch: m.Epoch, Term: m.Term, Time: m.Time, Upgrade: kept, Restore: &restoredAs{ID: r.ID, Restored: control.Restored{Adopted: adopted}}}
	_, _ = rand.Read(open.ID[:]) // never fails
	if _, err := rs.propose(ctx, open); err != nil {
		return answer, fmt.Errorf("open epoch %d: %w", m.Epoch, err)
	}
	if a = rs.cfg.FSM.app(r.App); a == nil {
		return answer, removed(r.App)
	}
	faultpoint.Reach(faultpoint.RestoreOpen)
	err = rs.references.putAgain(ctx, a, m)
	if err == nil {
		faultpoint.Reach(faultpoint.RestoreUsed)
		err = rs.committer.putManifest(ctx, m, objects)
	}
	if err != nil {
		rs.until(ctx, r.App, msgAborted, func() error {
			_, err := rs.propose(ctx, &command{Kind: kindAbort, App: r.App, Epoch: m.Epoch, Reason: "the app could not be restored"})
			return err
		})
		return answer, err
	}
	faultpoint.Reach(faultpoint.RestoreStored)
	// The manifest is in the store, so this leader or the next one commits it.
	done := rs.until(ctx, r.App, msgCommitted, func() error { return rs.committer.commit(ctx, r.App, m.Epoch) })
	if ctx.Err() != nil {
		return answer, ctx.Err()
	}
	if done.kind == "" {
		return answer, removed(r.App)
	}
	faultpoint.Reach(faultpoint.RestoreDone)
	rs.log.Info("app restored", "app", r.App, "generation", m.Generation, "epoch", m.Epoch, "from", r.Epoch)
	rs.nudge()
	if err := rs.projection.project(ctx); err != nil {
		rs.log.Warn("write the cluster's bucket", "err", err)
	}
	answer = control.Restored{Generation: m.Generation, Epoch: m.Epoch, Adopted: adopted}
	if kept != nil {
		answer.Version = kept.Number
	}
	return answer, nil
}

// manifestOf returns the manifest that a restore asks for. The caller sets its generation,
// epoch, term and time.
func (rs *restorer) manifestOf(ctx context.Context, r *control.RestoreRequest) (*checkpoint.Manifest, error) {
	k, err := rs.cfg.FSM.ref(&control.CheckpointRequest{App: r.App, Epoch: r.Epoch})
	if err != nil {
		return nil, err
	}
	m, err := checkpoint.ReadManifest(ctx, rs.cfg.Store, k.Manifest, k.Digest)
	if errors.Is(err, checkpoint.ErrCorrupt) {
		return nil, failure(control.CodeInvalid, "checkpoint %d of app %s cannot be used: %v; eventflux checkpoint ls %[2]s lists others", k.Epoch, r.App, err)
	}
	if err != nil {
		return nil, err
	}
	if a := rs.cfg.FSM.app(r.App); a != nil && k.Generation < a.Rescaled {
		return nil, failure(control.CodeInvalid, "checkpoint %d of app %s is from before the app was scaled from %d partitions; its state can be looked at, but not restored. eventflux app scale %[2]s --partitions %[3]d goes back to that number, with the state as it is now", k.Epoch, r.App, len(m.Partitions))
	}
	switch r.After {
	case "", control.Resume:
		m.Hold = false
	case control.Hold:
		m.Hold = true
	default:
		return nil, failure(control.CodeInvalid, "after a restore an app can %s or %s, not %q", control.Resume, control.Hold, r.After)
	}
	for i := range m.Partitions {
		p := &m.Partitions[i]
		p.Output.Positions = map[string]string{} // the new generation has no results yet
	}
	for _, start := range r.Starts {
		if int(start.Partition) >= len(m.Partitions) || start.Sequence < m.Partitions[start.Partition].Log.Sequence {
			return nil, failure(control.CodeInvalid, "partition %d cannot start at %d of its log: it is before the barrier of checkpoint %d, or there is no such partition", start.Partition, start.Sequence, k.Epoch)
		}
		m.Partitions[start.Partition].Start = &checkpoint.Start{Sequence: start.Sequence, Event: start.Event}
	}
	for p, skipped := range r.Skipped {
		if int(p) >= len(m.Partitions) {
			return nil, failure(control.CodeInvalid, "app %s has no partition %d", r.App, p)
		}
		part := &m.Partitions[p]
		part.Skipped = append(part.Skipped, skipped...)
		slices.SortFunc(part.Skipped, func(a, b checkpoint.Skipped) int { return cmp.Compare(a.Sequence, b.Sequence) })
		part.Skipped = slices.Compact(part.Skipped)
		if what := part.Wrong(); what != "" {
			return nil, failure(control.CodeInvalid, "partition %d: %s", p, what)
		}
	}
	for p, components := range r.Components {
		if int(p) >= len(m.Partitions) {
			return nil, failure(control.CodeInvalid, "app %s has no partition %d", r.App, p)
		}
		for _, c := range components {
			have := m.Partitions[p].Components
			i := slices.IndexFunc(have, func(x checkpoint.Component) bool { return x.ID == c.ID })
			if i < 0 {
				return nil, failure(control.CodeInvalid, "partition %d of app %s has no component %q; eventflux state ls %[2]s lists them", p, r.App, c.ID)
			}
			have[i] = c
		}
	}
	return m, nil
}
