package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// streamsEvery is how often the leader checks whether the streams of all apps exist. A
// service that needs a lost stream waits at most that long for a new one.
const streamsEvery = time.Minute

// startedAtOnce is how many logs of an app get their deploy frame at the same time.
const startedAtOnce = 8

// streamKeeper makes the JetStream streams and buckets of apps, opens and closes their logs,
// and keeps two goroutines from doing so for the same app.
type streamKeeper struct {
	*leadership
	looking chan struct{} // wakes keepStreams
	turns   sync.Map      // by app: a lock for making and deleting its streams
}

// turn locks the streams of an app, so that two goroutines do not create and delete them at
// the same time. The caller calls done to unlock them.
func (sk *streamKeeper) turn(ctx context.Context, app string) (done func(), err error) {
	one, _ := sk.turns.LoadOrStore(app, make(chan struct{}, 1))
	turn := one.(chan struct{})
	select {
	case turn <- struct{}{}:
		return func() { <-turn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// startLogs appends the deploy frame to the logs of an app that do not have it. The caller
// holds the turn of the app.
func (sk *streamKeeper) startLogs(ctx context.Context, app string) error {
	a := sk.cfg.FSM.app(app)
	if a == nil || a.Removing || a.Scaling != nil { // then the logs are closed on purpose
		return nil
	}
	return errors.Join(sk.startEach(ctx, a)...)
}

// startEach returns the error of each partition.
func (sk *streamKeeper) startEach(ctx context.Context, a *appState) []error {
	d := deployment(&a.App, &a.versions()[0])
	errs := make([]error, a.Partitions)
	var group errgroup.Group
	group.SetLimit(startedAtOnce)
	for p := range a.Partitions {
		group.Go(func() error {
			if a.Scalings > 0 {
				errs[p] = natsconn.OpenWAL(ctx, sk.js, a.Name, p, a.Scalings)
			} else {
				errs[p] = d.Deploy(ctx, sk.js, p)
			}
			return nil
		})
	}
	_ = group.Wait() // the functions return nil; errs has the errors
	return errs
}

// deployment returns the content of the deploy frames of a version of an app.
func deployment(a *control.App, v *control.Version) *wal.Deployment {
	return &wal.Deployment{
		App: a.Name, Stamp: v.Stamp, After: a.After, Scalings: a.Scalings,
		Version: frame.Version{Number: v.Number, Level: v.Level, Build: v.Build, Settings: v.Settings.JSON(), Text: v.Text, Change: v.Change},
	}
}

// remakeSoon wakes keepStreams.
func (sk *streamKeeper) remakeSoon() {
	select {
	case sk.looking <- struct{}{}:
	default:
	}
}

// streamsCode returns the code for an error of JetStream: invalid if it refuses the streams,
// unavailable if a later attempt may succeed.
func streamsCode(err error) string {
	var other *natsconn.IncompatibleError
	var answer jetstream.JetStreamError
	if errors.Is(err, errLogGone) || errors.As(err, &other) || errors.As(err, &answer) && answer.APIError() != nil && !natsconn.Unavailable(err) {
		return control.CodeInvalid
	}
	return control.CodeUnavailable
}

// makeStreams makes sure that an app's streams exist with the right limits, and that its output
// streams take the subjects that its versions and a text choose. It makes the buckets of the
// views, too. The caller holds the turn of the app.
func (sk *streamKeeper) makeStreams(ctx context.Context, app string, partitions uint32, text string) error {
	a := sk.cfg.FSM.app(app)
	worked := a != nil && len(a.Tasks)+len(a.Committed) > 0
	if worked {
		if err := sk.checkLogs(ctx, app, partitions); err != nil {
			return err
		}
	}
	made, err := natsconn.EnsureApp(ctx, sk.js, app, partitions, sk.cfg.Streams, sinkSubjects(a, text)...)
	if worked {
		for _, name := range made {
			sk.log.Error("the server did not have a stream that tasks have worked with; it was made again. What its folder still held is in it, if there was any: then meta.inf or meta.sum there was damaged", "app", app, "jetstream", name)
		}
	}
	if err != nil {
		return err
	}
	if text == "" && a != nil {
		text = a.newest().Text
	}
	return sk.makeBuckets(ctx, app, text)
}

var errLogGone = errors.New("it is the log of an app that has run")

// checkLogs fails if a log is gone that tasks have worked with. EventFlux never makes such a
// log again: the server would make it over the rest of its folder, and give new frames the
// numbers of lost ones.
func (sk *streamKeeper) checkLogs(ctx context.Context, app string, partitions uint32) error {
	var errs []error
	for p := range partitions {
		name := natsconn.WALStream(app, p)
		_, err := sk.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = fmt.Errorf("JetStream stream %s is gone, and %w: app %s. It is not made again under that name, since its frames would be lost. If a server has its folder, restore meta.inf and meta.sum there from a copy, and restart the server; or restore the stream (nats stream restore). Without a copy see \"NATS is lost\" in docs/operations.md", name, errLogGone, app)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// keepStreams makes sure at the start of a leadership that the streams of all apps exist with
// the configured limits. Later it makes streams that are missing, until ctx ends.
func (sk *streamKeeper) keepStreams(ctx context.Context) {
	sure := map[string]bool{}
	retry := projectRetry
	for {
		wait := streamsEvery
		if err := sk.lookAfterStreams(ctx, sure); err == nil {
			retry = projectRetry
		} else if ctx.Err() == nil {
			wait, retry = retry, min(2*retry, streamsEvery)
			sk.log.Warn("look after the streams of apps; trying again", "in", wait, "err", err)
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-sk.looking:
			clear(sure)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// lookAfterStreams makes sure of the streams of apps that are not in sure yet, or that miss a
// stream.
func (sk *streamKeeper) lookAfterStreams(ctx context.Context, sure map[string]bool) error {
	there := map[string]bool{}
	names := sk.js.StreamNames(ctx)
	for name := range names.Name() {
		there[name] = true
	}
	if err := names.Err(); err != nil {
		return fmt.Errorf("list JetStream streams: %w", err)
	}
	var errs []error
	for _, a := range sk.cfg.FSM.apps() {
		missing := !sure[a.Name]
		for _, name := range natsconn.AppStreams(a.Name, a.Partitions) {
			missing = missing || !there[name]
		}
		for _, s := range viewsOf(a.Text) {
			missing = missing || !there["KV_"+s.Sink.View.Bucket]
		}
		if a.Removing || !missing {
			continue
		}
		err := sk.remakeStreams(ctx, a.Name)
		sure[a.Name] = err == nil
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

func (sk *streamKeeper) remakeStreams(ctx context.Context, app string) error {
	done, err := sk.turn(ctx, app)
	if err != nil {
		return err
	}
	defer done()
	a := sk.cfg.FSM.app(app)
	if a == nil || a.Removing || a.Scaling != nil {
		return nil
	}
	if err := sk.makeStreams(ctx, app, a.Partitions, ""); err != nil {
		return err
	}
	return sk.startLogs(ctx, app)
}
