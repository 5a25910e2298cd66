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

// streamsEvery is how often the leader checks whether the streams of all apps exist. A
// service that needs a lost stream waits at most that long for a new one.
const streamsEvery = time.Minute

// startedAtOnce is how many logs of an app get their deploy frame at the same time.
const startedAtOnce = 8

// turn locks the streams of an app, so that two goroutines do not create and delete them at
// the same time. The caller calls done to unlock them.
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

// deploy makes an app's streams, commits the app in Raft, and appends the deploy frame as
// the first frame of each log. If the leader dies before the app is in Raft, nothing was
// deployed, and the next request finds the streams. After that, the next leader completes
// the deployment.
func (l *leader) deploy(ctx context.Context, c *command) error {
	done, err := l.turn(ctx, c.App)
	if err != nil {
		return err
	}
	defer done()
	if a := l.s.cfg.FSM.app(c.App); a == nil || !a.Removing && a.newest().Plan == c.Deploy.Plan { // otherwise Raft refuses the command
		if err := l.makeStreams(ctx, c.App, c.Deploy.Partitions, c.Deploy.Text); err != nil {
			l.log.Warn("an app is not deployed, because its streams could not be made", "app", c.App, "err", err)
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
		return failure(control.CodeUnavailable, "app %s is deployed, but its logs do not have their deploy frames yet: %v; the checkpointers complete it", c.App, err)
	}
	faultpoint.Reach(faultpoint.DeployDone)
	return nil
}

// startLogs appends the deploy frame to the logs of an app that do not have it. The caller
// holds the turn of the app.
func (l *leader) startLogs(ctx context.Context, app string) error {
	a := l.s.cfg.FSM.app(app)
	if a == nil || a.Removing {
		return nil
	}
	return errors.Join(l.startEach(ctx, a)...)
}

// startEach returns the error of each partition.
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
	_ = group.Wait() // the functions return nil; errs has the errors
	return errs
}

// deployment returns the content of the deploy frames of a version of an app.
func deployment(a *control.App, v *control.Version) *wal.Deployment {
	return &wal.Deployment{
		App: a.Name, Stamp: v.Stamp, After: a.After,
		Version: frame.Version{Number: v.Number, Level: v.Level, Build: v.Build, Settings: v.Settings.JSON(), Text: v.Text, Change: v.Change},
	}
}

// lookSoon wakes keepStreams.
func (l *leader) lookSoon() {
	select {
	case l.looking <- struct{}{}:
	default:
	}
}

// streamsCode returns the code for an error of JetStream: invalid if it refuses the streams,
// unavailable if a later attempt may succeed.
func streamsCode(err error) string {
	var other *natsconn.IncompatibleError
	var answer jetstream.JetStreamError
	if errors.Is(err, errLogGone) || errors.As(err, &other) || errors.As(err, &answer) && answer.APIError() != nil && !natsconn.Passing(err) {
		return control.CodeInvalid
	}
	return control.CodeUnavailable
}

// makeStreams makes sure that an app's streams exist with the right limits, and that its output
// streams take the subjects that its versions and a text choose. The caller holds the turn of the
// app.
func (l *leader) makeStreams(ctx context.Context, app string, partitions uint32, text string) error {
	a := l.s.cfg.FSM.app(app)
	worked := a != nil && len(a.Tasks)+len(a.Committed) > 0
	if worked {
		if err := l.checkLogs(ctx, app, partitions); err != nil {
			return err
		}
	}
	made, err := natsconn.EnsureApp(ctx, l.s.js, app, partitions, l.s.cfg.Streams, chosenSubjects(a, text)...)
	if worked {
		for _, name := range made {
			l.log.Error("the server did not have a stream that tasks have worked with; it was made again. What its folder still held is in it, if there was any: then meta.inf or meta.sum there was damaged", "app", app, "jetstream", name)
		}
	}
	return err
}

var errLogGone = errors.New("it is the log of an app that has run")

// checkLogs fails if a log is gone that tasks have worked with. EventFlux never makes such a
// log again: the server would make it over the rest of its folder, and give new frames the
// numbers of lost ones.
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

// keepStreams makes sure at the start of a leadership that the streams of all apps exist with
// the configured limits. Later it makes streams that are missing, until ctx ends.
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

// lookAfterStreams makes sure of the streams of apps that are not in sure yet, or that miss a
// stream.
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
	if err := l.makeStreams(ctx, app, a.Partitions, ""); err != nil {
		return err
	}
	return l.startLogs(ctx, app)
}
