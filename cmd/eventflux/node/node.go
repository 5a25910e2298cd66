// Package node runs the services of EventFlux in one process: the embedded NATS
// server, or connections to an external one, ingest and the processor. What each
// of them does is left to its package.
//
//	data folder ──▶ NATS ──▶ processor ──▶ ingest ──▶ serving
//	                                                     │ stop
//	closed ◀── NATS ◀── processor drained ◀── ingest ended
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"

	"eventflux/services/ingest"
	"eventflux/services/processor"
	"eventflux/shared/bus"
	"eventflux/shared/config"
	"eventflux/shared/siddhiql"
)

// drainTimeout bounds how long a stop waits for results; what is missing then
// comes with the next start.
const drainTimeout = 30 * time.Second

// Node is all services of a set of apps in one process.
type Node struct {
	cfg        *config.Config
	apps       []*siddhiql.Plan
	version    string
	log        *slog.Logger
	durability bus.Durability
	server     *bus.Embedded // nil: external
	conns      []*nats.Conn
	ingest     *ingest.Service
	processor  *processor.Service
}

// Open opens the data folder and connects to NATS, and starts an embedded server
// first unless an external one is configured. No events are accepted before Run.
// version is a semver.
func Open(ctx context.Context, cfg *config.Config, apps []*siddhiql.Plan, version string, log *slog.Logger) (*Node, error) {
	n := &Node{cfg: cfg, apps: apps, version: version, log: log}
	if err := n.open(ctx); err != nil {
		return nil, errors.Join(err, n.Close())
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	if n.durability, err = bus.ParseDurability(string(n.cfg.WAL.Durability)); err != nil {
		return err
	}
	if n.cfg.NATS.URL == "" {
		err = n.embed()
	} else {
		err = n.checkExternal(ctx)
	}
	if err != nil {
		return err
	}
	return n.services(ctx)
}

// embed starts the NATS server on the data folder.
func (n *Node) embed() (err error) {
	if err := checkFolder(n.cfg.Data); err != nil {
		return err
	}
	n.server, err = bus.OpenEmbedded(bus.EmbeddedConfig{
		Dir: filepath.Join(n.cfg.Data, "nats"), Listen: n.cfg.Listen, Durability: n.durability, Log: n.log,
	})
	if errors.Is(err, bus.ErrInUse) {
		return fmt.Errorf("%w; stop the other process, or choose another folder with --data and another address with --listen", err)
	}
	if err != nil {
		return err
	}
	return markFolder(n.cfg.Data)
}

// checkExternal refuses an external server of which it is not known that it syncs
// as the durability profile promises.
func (n *Node) checkExternal(ctx context.Context) error {
	if n.durability == bus.Fast {
		return nil
	}
	nc, err := n.connect(ctx, "eventflux check")
	if err != nil {
		return err
	}
	servers, err := bus.SyncOverNATS(ctx, nc)
	if errors.Is(err, bus.ErrSyncUnknown) && n.cfg.NATS.Monitor != "" {
		var one bus.ServerSync
		one, err = bus.SyncOverHTTP(ctx, n.cfg.NATS.Monitor)
		servers = []bus.ServerSync{one}
	}
	if err != nil {
		return fmt.Errorf("wal.durability is %s, which cannot be checked: %w; name the server's monitoring port with nats.monitor, or set wal.durability to fast", n.durability, err)
	}
	return bus.CheckSync(n.durability, servers)
}

func (n *Node) connect(ctx context.Context, name string) (*nats.Conn, error) {
	nc, err := bus.Connect(ctx, bus.ConnectConfig{URL: n.cfg.NATS.URL, Embedded: n.server, Name: name, Log: n.log})
	if err == nil {
		n.conns = append(n.conns, nc)
	}
	return nc, err
}

// services connects the services. Each has connections of its own, so that the
// answers to one do not wait behind the events of another.
func (n *Node) services(ctx context.Context) error {
	events, err := n.connect(ctx, "eventflux ingest")
	if err != nil {
		return err
	}
	logs, err := n.connect(ctx, "eventflux ingest log")
	if err != nil {
		return err
	}
	tasks, err := n.connect(ctx, "eventflux processor")
	if err != nil {
		return err
	}
	wal := bus.StreamLimits{BytesMax: int64(n.cfg.WAL.BytesMax)}
	n.ingest, err = ingest.New(ingest.Config{
		Conn: events, LogConn: logs, Plans: n.apps, WALLimits: wal, Durability: n.durability,
		EventBytesMax: int(n.cfg.Ingest.EventBytesMax), MemoryMax: int64(n.cfg.Ingest.MemoryMax),
		Version: n.version, Log: n.log,
	})
	if err != nil {
		return err
	}
	batch := 0 // the default of servers
	if n.server != nil {
		batch = bus.BatchMessagesMax
	}
	n.processor, err = processor.New(processor.Config{
		Conn: tasks, Apps: n.apps, BatchMessagesMax: batch, DedupWindow: n.cfg.Dedup.Window, WAL: wal, Version: n.version,
		Metadata: map[string]string{"durability": n.durability.String(), "guarantee": n.durability.Guarantee()},
		Log:      n.log,
	})
	return err
}

// URL is where clients reach NATS.
func (n *Node) URL() string {
	if n.server != nil {
		return n.server.URL()
	}
	return n.cfg.NATS.URL
}

// Durability is the profile in force.
func (n *Node) Durability() bus.Durability { return n.durability }

// Run serves until ctx ends, and then stops in order: it accepts no more events,
// makes durable what was accepted, lets the processor apply it, and returns nil.
// ready is called once events are accepted. An error is why a service ended.
func (n *Node) Run(ctx context.Context, ready func()) error {
	tasks := start(n.processor.Run)
	events := start(func(ctx context.Context) error {
		select {
		case <-n.processor.Ready():
			return n.ingest.Run(ctx)
		case <-ctx.Done():
			return nil
		}
	})
	var failed error
	serving := n.ingest.Ready()
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
		case <-ctx.Done():
			break wait
		}
	}
	n.log.Info("stopping: no more events are accepted")
	err := events.stop()
	drain, cancel := context.WithTimeout(context.Background(), drainTimeout)
	defer cancel()
	if failed == nil && err == nil {
		if late := n.processor.Drain(drain); late != nil {
			n.log.Warn("stopped before all results were out", "err", late)
		}
	}
	return errors.Join(failed, err, tasks.stop())
}

// Close closes connections and server. Call it when Run has returned.
func (n *Node) Close() error {
	for _, nc := range n.conns {
		nc.Close()
	}
	if n.server == nil {
		return nil
	}
	return n.server.Close()
}

// part is a service that runs.
type part struct {
	cancel context.CancelFunc
	ended  chan error // closed at the end; has the error, if any
}

func start(run func(context.Context) error) part {
	ctx, cancel := context.WithCancel(context.Background())
	p := part{cancel: cancel, ended: make(chan error, 1)}
	go func() {
		defer close(p.ended)
		if err := run(ctx); err != nil {
			p.ended <- err
		}
	}()
	return p
}

// stop ends the part and returns its error, unless that was received before.
func (p part) stop() error {
	p.cancel()
	return <-p.ended
}
