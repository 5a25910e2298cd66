package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/services/ingest"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// resyncEvery is how often intake lists the apps without being notified of a change.
const resyncEvery = 30 * time.Second

// intake runs the ingest service of the node and keeps it informed of the deployed apps.
type intake struct {
	n       *Node
	svc     *ingest.Service
	changed chan struct{} // the state of an app changed
	news    chan struct{} // the same signal, for keepReporting
	number  uint64        // of the last report
	known   map[string]ingest.App
	told    bool // ready has been called for known
}

// ingestAll accepts events of all deployed apps until ctx ends. It calls ready once it knows
// for each app whether its events are accepted, and again when the apps change.
func (n *Node) ingestAll(ctx context.Context, ready func([]*siddhiql.Plan)) error {
	in := &intake{n: n, changed: make(chan struct{}, 1), news: make(chan struct{}, 1), known: map[string]ingest.App{}}
	changes, err := n.watchApps(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer changes.Stop()
	closeConns, err := in.open(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer closeConns()
	defer n.watch(in.svc)()
	if err := in.sync(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	// Report before accepting events: a deploy waits for all ingests that the leader knows.
	if err := in.report(ctx); err != nil {
		return ignoreEnd(ctx, err)
	}
	serving := start(in.svc.Run)
	reporting := start(in.keepReporting)
	defer func() { _ = reporting.stop() }()
	select {
	case <-in.svc.Ready():
	case err := <-serving.ended:
		return err
	case <-ctx.Done():
		return serving.stop()
	}
	if !n.awaitAnswering(ctx) {
		return serving.stop()
	}
	n.seen.serving.Store(true)
	defer n.seen.serving.Store(false)
	resync := time.NewTicker(resyncEvery)
	defer resync.Stop()
	for {
		in.announce(ready)
		select {
		case <-ctx.Done():
			return serving.stop()
		case err := <-serving.ended:
			return err
		case <-in.changed:
			continue
		case e, open := <-changes.Updates():
			if !open {
				changes = closedWatcher{changes} // only the ticker remains
				continue
			}
			if e == nil || !in.concerns(e) {
				continue
			}
		case <-resync.C:
		}
		if err := in.sync(ctx); err != nil {
			return errors.Join(ignoreEnd(ctx, err), serving.stop())
		}
	}
}

// concerns reports whether an entry of the cluster's bucket is about an unknown app, or about the
// end of a known one. Most entries are about checkpoints.
func (in *intake) concerns(e jetstream.KeyValueEntry) bool {
	if !strings.HasPrefix(e.Key(), "app.") {
		return false
	}
	var a control.App
	if e.Operation() != jetstream.KeyValuePut || json.Unmarshal(e.Value(), &a) != nil {
		return true
	}
	known, ok := in.known[a.Name]
	return !ok || known.Index != a.Index || known.Version != a.Version || known.Scalings != a.Scalings || known.Paused != (a.Scaling != nil) || a.Removing
}

// closedWatcher is a watcher that reports nothing more.
type closedWatcher struct{ jetstream.KeyWatcher }

func (closedWatcher) Updates() <-chan jetstream.KeyValueEntry { return nil }

// open creates the service and its connections. Events have their own connection, so that answers
// to publishers do not wait for writes to the logs.
func (in *intake) open(ctx context.Context) (closeConns func(), err error) {
	n := in.n
	gate := &ingest.Gate{}
	events, err := n.connectPaced(ctx, "eventflux ingest", gate.Wait)
	if err != nil {
		return nil, err
	}
	logs, err := n.connect(ctx, "eventflux ingest log")
	if err != nil {
		events.Close()
		return nil, err
	}
	closeConns = func() {
		events.Close()
		logs.Close()
	}
	in.svc, err = ingest.New(ingest.Config{
		Conn: events, Gate: gate, LogConn: logs, Durability: n.durability,
		EventBytesMax: int(n.cfg.Ingest.EventBytesMax), MemoryMax: int64(n.cfg.Ingest.MemoryMax), LagMax: n.cfg.Ingest.LagMax,
		Version: n.self.Version, Witness: n.witness, Log: n.log, Now: func() int64 { return faultpoint.Now().UnixMilli() },
		Room: n.room.logErr, Scrub: n.scrubber.report,
		Changed: func() {
			for _, c := range []chan struct{}{in.changed, in.news} {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		},
	})
	if err != nil {
		closeConns()
	}
	return closeConns, err
}

// keepReporting keeps the leader informed of the served apps until ctx ends.
func (in *intake) keepReporting(ctx context.Context) error {
	tick := time.NewTicker(control.HeartbeatTimeout / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		case <-in.news:
		}
		if err := in.report(ctx); err != nil && ctx.Err() == nil {
			in.n.log.Warn("tell the checkpointer which apps are served; trying again", "err", err)
		}
	}
}

// report tells the leader which apps are served.
func (in *intake) report(ctx context.Context) error {
	in.number++
	return in.n.control.Serving(ctx, control.ServingRequest{
		Ingest: in.svc.ID(), Name: in.n.self.Name, Number: in.number, Level: engine.Level, Apps: in.svc.Serving(),
	})
}

// announce calls ready with the apps whose events are accepted, once the state of all apps is known.
func (in *intake) announce(ready func([]*siddhiql.Plan)) {
	if in.told {
		return
	}
	var plans []*siddhiql.Plan
	for _, a := range in.svc.Apps() {
		switch a.State {
		case ingest.Starting:
			return
		case ingest.Serving:
			plans = append(plans, in.known[a.App].Plan)
		}
	}
	in.told = true
	ready(plans)
}

// sync makes the service serve the deployed apps. It returns the error of ctx, or an error if
// the cluster has another major version.
func (in *intake) sync(ctx context.Context) error {
	apps, err := in.deployed(ctx)
	for err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if control.Code(err) == control.CodeVersion {
			return err // a retry does not help
		}
		in.n.log.Warn("list the deployed apps; trying again", "err", err)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * lookEvery):
		}
		apps, err = in.deployed(ctx)
	}
	known := map[string]ingest.App{}
	for _, a := range apps {
		before := in.known[a.Name]
		in.told = in.told && before.Index == a.Index && before.Version == a.Version && before.Paused == a.Paused
		known[a.Name] = a
	}
	in.told = in.told && len(known) == len(in.known)
	in.known = known
	in.svc.Serve(apps)
	return nil
}

