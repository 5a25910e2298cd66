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
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

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

func (s *Service) restore(ctx context.Context, l *leader, r *control.RestoreRequest) (any, error) {
	return l.inTurn(ctx, restore{request: r})
}

// inTurn queues a restore and waits until the leader has carried it out.
func (l *leader) inTurn(ctx context.Context, r restore) (any, error) {
	done := make(chan restored, 1)
	r.done = done
	select {
	case l.restores <- r:
	case <-l.done:
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
	if _, err := s.known(r.App); err != nil {
		return nil, err
	}
	if _, err := l.propose(ctx, &command{Kind: kindRelease, App: r.App}); err != nil {
		return nil, err
	}
	l.goOn(r.App)
	l.nudge()
	if err := l.project(ctx); err != nil {
		return nil, err
	}
	return s.app(ctx, l, r)
}

// keepRestoring carries out restores until ctx ends.
func (l *leader) keepRestoring(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case r := <-l.restores:
			answer, err := l.carryOut(ctx, &r)
			if err != nil && ctx.Err() != nil {
				err = failure(control.CodeUnavailable, "the leader changed; eventflux app ls shows whether the generation has changed too")
			}
			r.done <- restored{answer, err}
		}
	}
}

func (l *leader) carryOut(ctx context.Context, r *restore) (answer control.Restored, err error) {
	request, adopted := r.request, state.Epoch(0)
	if r.adopt != nil {
		if done, ok, err := l.repeated(ctx, r.adopt.App, r.adopt.ID); ok || err != nil {
			return done, err
		}
		if request, adopted, err = l.adoption(ctx, r.adopt); err != nil {
			return answer, err
		}
	}
	return l.restore(ctx, request, adopted)
}

// repeated returns the result of a request that was carried out before. The leader of that
// time may have died before it answered, or even with the epoch open.
func (l *leader) repeated(ctx context.Context, app, id string) (done control.Restored, ok bool, err error) {
	a := l.s.cfg.FSM.app(app)
	if a == nil || id == "" {
		return done, false, nil
	}
	if a.Open != nil && a.Open.Restore != nil && a.Open.Restore.ID == id {
		if _, err := l.ask(ctx, app, message{kind: msgPause}); err != nil {
			return done, false, err
		}
		l.goOn(app) // the epoch is decided
		if a = l.s.cfg.FSM.app(app); a == nil {
			return done, false, nil
		}
	}
	done, ok = a.restored(id)
	return done, ok, nil
}

// restore commits a checkpoint that starts a new generation. The app keeps running until the
// commit. Then its tasks lose their assignments, and new ones load the checkpoint.
func (l *leader) restore(ctx context.Context, r *control.RestoreRequest, adopted state.Epoch) (answer control.Restored, err error) {
	if done, ok, err := l.repeated(ctx, r.App, r.ID); ok || err != nil {
		return done, err
	}
	m, err := l.manifestOf(ctx, r)
	if err != nil {
		return answer, err
	}
	objects, err := l.objectsOf(ctx, m)
	if err != nil {
		return answer, err
	}
	if _, err := l.ask(ctx, r.App, message{kind: msgPause}); err != nil {
		return answer, err
	}
	defer l.goOn(r.App)
	faultpoint.Reach(faultpoint.RestorePaused)
	a := l.s.cfg.FSM.app(r.App)
	if a == nil || a.Removing {
		return answer, removed(r.App)
	}
	m.Generation, m.Epoch, m.Term, m.Time = a.Generation+1, a.Newest+1, l.termOf(r.App), l.s.cfg.Now().UTC()
	open := &command{Kind: kindOpen, App: r.App, Epoch: m.Epoch, Term: m.Term, Time: m.Time, Restore: &restoredAs{ID: r.ID, Restored: control.Restored{Adopted: adopted}}}
	_, _ = rand.Read(open.ID[:]) // never fails
	if _, err := l.propose(ctx, open); err != nil {
		return answer, fmt.Errorf("open epoch %d: %w", m.Epoch, err)
	}
	if a = l.s.cfg.FSM.app(r.App); a == nil {
		return answer, removed(r.App)
	}
	faultpoint.Reach(faultpoint.RestoreOpen)
	err = l.useAgain(ctx, a, m)
	if err == nil {
		faultpoint.Reach(faultpoint.RestoreUsed)
		err = l.storeRestored(ctx, m, objects)
	}
	if err != nil {
		l.until(ctx, r.App, msgAborted, func() error {
			_, err := l.propose(ctx, &command{Kind: kindAbort, App: r.App, Epoch: m.Epoch, Reason: "the app could not be restored"})
			return err
		})
		return answer, err
	}
	faultpoint.Reach(faultpoint.RestoreStored)
	// The manifest is in the store, so this leader or the next one commits it.
	done := l.until(ctx, r.App, msgCommitted, func() error { return l.commit(ctx, r.App, m.Epoch) })
	if ctx.Err() != nil {
		return answer, ctx.Err()
	}
	if done.kind == "" {
		return answer, removed(r.App)
	}
	faultpoint.Reach(faultpoint.RestoreDone)
	l.log.Info("app restored", "app", r.App, "generation", m.Generation, "epoch", m.Epoch, "from", r.Epoch)
	l.nudge()
	if err := l.project(ctx); err != nil {
		l.log.Warn("write the cluster's bucket", "err", err)
	}
	return control.Restored{Generation: m.Generation, Epoch: m.Epoch, Adopted: adopted}, nil
}

func (l *leader) storeRestored(ctx context.Context, m *checkpoint.Manifest, objects []string) error {
	data, err := m.Encode()
	if err != nil {
		return err
	}
	return l.commitToStore(ctx, store.Commit{
		App: m.App, Term: uint64(m.Term), Epoch: uint64(m.Epoch), Name: checkpoint.ManifestName(m.App, m.Epoch),
		Manifest: data, Objects: objects,
	})
}

// goOn lets an app's coordinator work again, with the current state of the app in Raft.
func (l *leader) goOn(app string) {
	a := l.s.cfg.FSM.app(app)
	if a == nil {
		return
	}
	owned := map[uint32]uint64{}
	for p, t := range a.Tasks {
		owned[p] = t.Assignment
	}
	l.send(loopMessage{app: app, message: message{kind: msgGo, epoch: a.Newest, owned: owned, held: a.Held}})
}

// manifestOf returns the manifest that a restore asks for. The caller sets its generation,
// epoch, term and time.
func (l *leader) manifestOf(ctx context.Context, r *control.RestoreRequest) (*checkpoint.Manifest, error) {
	k, err := l.s.ref(&control.CheckpointRequest{App: r.App, Epoch: r.Epoch})
	if err != nil {
		return nil, err
	}
	m, err := checkpoint.ReadManifest(ctx, l.s.cfg.Store, k.Manifest, k.Digest)
	if errors.Is(err, checkpoint.ErrCorrupt) {
		return nil, failure(control.CodeInvalid, "checkpoint %d of app %s cannot be used: %v; eventflux checkpoint ls %[2]s lists others", k.Epoch, r.App, err)
	}
	if err != nil {
		return nil, err
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
