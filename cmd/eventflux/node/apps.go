package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"eventflux/services/ingest"
	"eventflux/services/processor"
	"eventflux/shared/bus"
	"eventflux/shared/control"
	"eventflux/shared/siddhiql"
)

// lastCheckpointTimeout bounds how long a stop waits for a checkpoint. Without it the
// next start replays a longer tail.
const lastCheckpointTimeout = 20 * time.Second

// apps is what serves a set of apps.
type apps struct {
	plans     []*siddhiql.Plan
	ingest    *ingest.Service
	processor *processor.Service
}

// newApps makes the services of a set of apps, which do nothing yet.
func (n *Node) newApps(plans []*siddhiql.Plan, c *connections) (*apps, error) {
	wal := bus.StreamLimits{BytesMax: int64(n.cfg.WAL.BytesMax)}
	a := &apps{plans: plans}
	var err error
	a.ingest, err = ingest.New(ingest.Config{
		Conn: c.events, LogConn: c.logs, Plans: plans, WALLimits: wal, Durability: n.durability,
		EventBytesMax: int(n.cfg.Ingest.EventBytesMax), MemoryMax: int64(n.cfg.Ingest.MemoryMax),
		Version: n.version, Log: n.log,
	})
	if err != nil {
		return nil, err
	}
	batch := 0 // the default of servers
	if n.server != nil {
		batch = bus.BatchMessagesMax
	}
	choice, err := n.codec()
	if err != nil {
		return nil, err
	}
	a.processor, err = processor.New(processor.Config{
		Conn: c.tasks, Apps: plans, BatchMessagesMax: batch, DedupWindow: n.cfg.Dedup.Window, WAL: wal, Version: n.version,
		Control: n.control, Store: n.store, Compression: choice,
		FullEvery: n.cfg.Checkpoint.FullEvery, Workers: n.cfg.Recovery.Workers,
		Metadata: map[string]string{"durability": n.durability.String(), "guarantee": n.durability.Guarantee()},
		Log:      n.log,
	})
	return a, err
}

// serveApps runs ingest and processor of a set of apps until ctx ends, and stops them
// in order. It also ends, with its error, when the checkpointer does.
func (n *Node) serveApps(ctx context.Context, plans []*siddhiql.Plan, checkpoints part, ready func()) error {
	conns, err := n.connectApps(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer conns.close()
	a, err := n.newApps(plans, conns)
	if err != nil {
		return err
	}
	tasks := start(a.processor.Run)
	events := start(func(ctx context.Context) error {
		select {
		case <-a.processor.Ready():
			return a.ingest.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	var failed error
	serving := a.ingest.Ready()
wait:
	for {
		select {
		case <-serving:
			serving = nil
			ready()
		case failed = <-events.ended:
			break wait
		case failed = <-tasks.ended:
			break wait
		case failed = <-checkpoints.ended:
			break wait
		case <-ctx.Done():
			break wait
		}
	}
	n.log.Info("stopping: no more events are accepted")
	err = events.stop()
	if failed == nil && err == nil {
		if !n.skipLast {
			n.lastCheckpoints(a.processor.Tasks())
		}
		drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
		defer cancel()
		if late := a.processor.Drain(drain); late != nil {
			n.log.Warn("stopped before all results were out", "err", late)
		}
	}
	return errors.Join(failed, err, tasks.stop())
}

// lastCheckpoints makes a checkpoint of each app, so that the next start has little to
// replay. One with a task that has halted cannot have any.
func (n *Node) lastCheckpoints(tasks []processor.TaskInfo) {
	able := map[string]bool{}
	for _, t := range tasks {
		before, known := able[t.App]
		able[t.App] = t.Alive() && (before || !known)
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastCheckpointTimeout)
	defer cancel()
	var group sync.WaitGroup
	for app, able := range able {
		if !able {
			continue
		}
		group.Go(func() {
			o, err := n.control.Trigger(ctx, control.AppRequest{App: app})
			if err != nil || !o.Committed {
				n.log.Warn("no last checkpoint; the next start replays a longer tail", "app", app, "reason", o.Reason, "err", err)
			}
		})
	}
	group.Wait()
}

// deployed returns the plans of all deployed apps, in the order of their names.
func (n *Node) deployed(ctx context.Context) ([]*siddhiql.Plan, error) {
	list, err := n.control.Apps(ctx)
	if err != nil {
		return nil, err
	}
	var plans []*siddhiql.Plan
	for _, a := range list.Apps {
		full, err := n.control.App(ctx, control.AppRequest{App: a.Name})
		if err != nil {
			return nil, err
		}
		plan, err := siddhiql.Compile(full.Text)
		if err != nil {
			return nil, err
		}
		plans = append(plans, plan)
	}
	return plans, nil
}

// watcher tells when the set of apps changes.
type watcher struct{ watch jetstream.KeyWatcher }

func (n *Node) watchApps(ctx context.Context) (*watcher, error) {
	js, err := jetstream.New(n.conns[0])
	if err != nil {
		return nil, err
	}
	bucket, err := js.KeyValue(ctx, bus.ClusterBucket)
	if err != nil {
		return nil, err
	}
	watch, err := bucket.Watch(ctx, "app.>", jetstream.MetaOnly())
	return &watcher{watch}, err
}

func (w *watcher) stop() { _ = w.watch.Stop() }

// await returns true when an app is there that is not among plans, or gone that is.
func (w *watcher) await(ctx context.Context, plans []*siddhiql.Plan) bool {
	known := map[string]bool{}
	for _, p := range plans {
		known["app."+p.Name] = true
	}
	for {
		select {
		case <-ctx.Done():
			return false
		case e, open := <-w.watch.Updates():
			switch {
			case !open:
				return false
			case e == nil: // all that was there before has come
			case known[e.Key()] == (e.Operation() == jetstream.KeyValuePut):
			default:
				return true
			}
		}
	}
}
