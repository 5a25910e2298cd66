// Package consensus is this process's member of the checkpointer's Raft group: its log,
// its network, and the leadership. The state machine, in package checkpointer, defines the
// commands.
//
// Read node.go, then leadership.go, members.go and log.go (where the log is kept).
package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/pprof"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// The errors of a command that may not have been applied.
var (
	// ErrNotLeader is returned if another member leads, or none. Ask the leader.
	ErrNotLeader = errors.New("not the leader")
	// ErrUnknown is returned if this member lost the leadership before the command was
	// committed. It may be applied or not. Commands are idempotent: repeat it at the leader.
	ErrUnknown = errors.New("leadership was lost; the command may be applied or not")
	// ErrUnavailable is returned if the group does not answer in time.
	ErrUnavailable = errors.New("the Raft group does not answer")
)

const (
	// A group of one waits for no other member, so a short timeout makes its start fast.
	heartbeatAlone = 50 * time.Millisecond
	// Members elect after one to two of these without a message from the leader, and again
	// after as long if the vote was split: two rounds and a checkpoint take less than two
	// seconds. If the old leader is only slow, its writes are refused because of its term.
	heartbeatGroup = 300 * time.Millisecond
	commitTimeout  = 10 * time.Millisecond

	snapshotsKept    = 2
	snapshotInterval = 30 * time.Second
	snapshotEntries  = 4096
	trailingEntries  = 1024

	networkTimeout = 5 * time.Second
	networkPool    = 3
	applyTimeout   = 10 * time.Second
	closeTimeout   = 6 * networkTimeout // replication to a member that is gone ends after one or two
)

// Peer is a member of the group.
type Peer struct{ ID, Address string }

// Config is the configuration of this member.
type Config struct {
	ID  string // unique in the group, and never reused
	Dir string // for the log and the snapshots; created if missing
	// Listen is the address for the other members; "" for a group of one, which needs
	// none. Advertise is the address that they connect to; "" means Listen.
	Listen, Advertise string
	// Peers are the initial members of the group, including this one, and the same at each
	// member; empty for a group of one. They are used if Dir is empty. Later, a difference
	// to the members of the group is only logged.
	Peers []Peer
	// TLS authenticates the members to each other; nil means plain text.
	TLS *TLS
	// Join says that the group exists already: with an empty Dir, the member waits for the
	// log of that group instead of starting a new one.
	Join bool
	// Found is called before a member without any state starts a new group. If it returns
	// join, the member waits for the log of a group that exists; an error ends Open. nil
	// always starts the group.
	Found func() (join bool, err error)
	FSM   raft.FSM
	// NoSync does not sync the log, so a power loss may lose committed entries. It is for
	// long tests of other things.
	NoSync bool
	// Log may be nil, which means slog.Default.
	Log *slog.Logger
}

// Node is a member of the group.
type Node struct {
	cfg       Config
	raft      *raft.Raft
	log       *logStore
	transport raft.Transport
	watch     *watch
	joined    atomic.Pointer[raft.Raft] // raft, once it runs: connections may arrive earlier
	compared  atomic.Pointer[string]    // the members that Peers were compared with

	// Raft answers requests only while it runs, and not those that are queued when it stops.
	// So Close waits for pending first.
	mu      sync.Mutex
	closing bool
	pending sync.WaitGroup
}

// Open starts the member, which takes part in elections from then on.
func Open(cfg Config) (*Node, error) {
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Advertise == "" {
		cfg.Advertise = cfg.Listen
	}
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("raft: %w", err)
	}
	n := &Node{cfg: cfg}
	if err := n.open(); err != nil {
		return nil, errors.Join(fmt.Errorf("raft: %w", err), n.release())
	}
	return n, nil
}

func (c *Config) check() error {
	switch {
	case c.ID == "" || c.Dir == "" || c.FSM == nil:
		return errors.New("a member needs an id (raft.id), a folder and a state machine")
	case c.Listen == "" && len(c.Peers) > 1:
		return errors.New("a group of several needs an address for each member; set raft.listen")
	case len(c.Peers) > 0 && c.self() == "":
		return fmt.Errorf("%q is not among raft.peers; set raft.id to one of them", c.ID)
	}
	return nil
}

// self returns this member's address in Peers.
func (c *Config) self() string {
	for _, p := range c.Peers {
		if p.ID == c.ID {
			return p.Address
		}
	}
	return ""
}

func (n *Node) open() (err error) {
	if err := os.MkdirAll(n.cfg.Dir, 0o750); err != nil {
		return err
	}
	if n.log, err = openLog(filepath.Join(n.cfg.Dir, "log.db"), n.cfg.NoSync, n.cfg.Listen == "", n.cfg.Log); err != nil {
		return err
	}
	logger := hclogTo(n.cfg.Log, n.cfg.Listen == "")
	snapshots, err := openSnapshots(n.cfg.Dir, logger, n.cfg.Log)
	if err != nil {
		return err
	}
	if err := n.listen(logger); err != nil {
		return err
	}
	conf := n.raftConfig(logger)
	if err := n.bootstrap(conf, snapshots); err != nil {
		return err
	}
	n.watch = newWatch()
	conf.NotifyCh = n.watch.notify
	if n.raft, err = raft.NewRaft(conf, machine{n.cfg.FSM, n}, n.log, n.log, snapshots, n.transport); err != nil {
		return err
	}
	n.log.running.Store(true)
	n.joined.Store(n.raft)
	n.compare()
	go n.watch.run(n.raft)
	return nil
}

