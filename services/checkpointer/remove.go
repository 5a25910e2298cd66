package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

const (
	// lingerWait is for ingests that know the app but have not reported it yet. If one stalls
	// for longer and then writes to the log of a new app of the same name, the task of that app
	// halts, because the frames of a writer must start at number 1.
	lingerWait = time.Second
	// stopWait is how long tasks may take to stop, and ingests to make accepted events durable,
	// before their streams are deleted.
	stopWait  = 5 * time.Second
	stopPause = 20 * time.Millisecond
)

// remove removes an app with its log, results, refused events and checkpoints. Once the
// decision is in Raft, any leader carries it out.
func (s *Service) remove(ctx context.Context, l *leader, r *control.AppRequest) (any, error) {
	a, err := s.known(r.App)
	if err != nil {
		return nil, err
	}
	if _, err := l.propose(ctx, &command{Kind: kindRemove, App: a.Name}); err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.RemoveRaft)
	l.replace()
	for s.cfg.FSM.app(a.Name) != nil {
		if !pauseFor(ctx, stopPause) {
			return nil, ctx.Err()
		}
	}
	a.Removing, a.Text, a.Owners = true, "", nil
	return a.App, nil
}

// removeOnce starts to carry out a removal, unless that is already in progress.
func (l *leader) removeOnce(ctx context.Context, app string) {
	if _, under := l.removing.LoadOrStore(app, true); under {
		return
	}
	l.work.Go(func() {
		defer l.removing.Delete(app)
		for {
			err := l.carryOutRemoval(ctx, app)
			if err == nil || ctx.Err() != nil {
				return
			}
			l.log.Warn("remove an app; trying again", "app", app, "err", err)
			if !pauseFor(ctx, projectRetry) {
				return
			}
		}
	})
}

// carryOutRemoval informs all services, waits until they have stopped serving the app, and
// deletes its data. It leaves runs and blocks, which other apps may share, to the sweep. The
// store keeps the head, so that a later app of this name continues the epochs.
func (l *leader) carryOutRemoval(ctx context.Context, app string) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil {
		return nil
	}
	if err := l.project(ctx); err != nil {
		return err
	}
	l.nudge()
	l.barriers.drop(app, a.Partitions)
	if !pauseFor(ctx, lingerWait) {
		return ctx.Err()
	}
	for end := time.Now().Add(stopWait); (l.processors.runs(app, time.Now()) || l.ingests.hold(app, time.Now())) && time.Now().Before(end); {
		if !pauseFor(ctx, stopPause) {
			return ctx.Err()
		}
	}
	faultpoint.Reach(faultpoint.RemoveStopped)
	done, err := l.turn(ctx, app)
	if err != nil {
		return err
	}
	defer done()
	for p := range a.Partitions { // first, so that a log deleted on purpose is not reported as lost
		if err := l.s.cfg.Witness.Remove(natsconn.WALStream(app, p)); err != nil {
			return err
		}
	}
	for _, name := range natsconn.AppStreams(app, a.Partitions) {
		if err := l.s.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("delete stream %s: %w", name, err)
		}
		faultpoint.Reach(faultpoint.RemoveStream)
	}
	if err := l.forgetLinks(ctx, app); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.RemoveStreams)
	if err := l.claim(ctx); err != nil {
		return err
	}
	var manifests []string
	if err := l.s.cfg.Store.List(ctx, "apps/"+app+"/checkpoints/", func(o store.Object) error {
		manifests = append(manifests, o.Name)
		return nil
	}); err != nil {
		return fmt.Errorf("list the checkpoints of app %s: %w", app, err)
	}
	for _, name := range manifests {
		if err := l.s.cfg.Store.Delete(ctx, name, time.Time{}); err != nil {
			return fmt.Errorf("delete checkpoint %s: %w", name, err)
		}
	}
	faultpoint.Reach(faultpoint.RemoveStored)
	_, err = l.propose(ctx, &command{Kind: kindForget, App: app})
	faultpoint.Reach(faultpoint.RemoveDone)
	l.projectSoon()
	return err
}

// forgetLinks deletes the read positions of the removed app in the results of other apps: a
// new app of this name reads them all.
func (l *leader) forgetLinks(ctx context.Context, app string) error {
	links, err := l.s.js.Stream(ctx, "KV_"+natsconn.LinksBucket)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err == nil {
		err = links.Purge(ctx, jetstream.WithPurgeSubject("$KV."+natsconn.LinksBucket+"."+natsconn.LinkKeys(app)))
	}
	if err != nil {
		return fmt.Errorf("bucket %s: forget the sources of app %s: %w", natsconn.LinksBucket, app, err)
	}
	return nil
}
