// Package node runs services of EventFlux in one process: all of them with an embedded NATS
// server, or some with an external one. The package of each service does its work.
//
//	data folder ──▶ NATS ──▶ checkpointer ──▶ processor ──▶ ingest ──▶ serving
//	                                                                      │ stop
//	closed ◀── NATS ◀── checkpointer ◀── processor drained ◀── last ◀── ingest ended
//	                                                         checkpoint
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/checkpointer"
	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/services/merger"
	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/switched"
)

// drainTimeout bounds how long a stop waits for results; the next start publishes the missing
// ones.
const drainTimeout = 30 * time.Second

// raftStopTimeout bounds how long a stop waits for another leader.
const raftStopTimeout = 5 * time.Second

// monitorTimeout bounds how long a server may take to report how it syncs.
const monitorTimeout = 5 * time.Second

// Services are the services that a node can run.
var Services = []string{"checkpointer", "merger", "processor", "ingest", "recovery"}

// Node runs some or all services in one process.
type Node struct {
	cfg        *config.Config
	services   []string
	texts      []string // of the apps that the node was started with
	self       *control.Self
	log        *slog.Logger
	durability natsconn.Durability
	server     *natsconn.Embedded // nil: external
	witness    *witness.Folder
	syncing    part // of witness
	room       room
	looking    part // watches free disk space
	scrubber   scrubber
	scrubbing  part // runs the scrubber
	conns      []*nats.Conn
	store      store.Store       // switched, and timed
	switched   *switched.Store   // nil where no service uses a store
	following  part              // of switches
	answering  []<-chan struct{} // of the services but ingest: closed when they answer requests
	answers    answering         // to the leader's requests about the store
	raft       *consensus.Node
	fsm        *checkpointer.FSM
	control    *control.Client
	checkpoint *checkpointer.Service // nil where this node runs none
	merger     *merger.Service       // the same
	recovery   *recovery.Service     // the same
	skipLast   bool                  // tests: stop without a last checkpoint, like a kill
	seen       observed
}

// Open opens the data folder and connects to NATS; unless an external server is configured, it
// starts an embedded one first. The node accepts no events before Run. services is a subset of
// Services. texts are apps to deploy if they are not deployed yet. version is a semver.
func Open(ctx context.Context, cfg *config.Config, services, texts []string, version string, log *slog.Logger) (*Node, error) {
	n := &Node{cfg: cfg, services: services, texts: texts, log: log, room: room{log: log, dir: cfg.Data, reserve: uint64(cfg.Disk.Reserve)}}
	n.scrubber.dir, n.scrubber.log = filepath.Join(cfg.Data, natsFolder), log
	n.self = &control.Self{Version: version, Name: n.name(), Log: log}
	if err := n.open(ctx); err != nil {
		err = errors.Join(err, n.Close())
		_ = os.Remove(filepath.Join(cfg.Data, witnessFolder)) // removes only an empty folder, as after a refused first start
		return nil, err
	}
	return n, nil
}

func (n *Node) open(ctx context.Context) (err error) {
	if err := n.observe(ctx); err != nil {
		return err
	}
	n.seen.metrics.MustRegister(n.room.table())
	n.room.look()
	if n.durability, err = natsconn.ParseDurability(string(n.cfg.WAL.Durability)); err != nil {
		return err
	}
	if err := checkAccess(n.cfg); err != nil {
		return err
	}
	if n.cfg.NATS.URL == "" {
		err = n.embed()
	} else if err = n.openWitness(); err == nil {
		err = n.checkExternal(ctx)
	}
	if err != nil {
		return err
	}
	n.looking = start(n.room.watch)
	nc, err := n.connectOwn(ctx, "eventflux control")
	if err != nil {
		return err
	}
	n.control = &control.Client{Conn: nc, Self: n.self}
	if len(n.storing()) > 0 {
		if err := n.openStore(ctx); err != nil {
			return err
		}
	}
	if n.runs("checkpointer") {
		if err := n.openCheckpointer(ctx); err != nil {
			return err
		}
	}
	if n.runs("merger") {
		if err := n.openMerger(ctx); err != nil {
			return err
		}
	}
	if n.runs("recovery") {
		if err := n.openRecovery(ctx); err != nil {
			return err
		}
	}
	return n.answerForStore()
}