// deployed returns the deployed apps. It requests only the texts that it does not have.
func (in *intake) deployed(ctx context.Context) (apps []ingest.App, err error) {
	list, err := in.n.control.Apps(ctx)
	if err != nil {
		return nil, err
	}
	for _, a := range list.Apps {
		if a.Removing || a.Starting() {
			continue
		}
		if known, ok := in.known[a.Name]; ok && known.Index == a.Index && known.Version == a.Version && known.Scalings == a.Scalings {
			known.Paused = a.Scaling != nil
			apps = append(apps, known)
			continue
		}
		full, err := in.n.control.App(ctx, control.AppRequest{App: a.Name})
		if control.Code(err) == control.CodeNotFound {
			continue // removed since the list
		}
		if err != nil {
			return nil, err
		}
		app := ingest.App{
			Name: a.Name, Index: full.Index, Version: full.Version, Scalings: full.Scalings, Paused: full.Scaling != nil,
			KeyBytesMax: full.Settings.OrDefault().KeyBytes, DedupWindow: full.Settings.DedupWindow,
		}
		if app.Plan, err = siddhiql.CompileDeployed(full.Text); err != nil {
			app.Problem = fmt.Errorf("its text cannot be read by this version: %w", err)
		}
		apps = append(apps, app)
	}
	return apps, nil
}

// watchApps waits until the cluster's bucket exists, and watches it for changes of apps.
func (n *Node) watchApps(ctx context.Context) (jetstream.KeyWatcher, error) {
	js, err := jetstream.New(n.control.Conn)
	if err != nil {
		return nil, err
	}
	for {
		bucket, err := js.KeyValue(ctx, natsconn.ClusterBucket)
		if err == nil {
			var watch jetstream.KeyWatcher
			if watch, err = bucket.Watch(ctx, natsconn.ClusterKeys("app")); err == nil {
				return watch, nil
			}
		}
		if !errors.Is(err, jetstream.ErrBucketNotFound) && ctx.Err() == nil {
			n.log.Warn("look at the cluster's bucket; trying again", "bucket", natsconn.ClusterBucket, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * lookEvery):
		}
	}
}
