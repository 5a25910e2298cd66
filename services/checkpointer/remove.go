package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"sync"
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

// remover deletes what removed apps leave. It owns the removals in progress.
type remover struct {
	*leadership
	committer  *committer
	projection *projection
	barriers   *barrierWriters
	streams    *streamKeeper
	reports    *reports
	removing   sync.Map // apps that are being removed
}

// remove removes an app with its log, results, refused events and checkpoints. Once the
// decision is in Raft, any leader carries it out.
func (rm *remover) remove(ctx context.Context, r *control.AppRequest) (any, error) {
	a, err := rm.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	if _, err := rm.propose(ctx, &command{Kind: kindRemove, App: a.Name}); err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.RemoveRaft)
	rm.lookSoon()
	for rm.cfg.FSM.app(a.Name) != nil {
		if !pauseFor(ctx, stopPause) {
			return nil, ctx.Err()
		}
	}
	a.Removing, a.Text, a.Owners = true, "", nil
	return a.App, nil
}

// removeOnce starts to carry out a removal, unless that is already in progress.
func (rm *remover) removeOnce(ctx context.Context, app string) {
	if _, under := rm.removing.LoadOrStore(app, true); under {
		return
	}
	rm.work.Go(func() {
		defer rm.removing.Delete(app)
		for {
			err := rm.carryOutRemoval(ctx, app)
			if err == nil || ctx.Err() != nil {
				return
			}
			rm.log.Warn("remove an app; trying again", "app", app, "err", err)
			if !pauseFor(ctx, projectRetry) {
				return
			}
		}
	})
}

// carryOutRemoval informs all services, waits until they have stopped serving the app, and
// deletes its data. It leaves runs and blocks, which other apps may share, to the sweep. The
// store keeps the head, so that a later app of this name continues the epochs.
func (rm *remover) carryOutRemoval(ctx context.Context, app string) error {
	a := rm.cfg.FSM.app(app)
	if a == nil {
		return nil
	}
	if err := rm.projection.project(ctx); err != nil {
		return err
	}
	rm.nudge()
	rm.barriers.drop(app, a.streams())
	if !pauseFor(ctx, lingerWait) {
		return ctx.Err()
	}
	for end := time.Now().Add(stopWait); (rm.reports.processors.runs(app, time.Now()) || rm.reports.ingests.serve(app, time.Now())) && time.Now().Before(end); {
		if !pauseFor(ctx, stopPause) {
			return ctx.Err()
		}
	}
	faultpoint.Reach(faultpoint.RemoveStopped)
	done, err := rm.streams.turn(ctx, app)
	if err != nil {
		return err
	}
	defer done()
	for p := range a.streams() { // first, so that a log deleted on purpose is not reported as lost
		if err := rm.cfg.Witness.Remove(natsconn.WALStream(app, p)); err != nil {
			return err
		}
	}
	for _, name := range natsconn.AppStreams(app, a.streams()) {
		if err := rm.js.DeleteStream(ctx, name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("delete stream %s: %w", name, err)
		}
		faultpoint.Reach(faultpoint.RemoveStream)
	}
	if err := rm.forgetLinks(ctx, app); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.RemoveStreams)
	if err := rm.committer.claim(ctx); err != nil {
		return err
	}
	var manifests []string
	if err := rm.cfg.Store.List(ctx, "apps/"+app+"/checkpoints/", func(o store.Object) error {
		manifests = append(manifests, o.Name)
		return nil
	}); err != nil {
		return fmt.Errorf("list the checkpoints of app %s: %w", app, err)
	}
	for _, name := range manifests {
		if err := rm.cfg.Store.Delete(ctx, name, time.Time{}); err != nil {
			return fmt.Errorf("delete checkpoint %s: %w", name, err)
		}
	}
	faultpoint.Reach(faultpoint.RemoveStored)
	_, err = rm.propose(ctx, &command{Kind: kindForget, App: app})
	faultpoint.Reach(faultpoint.RemoveDone)
	rm.projection.checkpointsSoon()
	return err
}

// forgetLinks deletes the read positions of the removed app in the results of other apps: a
// new app of this name reads them all.
func (rm *remover) forgetLinks(ctx context.Context, app string) error {
	links, err := rm.js.Stream(ctx, "KV_"+natsconn.LinksBucket)
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