// name returns the name that other processes know this process by.
func (n *Node) name() string {
	own := n.cfg.Raft.ID
	if n.runs("processor") {
		own, _ = n.processorID() // if it fails, it also fails later, where it matters
	}
	if own == "" {
		own, _ = os.Hostname()
	}
	return strings.TrimSpace(strings.Join(n.services, ",") + " " + own)
}

// runs reports whether the node runs a service.
func (n *Node) runs(service string) bool { return slices.Contains(n.services, service) }

// embed starts the NATS server on the data folder.
func (n *Node) embed() (err error) {
	if err := checkFolder(n.cfg.Data); err != nil {
		return err
	}
	if err := n.openWitness(); err != nil {
		return err
	}
	n.warnOfAccess()
	n.server, err = natsconn.OpenEmbedded(natsconn.EmbeddedConfig{
		Dir: filepath.Join(n.cfg.Data, natsFolder), Listen: n.cfg.Listen, Durability: n.durability,
		Access: access(n.cfg), Before: n.checkFiles, Log: n.log,
	})
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("%w; if EventFlux runs there, give it the app: eventflux app deploy FILE --server nats://%s; if it is another NATS server with JetStream, use it: --nats.url nats://%[2]s; otherwise stop that process, or choose another address with --listen", err, n.cfg.Listen)
	case errors.Is(err, natsconn.ErrInUse):
		return fmt.Errorf("%w; stop the other process, or choose another folder with --data", err)
	}
	if err != nil {
		return err
	}
	n.room.server = n.server
	n.seen.metrics.MustRegister(n.scrubber.table())
	n.scrubbing = start(n.scrubber.run)
	return writeFormat(n.cfg.Data)
}

// checkExternal refuses an external server unless it is known to sync as the durability
// profile promises.
func (n *Node) checkExternal(ctx context.Context) error {
	if n.durability == natsconn.Fast {
		return nil
	}
	nc, err := n.connect(ctx, "eventflux check")
	if err != nil {
		return err
	}
	defer nc.Close()
	servers, err := n.syncOf(ctx, nc)
	if errors.Is(err, natsconn.ErrNoJetStream) {
		return err
	}
	if err != nil && n.cfg.NATS.Monitor != "" {
		return fmt.Errorf("wal.durability is %s, which cannot be checked: %w; --nats.monitor names the monitoring port of the server, which is `http: 127.0.0.1:8222` in its configuration file; to try EventFlux out, --wal.durability fast accepts the server as it is", n.durability, err)
	}
	if err != nil {
		return fmt.Errorf("wal.durability is %s, which cannot be checked: %w; add `http: 127.0.0.1:8222` to its configuration file (the one of nats-server -c), restart it, and name this monitoring port with --nats.monitor http://127.0.0.1:8222; to try EventFlux out, --wal.durability fast accepts the server as it is", n.durability, err)
	}
	return natsconn.CheckSync(n.durability, servers)
}

// syncOf asks the servers how they sync. It uses their monitoring ports if they are
// configured, because a user without permission to ask over NATS gets no answer and causes a
// line in the server's log.
func (n *Node) syncOf(ctx context.Context, nc *nats.Conn) (servers []natsconn.ServerSync, err error) {
	if n.cfg.NATS.Monitor == "" {
		return natsconn.SyncOverNATS(ctx, nc)
	}
	var silent []error
	for at := range strings.SplitSeq(n.cfg.NATS.Monitor, ",") {
		ask, cancel := context.WithTimeout(ctx, monitorTimeout)
		one, err := natsconn.SyncOverHTTP(ask, at)
		cancel()
		if err != nil {
			silent = append(silent, err)
			continue
		}
		servers = append(servers, one)
	}
	if len(servers) == 0 {
		return nil, errors.Join(silent...)
	}
	// A service must be able to start while a minority of the servers is down.
	for _, err := range silent {
		n.log.Warn("it is not known how one of the NATS servers syncs", "err", err)
	}
	return servers, nil
}

// URL returns the address that clients use to reach NATS.
func (n *Node) URL() string {
	if n.server != nil {
		return n.server.URL()
	}
	return n.cfg.NATS.URL
}

// Durability is the profile in force.
func (n *Node) Durability() natsconn.Durability { return n.durability }

