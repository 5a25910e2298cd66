package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// streamsEvery is how often the leader looks whether the streams of all apps are there.
// Only a loss takes one away, and whoever needs it waits that long.
const streamsEvery = time.Minute

// startedAtOnce is how many logs of an app get their deploy frame at the same time.
const startedAtOnce = 8

// turn waits until nobody else makes or deletes the streams of an app: what one of them
// made, the other would delete, or leave behind. The caller calls done.
func (l *leader) turn(ctx context.Context, app string) (done func(), err error) {
	one, _ := l.turns.LoadOrStore(app, make(chan struct{}, 1))
	turn := one.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// deploy makes an app's streams, has Raft know the app, and appends the deploy frame to
// each log, which takes no other frame before. If a leader dies before Raft knows the app,
// nothing was deployed, and the next request finds the streams. Later, whoever leads
// completes it.
func (l *leader) deploy(ctx context.Context, c *command) error {
	done, err := l.turn(ctx, c.App)
	if err != nil {
		return err
	}
	defer done()
	if a := l.s.cfg.FSM.app(c.App); a == nil || !a.Removing && a.newest().Plan == c.Deploy.Plan { // else Raft refuses
		if err := l.makeStreams(ctx, c.App, c.Deploy.Partitions); err != nil {
			l.log.Warn("an app is not deployed, for want of its streams", "app", c.App, "err", err)
			return failure(streamsCode(err), "make the streams of app %s: %v", c.App, err)
		}
	}
	faultpoint.Reach(faultpoint.DeployStreams)
	if _, err = l.propose(ctx, c); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.DeployRaft)
	if err := l.startLogs(ctx, c.App); err != nil {
		l.lookSoon()
		return failure(control.CodeUnavailable, "app %s is deployed, and its logs do not have their deploy frames yet: %v; the checkpointers complete it", c.App, err)
	}
	faultpoint.Reach(faultpoint.DeployDone)
	return nil
}

// startLogs appends the deploy frame to those logs of an app that do not have it. It is
// the caller's turn.
func (l *leader) startLogs(ctx context.Context, app string) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil || a.Removing {
		return nil
	}
	return errors.Join(l.startEach(ctx, a)...)
}

// startEach returns what came of each partition.
func (l *leader) startEach(ctx context.Context, a *appState) []error {
	d := deployment(&a.App, &a.versions()[0])
	errs := make([]error, a.Partitions)
	var group errgroup.Group
	group.SetLimit(startedAtOnce)
	for p := range a.Partitions {
		group.Go(func() error {
			errs[p] = d.Deploy(ctx, l.s.js, p)
			return nil
		})
	}
	_ = group.Wait() // errs has them all
	return errs
}

// deployment is what the deploy frames of a version of an app say.
func deployment(a *control.App, v *control.Version) *wal.Deployment {
	return &wal.Deployment{
		App: a.Name, Stamp: v.Stamp, After: a.After,
		Version: frame.Version{Number: v.Number, Level: v.Level, Build: v.Build, Settings: v.Settings.JSON(), Text: v.Text, Change: v.Change},
	}
}

// lookSoon has keepStreams look at once.
func (l *leader) lookSoon() {
	select {
	case l.looking <- struct{}{}:
	default:
	}
}

// streamsCode tells what JetStream refuses from what it cannot do just now.
func streamsCode(err error) string {
	var other *natsconn.IncompatibleError
	var answer jetstream.JetStreamError
	if errors.Is(err, errLogGone) || errors.As(err, &other) || errors.As(err, &answer) && answer.APIError() != nil && !natsconn.Passing(err) {
		return control.CodeInvalid
	}
	return control.CodeUnavailable
}

// makeStreams makes sure of an app's streams and their limits. It is the caller's turn.
func (l *leader) makeStreams(ctx context.Context, app string, partitions uint32) error {
	a := l.s.cfg.FSM.app(app)
	worked := a != nil && len(a.Tasks)+len(a.Committed) > 0
	if worked {
		if err := l.checkLogs(ctx, app, partitions); err != nil {
			return err
		}
	}
	made, err := natsconn.EnsureApp(ctx, l.s.js, app, partitions, l.s.cfg.Streams)
	if worked {
		for _, name := range made {
			l.log.Error("the server did not have a stream that tasks have worked with; it was made again. What its folder still held is in it, if there was any: then meta.inf or meta.sum there was damaged", "app", app, "jetstream", name)
		}
	}
	return err
}

var errLogGone = errors.New("it is the log of an app that has run")

// checkLogs fails if a log is gone that tasks have worked with. It is never made again: the
// server would make it over what is left in its folder, and number new frames as lost ones.
func (l *leader) checkLogs(ctx context.Context, app string, partitions uint32) error {
	var errs []error
	for p := range partitions {
		name := natsconn.WALStream(app, p)
		_, err := l.s.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = fmt.Errorf("JetStream stream %s is gone, and %w: app %s. It is not made again under that name, since its frames would be lost. If a server has its folder, restore meta.inf and meta.sum there from a copy, and restart the server; or restore the stream (nats stream restore). Without a copy see \"NATS is lost\" in docs/operations.md", name, errLogGone, app)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// keepStreams makes sure of the streams of all apps at the start of a leadership, with the
// limits that this process is told of, and makes what is missing later, until ctx ends.
func (l *leader) keepStreams(ctx context.Context) {
	sure := map[string]bool{}
	retry := projectRetry
	for {
		wait := streamsEvery
		if err := l.lookAfterStreams(ctx, sure); err == nil {
			retry = projectRetry
		} else if ctx.Err() == nil {
			wait, retry = retry, min(2*retry, streamsEvery)
			l.log.Warn("look after the streams of apps; trying again", "in", wait, "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.looking:
			clear(sure)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// lookAfterStreams makes sure of the streams of those apps of which it is not sure yet, or
// which miss one.
func (l *leader) lookAfterStreams(ctx context.Context, sure map[string]bool) error {
	there := map[string]bool{}
	names := l.s.js.StreamNames(ctx)
	for name := range names.Name() {
		there[name] = true
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list JetStream streams: %w", err)
	}
	var errs []error
	for _, a := range l.s.cfg.FSM.apps() {
		missing := !sure[a.Name]
		for _, name := range natsconn.AppStreams(a.Name, a.Partitions) {
			missing = missing || !there[name]
		}
		if a.Removing || !missing {
			continue
		}
		err := l.remakeStreams(ctx, a.Name)
		sure[a.Name] = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (l *leader) remakeStreams(ctx context.Context, app string) error {
	done, err := l.turn(ctx, app)
	if err != nil {
		return err
	}
	defer done()
	a := l.s.cfg.FSM.app(app)
	if a == nil || a.Removing {
		return nil
	}
	if err := l.makeStreams(ctx, app, a.Partitions); err != nil {
		return err
	}
	return l.startLogs(ctx, app)
}
