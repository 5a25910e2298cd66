package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eventflux/services/ingest"
	"eventflux/services/processor"
	"eventflux/shared/bus"
	"eventflux/shared/control"
	"eventflux/shared/faultpoint"
	"eventflux/shared/siddhiql"
)

const (
	// leaveTimeout bounds how long a stop waits for others to take its partitions.
	leaveTimeout = 15 * time.Second
	// lastCheckpointTimeout bounds how long a stop waits for a checkpoint. Without it
	// the next start replays a longer tail.
	lastCheckpointTimeout = 20 * time.Second

	lookEvery = 20 * time.Millisecond
	sayEvery  = 5 * time.Second
)

func (n *Node) newProcessor(ctx context.Context) (*processor.Service, error) {
	nc, err := n.connectOwn(ctx, "eventflux processor")
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
	id, err := n.processorID()
	if err != nil {
		return nil, err
	}
	return processor.New(processor.Config{
		Conn: nc, ID: id, BatchMessagesMax: batch, StateBytesMax: int64(n.cfg.Processor.StateBytesMax), Work: filepath.Join(n.cfg.Data, "processor", id+".work"),
		Version: n.self.Version, Control: n.control, Store: n.store, Compression: choice,
		FullEvery: n.cfg.Checkpoint.FullEvery, Workers: n.cfg.Recovery.Workers, Witness: n.witness,
		Tracer: n.seen.exporter.Tracer(),
		Metadata: map[string]string{
			"processor": id, "durability": n.durability.String(), "guarantee": n.durability.Guarantee(), "nats": n.natsKind(),
		},
		Log: n.log,
	})
}

// processorID is the processor's name: that of the host where none is configured.
func (n *Node) processorID() (string, error) {
	if n.cfg.Processor.ID != "" {
		return n.cfg.Processor.ID, nil
	}
	if n.server != nil {
		return "single", nil
	}
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("name of this host: %w; set processor.id", err)
	}
	return host, nil
}

// retreat gives the partitions of the processor to others. Where there are none, it
// makes a last checkpoint and has the tasks apply what is left.
func (n *Node) retreat(p *processor.Service) {
	if n.server == nil {
		ctx, cancel := context.WithTimeout(context.Background(), leaveTimeout)
		defer cancel()
		p.Leave(ctx)
	}
	if !n.skipLast {
		n.lastCheckpoints(p.Tasks())
	}
	ctx, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if err := p.Drain(ctx); err != nil {
		n.log.Warn("stopped before all results were out", "err", err)
	}
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

// ingestAll accepts events of all deployed apps until ctx ends. When the apps change, it
// ends and begins again with the others: publishers wait for an answer that much longer.
func (n *Node) ingestAll(ctx context.Context, ready func([]*siddhiql.Plan)) error {
	// Events have a connection of their own, so that the answers to publishers do not
	// wait behind what goes to the logs.
	events, err := n.connect(ctx, "eventflux ingest")
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer events.Close()
	logs, err := n.connect(ctx, "eventflux ingest log")
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer logs.Close()
	changes, err := n.watchApps(ctx)
	if err != nil {
		return ignoreEnd(ctx, err)
	}
	defer changes.stop()
	for ctx.Err() == nil {
		plans, known, err := n.deployed(ctx)
		if err != nil {
			return ignoreEnd(ctx, err)
		}
		serving, stop := context.WithCancel(ctx)
		watched := start(func(context.Context) error {
			changes.await(serving, known)
			stop()
			return nil
		})
		err = n.ingest(serving, events, logs, plans, ready)
		stop()
		_ = watched.stop() // it only ends serving
		if err != nil && !away(err) {
			return err
		}
		if err != nil {
			n.log.Warn("JetStream or a stream of an app is away; trying again to accept events", "err", err)
			select {
			case <-ctx.Done():
			case <-time.After(10 * lookEvery):
			}
		}
	}
	return nil
}

// away reports whether JetStream did not answer, could not do it now, or has yet to be
// given a stream: all of it passes.
func away(err error) bool {
	return errors.Is(err, bus.ErrNoStream) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout) || errors.Is(err, nats.ErrNoResponders) ||
		errors.Is(err, nats.ErrDisconnected) || errors.Is(err, jetstream.ErrNoStreamResponse) ||
		bus.Passing(err)
}