func (n *Node) listen(logger hclog.Logger) error {
	if n.cfg.Listen == "" {
		_, n.transport = raft.NewInmemTransport(raft.ServerAddress(n.cfg.ID))
		return nil
	}
	var g *guard
	if n.cfg.TLS != nil {
		g = &guard{files: *n.cfg.TLS, id: n.cfg.ID, log: n.cfg.Log, members: n.members}
		if _, _, err := g.load(); err != nil {
			return err
		}
	}
	stream, err := newStream(n.cfg.Listen, n.cfg.Advertise, g)
	if err != nil {
		return fmt.Errorf("listen on %s: %w", n.cfg.Listen, err)
	}
	n.transport = raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream: stream, MaxPool: networkPool, Timeout: networkTimeout, Logger: logger,
		MsgpackUseNewTimeFormat: true,
		// One request at a time, without a pipeline: when the reader of a pipeline's answers ends
		// while a request waits for it, the member is sent nothing more, and Shutdown waits forever.
		MaxRPCsInFlight: 1,
	})
	return nil
}

// members returns the addresses of the members by their ids: the members of the group, or
// the configured peers until this member takes part.
func (n *Node) members() map[string]string {
	known := map[string]string{}
	for _, p := range n.cfg.Peers {
		known[p.ID] = p.Address
	}
	if r := n.joined.Load(); r != nil {
		for _, s := range r.GetConfiguration().Configuration().Servers {
			known[string(s.ID)] = string(s.Address)
		}
	}
	return known
}

func (n *Node) raftConfig(logger hclog.Logger) *raft.Config {
	conf := raft.DefaultConfig()
	conf.LocalID = raft.ServerID(n.cfg.ID)
	conf.Logger = logger
	wait := heartbeatGroup
	if n.cfg.Listen == "" {
		wait = heartbeatAlone
	}
	conf.HeartbeatTimeout, conf.ElectionTimeout, conf.LeaderLeaseTimeout = wait, wait, wait
	conf.CommitTimeout = commitTimeout
	conf.SnapshotInterval, conf.SnapshotThreshold, conf.TrailingLogs = snapshotInterval, snapshotEntries, trailingEntries
	if often := faultpoint.Span("snapshot"); often > 0 {
		conf.SnapshotInterval, conf.SnapshotThreshold = often, 1
	}
	return conf
}

// bootstrap writes the initial members into an empty folder.
func (n *Node) bootstrap(conf *raft.Config, snapshots raft.SnapshotStore) error {
	has, err := raft.HasExistingState(n.log, n.log, snapshots)
	if err != nil {
		return err
	}
	if has {
		return n.checkLog(snapshots)
	}
	if n.cfg.Join {
		return nil
	}
	if n.cfg.Found != nil {
		if join, err := n.cfg.Found(); err != nil || join {
			return err
		}
	}
	peers := n.cfg.Peers
	if len(peers) == 0 {
		peers = []Peer{{n.cfg.ID, string(n.transport.LocalAddr())}}
	}
	var servers []raft.Server
	for _, p := range peers {
		servers = append(servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address)})
	}
	return raft.BootstrapCluster(conf, n.log, n.log, snapshots, n.transport, raft.Configuration{Servers: servers})
}

// checkLog refuses a log with a gap after the newest snapshot: it has lost committed
// entries. A member stores its term before its first snapshot, so if there are snapshots
// but no term, the whole log was lost.
func (n *Node) checkLog(snapshots raft.SnapshotStore) error {
	list, err := snapshots.List()
	if err != nil {
		return err
	}
	newest := uint64(0)
	if len(list) > 0 {
		newest = list[0].Index
	}
	if n.log.from > newest+1 {
		return fmt.Errorf("the Raft folder %s lacks the entries %d to %d: the newest snapshot ends before them, and the log starts after them; %s", n.cfg.Dir, newest+1, n.log.from-1, WayOut)
	}
	if newest == 0 || n.log.from > 0 {
		return nil
	}
	if _, err := n.log.Get(keyTerm); !errors.Is(err, errKeyNotFound) {
		return err
	}
	return fmt.Errorf("the Raft database %s is empty, but there are snapshots of %d entries: later entries are lost; %s", n.log.path, newest, WayOut)
}

// Dir returns the folder of the log and the snapshots.
func (n *Node) Dir() string { return n.cfg.Dir }

// Failed returns a channel that receives the reason if the member cannot continue. The
// caller must close it then.
func (n *Node) Failed() <-chan error { return n.log.failed }