// Run serves until ctx ends, and then stops in order: it stops accepting events, makes the
// accepted ones durable, gives its partitions to other processors or makes a last checkpoint,
// lets the tasks apply the rest, and returns nil. It calls ready once the node serves, and
// again when the set of apps changes. A returned error is the reason why a service ended.
func (n *Node) Run(ctx context.Context, ready func(plans []*siddhiql.Plan)) error {
	defer n.seen.serving.Store(false)
	var checkpoints, recoveries part
	if n.checkpoint != nil {
		checkpoints = start(n.runCheckpointer)
		n.answering = append(n.answering, n.checkpoint.Ready())
	}
	if n.recovery != nil {
		recoveries = start(n.recovery.Run)
		n.answering = append(n.answering, n.recovery.Ready())
	}
	var merging part
	if n.merger != nil {
		merging = start(n.merger.Run)
		n.answering = append(n.answering, n.merger.Ready())
	}
	err := n.serve(ctx, checkpoints, recoveries, merging, ready)
	return errors.Join(err, recoveries.stop(), merging.stop(), checkpoints.stop())
}

// serve deploys the node's own apps and runs processor and ingest.
func (n *Node) serve(ctx context.Context, checkpoints, recoveries, merging part, ready func([]*siddhiql.Plan)) (err error) {
	if err := n.deployOwn(ctx, checkpoints); err != nil || ctx.Err() != nil {
		return err
	}
	var tasks part
	var running *processor.Service
	if n.runs("processor") {
		if running, err = n.newProcessor(ctx); err != nil {
			return ignoreEnd(ctx, err)
		}
		defer n.watch(running)()
		tasks = start(running.Run)
		n.answering = append(n.answering, running.Ready())
	}
	var events part
	if n.runs("ingest") {
		events = start(func(ctx context.Context) error { return n.ingestAll(ctx, ready) })
	} else {
		events = start(func(ctx context.Context) error {
			if n.awaitAnswering(ctx) {
				n.seen.serving.Store(true)
				ready(nil)
			}
			<-ctx.Done()
			return nil
		})
	}
	select {
	case <-ctx.Done():
	case err = <-checkpoints.ended:
	case err = <-recoveries.ended:
	case err = <-merging.ended:
	case err = <-tasks.ended:
	case err = <-n.looking.ended:
	case err = <-events.ended:
	}
	n.log.Info("stopping")
	n.seen.serving.Store(false)
	err = errors.Join(err, events.stop())
	if running != nil && err == nil {
		n.retreat(running)
	}
	return errors.Join(err, tasks.stop())
}

// awaitAnswering waits until the services of this process answer requests. It returns false if ctx
// ends first.
func (n *Node) awaitAnswering(ctx context.Context) bool {
	for _, ready := range n.answering {
		select {
		case <-ready:
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// deployOwn deploys the node's own apps. It returns nil if ctx ends first.
func (n *Node) deployOwn(ctx context.Context, checkpoints part) error {
	deploying := start(func(ctx context.Context) error {
		for _, text := range n.texts {
			d, err := n.control.Deploy(ctx, control.DeployRequest{Text: text})
			if err != nil {
				return fmt.Errorf("deploy: %w", err)
			}
			for _, text := range d.Warnings {
				n.log.Warn("apps read the same subject by different definitions", "app", d.Name, "conflict", text)
			}
		}
		return nil
	})
	select {
	case err := <-deploying.ended:
		return err
	case err := <-checkpoints.ended: // the checkpointer no longer answers
		_ = deploying.stop()
		return err
	case <-ctx.Done():
		_ = deploying.stop()
		return nil
	}
}

func ignoreEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// Close closes connections, store and server. Call it when Run has returned.
func (n *Node) Close() error {
	var errs []error
	ctx, cancel := context.WithTimeout(context.Background(), raftStopTimeout)
	defer cancel()
	defer n.seen.close(ctx, n.log)
	if n.raft != nil {
		errs = append(errs, n.raft.Close(ctx))
	}
	n.answers.close()
	errs = append(errs, n.following.stop())
	for _, nc := range n.conns {
		nc.Close()
	}
	if n.store != nil {
		errs = append(errs, n.store.Close())
	}
	errs = append(errs, n.looking.stop(), n.scrubbing.stop())
	if n.server != nil {
		errs = append(errs, n.server.Close())
	}
	errs = append(errs, n.syncing.stop(), n.witness.Close())
	return errors.Join(errs...)
}

// part is a running service.
type part struct {
	cancel context.CancelFunc
	ended  chan error // closed at the end; has the error, if any
}

// start runs a service until stop is called. The zero part does nothing.
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

// stop ends the part and returns its error, unless the error was already received.
func (p part) stop() error {
	if p.cancel == nil {
		return nil
	}
	p.cancel()
	return <-p.ended
}