// ingest accepts events of some apps, until ctx ends.
func (n *Node) ingest(ctx context.Context, events, logs *nats.Conn, plans []*siddhiql.Plan, ready func([]*siddhiql.Plan)) error {
	if !n.awaitTasks(ctx, plans) {
		return nil
	}
	in, err := ingest.New(ingest.Config{
		Conn: events, LogConn: logs, Plans: plans, KeyBytesMax: n.keyBytes, Durability: n.durability,
		EventBytesMax: int(n.cfg.Ingest.EventBytesMax), MemoryMax: int64(n.cfg.Ingest.MemoryMax), LagMax: n.cfg.Ingest.LagMax,
		Version: n.self.Version, Witness: n.witness, Log: n.log, Now: func() int64 { return faultpoint.Now().UnixMilli() },
	})
	if err != nil {
		return err
	}
	defer n.watch(in)()
	serving := start(in.Run)
	select {
	case <-in.Ready():
		n.seen.serving.Store(true)
		defer n.seen.serving.Store(false)
		ready(plans)
		<-ctx.Done()
	case err := <-serving.ended:
		return err
	case <-ctx.Done():
	}
	return serving.stop()
}

// awaitTasks waits until a task has looked at the log of every partition, and halted or
// not. Before, new frames could take the sequences of lost ones, and hide the loss. It
// returns false if ctx has ended.
func (n *Node) awaitTasks(ctx context.Context, plans []*siddhiql.Plan) bool {
	said := time.Now()
	for {
		list, err := n.control.Apps(ctx)
		if ctx.Err() != nil {
			return false
		}
		missing := ""
		if err == nil {
			if missing = missingTask(list.Apps, plans); missing == "" {
				return true
			}
		}
		if time.Since(said) >= sayEvery {
			said = time.Now()
			n.log.Warn("no events are accepted before a processor has looked at every log; start one with eventflux serve --services processor", "waiting_for", missing, "err", err)
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(lookEvery):
		}
	}
}

// missingTask names a partition that no task has taken over, or "".
func missingTask(apps []control.App, plans []*siddhiql.Plan) string {
	states := map[string]map[uint32]string{}
	for _, a := range apps {
		states[a.Name] = map[uint32]string{}
		for _, o := range a.Owners {
			states[a.Name][o.Partition] = o.State
		}
	}
	for _, plan := range plans {
		for p := range uint32(plan.Partitions) {
			if s := states[plan.Name][p]; s == "" || s == "starting" {
				return fmt.Sprintf("%s, partition %d", plan.Name, p)
			}
		}
	}
	return ""
}

// deployed returns the plans of all deployed apps, in the order of their names, and the
// Raft indices of their deployments, by the keys of the cluster's bucket.
func (n *Node) deployed(ctx context.Context) (plans []*siddhiql.Plan, known map[string]uint64, err error) {
	list, err := n.control.Apps(ctx)
	if err != nil {
		return nil, nil, err
	}
	known = map[string]uint64{}
	keys := map[string]int64{}
	defer func() { n.keyBytes = keys }()
	for _, a := range list.Apps {
		if a.Removing {
			continue
		}
		full, err := n.control.App(ctx, control.AppRequest{App: a.Name})
		if control.Code(err) == control.CodeNotFound {
			continue // removed meanwhile
		}
		if err != nil {
			return nil, nil, err
		}
		plan, err := siddhiql.CompileDeployed(full.Text)
		if err != nil {
			return nil, nil, err
		}
		plans = append(plans, plan)
		keys[a.Name] = full.Settings.OrDefault().KeyBytes
		known[bus.ClusterKey("app", a.Name)] = full.Index
	}
	return plans, known, nil
}

// watcher tells when the set of apps changes.
type watcher struct{ watch jetstream.KeyWatcher }

// watchApps waits until there is a cluster to be watched.
func (n *Node) watchApps(ctx context.Context) (*watcher, error) {
	js, err := jetstream.New(n.control.Conn)
	if err != nil {
		return nil, err
	}
	for {
		bucket, err := js.KeyValue(ctx, bus.ClusterBucket)
		if err == nil {
			var watch jetstream.KeyWatcher
			if watch, err = bucket.Watch(ctx, bus.ClusterKeys("app")); err == nil {
				return &watcher{watch}, nil
			}
		}
		if !errors.Is(err, jetstream.ErrBucketNotFound) && ctx.Err() == nil {
			n.log.Warn("look at the cluster's bucket; trying again", "bucket", bus.ClusterBucket, "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(10 * lookEvery):
		}
	}
}

func (w *watcher) stop() { _ = w.watch.Stop() }

// await returns when an app is there that is not known, or gone that is, or ctx has
// ended. One that was removed and deployed again under its name is another one: a bucket
// that could not be watched for a while does not tell that it was gone.
func (w *watcher) await(ctx context.Context, known map[string]uint64) {
	for {
		select {
		case <-ctx.Done():
			return
		case e, open := <-w.watch.Updates():
			switch {
			case !open:
				<-ctx.Done()
				return
			case e == nil: // all that was there before has come
			case !strings.HasPrefix(e.Key(), "app."):
			case e.Operation() != jetstream.KeyValuePut:
				if known[e.Key()] > 0 {
					return
				}
			default:
				var app control.App
				// A value that says nothing is asked for: the answer tells.
				if json.Unmarshal(e.Value(), &app) != nil || app.Index > known[e.Key()] {
					return
				}
			}
		}
	}
}