// compare warns if the configured peers differ from the members of the group, which
// commands may have changed. It does so once for each set of members.
func (n *Node) compare() {
	r := n.joined.Load()
	if r == nil || len(n.cfg.Peers) == 0 {
		return
	}
	known := map[string]string{}
	var have []string
	for _, s := range r.GetConfiguration().Configuration().Servers {
		known[string(s.ID)] = string(s.Address)
		have = append(have, fmt.Sprintf("%s=%s", s.ID, s.Address))
	}
	same := len(known) == len(n.cfg.Peers)
	for _, p := range n.cfg.Peers {
		same = same && known[p.ID] == p.Address
	}
	members := strings.Join(have, ",")
	if before := n.compared.Swap(&members); before != nil && *before == members {
		return
	}
	if !same && len(known) > 0 {
		n.cfg.Log.Warn("raft.peers differ from the members of the group; the members of the group are used", "members", members)
	}
}

// machine is the state machine, and learns of the members of the group: a member with an old
// log knows them only after it has got the rest from the leader.
type machine struct {
	raft.FSM
	node *Node
}

// StoreConfiguration implements raft.ConfigurationStore. The members may be those of long ago,
// as Raft applies its whole log after a start, so it looks at the newest.
func (m machine) StoreConfiguration(uint64, raft.Configuration) { m.node.compare() }

// Apply proposes a command and returns the answer of the state machine and the index of the
// command's entry. It fails with ErrNotLeader, ErrUnknown, ErrUnavailable or the error of
// ctx; after the last three the command may still be applied.
func (n *Node) Apply(ctx context.Context, command []byte) (answer any, index uint64, err error) {
	f, err := ask(ctx, n, func() raft.ApplyFuture { return n.raft.Apply(command, timeLeft(ctx)) })
	if err != nil {
		return nil, 0, err
	}
	return f.Response(), f.Index(), nil
}

func timeLeft(ctx context.Context) time.Duration {
	if end, ok := ctx.Deadline(); ok {
		return max(time.Until(end), time.Millisecond)
	}
	return applyTimeout
}

// ask starts a request to Raft, waits for the answer, and classifies its error. If it
// returns the error of ctx, Raft may still do what was asked.
func ask[F raft.Future](ctx context.Context, n *Node, start func() F) (f F, err error) {
	n.mu.Lock()
	if n.closing {
		n.mu.Unlock()
		return f, fmt.Errorf("%w: this member is stopping", ErrUnavailable)
	}
	n.pending.Add(1)
	n.mu.Unlock()
	f = start()
	done := make(chan error, 1)
	go func() {
		defer n.pending.Done()
		done <- f.Error()
	}()
	select {
	case err := <-done:
		return f, classify(err)
	case <-ctx.Done():
		return f, ctx.Err()
	}
}

func classify(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		return fmt.Errorf("%w: %w", ErrNotLeader, err)
	case errors.Is(err, raft.ErrLeadershipLost), errors.Is(err, raft.ErrAbortedByRestore):
		return fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

// Close hands the leadership to another member if there is one, waits for pending requests,
// and stops. It may be called once. If Raft has not stopped after closeTimeout, Close logs
// where it hangs and leaves it running until the process ends. For the files that is no
// worse than a kill.
func (n *Node) Close(ctx context.Context) error {
	var errs []error
	if n.raft != nil {
		if n.raft.State() == raft.Leader && len(n.raft.GetConfiguration().Configuration().Servers) > 1 {
			if err := n.Transfer(ctx, ""); err != nil {
				n.cfg.Log.Warn("stopping without handing over the leadership; the other members elect a leader", "err", err)
			}
		}
		n.drain(ctx)
		ended := n.raft.Shutdown()
		n.log.stop()
		stopped := make(chan error, 1)
		go func() { stopped <- ended.Error() }()
		select {
		case err := <-stopped:
			errs = append(errs, err)
			n.watch.stop()
		case <-time.After(closeTimeout):
			var stacks strings.Builder
			_ = pprof.Lookup("goroutine").WriteTo(&stacks, 1)
			n.cfg.Log.Error("Raft does not stop; the process ends without it", "waited", closeTimeout, "goroutines", stacks.String())
			return errors.Join(errs...)
		}
	}
	return errors.Join(append(errs, n.release())...)
}

// drain refuses new requests and waits for the answers to pending ones.
func (n *Node) drain(ctx context.Context) {
	n.mu.Lock()
	n.closing = true
	n.mu.Unlock()
	drained := make(chan struct{})
	go func() {
		n.pending.Wait()
		close(drained)
	}()
	select {
	case <-drained:
	case <-ctx.Done():
	}
}

// release closes everything that open has opened, except Raft itself.
func (n *Node) release() error {
	var errs []error
	if c, ok := n.transport.(raft.WithClose); ok && n.transport != nil {
		errs = append(errs, c.Close())
	}
	if n.log != nil {
		errs = append(errs, n.log.close())
	}
	return errors.Join(errs...)
}
