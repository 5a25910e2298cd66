package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/services/checkpointer"
	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/services/merger"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// openCheckpointer opens this process's part of the Raft group.
func (n *Node) openCheckpointer(ctx context.Context) (err error) {
	if n.fsm, err = checkpointer.NewFSM(n.self.Version); err != nil {
		return err
	}
	n.fsm.OnStore(n.useStore)
	raft := n.raftConfig()
	raft.Found = func() (bool, error) { return n.foundGroup(ctx, raft.Dir) }
	if n.cfg.NATS.URL != "" {
		if err := n.meet(ctx, &raft); err != nil {
			return err
		}
	}
	if n.raft, err = consensus.Open(raft); err != nil {
		return errors.Join(err, n.fsm.Err())
	}
	own, err := n.connectOwn(ctx, "eventflux checkpointer")
	if err != nil {
		return err
	}
	n.checkpoint, err = checkpointer.New(checkpointer.Config{
		Conn: own, Store: n.store, OpenStore: n.openURL, Raft: n.raft, FSM: n.fsm,
		Interval: n.cfg.Checkpoint.Interval, Timeout: n.cfg.Checkpoint.Timeout,
		RetentionCheckpoints: n.cfg.Retention.Checkpoints, RetentionSpan: n.cfg.Retention.Span,
		Streams: natsconn.StreamLimits{BytesMax: int64(n.cfg.WAL.BytesMax), Replicas: n.cfg.NATS.Replicas},
		Settings: engine.Settings{DedupWindow: n.cfg.Dedup.Window.Milliseconds(), Limits: engine.Limits{
			EventRows: int64(n.cfg.Limits.EventRowsMax), FrameRows: int64(n.cfg.Limits.FrameRowsMax),
			FrameBytes: int64(n.cfg.Limits.FrameBytesMax), KeyBytes: int64(n.cfg.Limits.KeyBytesMax),
		}}, AppsMax: n.cfg.Limits.AppsMax, PartitionsMax: n.cfg.Limits.PartitionsMax, Witness: n.witness,
		Standby: n.cfg.Processor.Standby == "on", Grace: faultpoint.Span("grace"), Lease: faultpoint.Span("lease"),
		Self: n.self, Log: n.log, Now: faultpoint.Now, Tracer: n.seen.exporter.Tracer(),
	})
	if err == nil {
		n.watch(n.checkpoint)
	}
	return err
}

// runCheckpointer runs the checkpointer until ctx ends, until the checkpointer finds that it
// must not be in this cluster, or until its Raft database is damaged.
func (n *Node) runCheckpointer(ctx context.Context) error {
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error { return n.compareVersions(ctx) })
	all.Go(func() error { return n.checkpoint.Run(ctx) })
	all.Go(func() error {
		select {
		case err := <-n.raft.Failed():
			return err
		case <-ctx.Done():
			return nil
		}
	})
	return all.Wait()
}

// compareVersions logs which other versions are in the cluster when the checkpointer starts, since
// other services contact it only rarely. It fails if there are checkpointers of another major
// version, which may not have answered meet.
func (n *Node) compareVersions(ctx context.Context) error {
	if n.server != nil {
		return nil
	}
	found, err := natsconn.Services(ctx, n.control.Conn)
	if err != nil {
		return nil // other code reports why they do not answer
	}
	for _, s := range found {
		if err := n.self.Meet(natsconn.Place(&s), s.Version); err != nil && s.Name == natsconn.ServiceName(control.Service) {
			return err
		}
	}
	return nil
}

// openMerger makes this process's merger.
func (n *Node) openMerger(ctx context.Context) error {
	nc, err := n.connectOwn(ctx, "eventflux merger")
	if err != nil {
		return err
	}
	choice, err := n.codec()
	if err != nil {
		return err
	}
	n.merger, err = merger.New(merger.Config{
		Conn: nc, Control: &control.Client{Conn: nc, Self: n.self}, Store: n.store,
		Interval: n.cfg.Merger.Interval, ChainMax: n.cfg.Merger.ChainMax, DeltaRatio: n.cfg.Merger.DeltaRatio,
		Compression: choice, Workers: n.cfg.Recovery.Workers, Version: n.self.Version, Log: n.log,
		SweepEvery: faultpoint.Span("sweep"),
	})
	if err == nil {
		n.watch(n.merger)
	}
	return err
}

// codec returns how checkpoints are compressed; zero means the best codec for each component.
func (n *Node) codec() (choice compress.Choice, err error) {
	if n.cfg.Store.Codec != "auto" {
		choice, err = compress.ParseChoice(n.cfg.Store.Codec)
	}
	return choice, err
}

func (n *Node) raftConfig() consensus.Config {
	c := consensus.Config{
		ID: n.cfg.Raft.ID, Dir: filepath.Join(n.cfg.Data, "raft"), Listen: n.cfg.Raft.Listen, FSM: n.fsm, Log: n.log,
	}
	if c.ID == "" {
		c.ID = "single"
	}
	if r := n.cfg.Raft; r.CA != "" || r.Cert != "" || r.Key != "" {
		c.TLS = &consensus.TLS{CAFile: r.CA, CertFile: r.Cert, KeyFile: r.Key}
	}
	for peer := range strings.SplitSeq(n.cfg.Raft.Peers, ",") {
		if id, address, ok := strings.Cut(peer, "="); ok {
			c.Peers = append(c.Peers, consensus.Peer{ID: id, Address: address})
			if id == c.ID {
				c.Advertise = address
			}
		}
	}
	return c
}

// askGroupTimeout is how long a checkpointer waits for other members to answer. If there are
// none, NATS reports that at once.
const askGroupTimeout = time.Second

// meet makes the member join the existing group, if there is one: two groups on one NATS would
// both give orders.
func (n *Node) meet(ctx context.Context, c *consensus.Config) error {
	ctx, cancel := context.WithTimeout(ctx, askGroupTimeout)
	defer cancel()
	group, err := n.control.Status(ctx)
	if control.Code(err) == control.CodeVersion {
		return err
	}
	if err != nil || group.Leader == "" {
		return nil // there is none, or one is about to form
	}
	var members []string
	known := false
	for _, p := range group.Peers {
		members = append(members, p.ID+"="+p.Address)
		known = known || p.ID == c.ID
	}
	_, err = os.Stat(c.Dir)
	begun := err == nil
	switch {
	case len(c.Peers) == 0 && !(known && begun):
		return fmt.Errorf("a group of checkpointers leads here already (%s), and a second one may not; set raft.id, raft.listen and raft.peers to join it, or use another NATS", strings.Join(members, ","))
	case !known:
		n.log.Warn("this checkpointer is not a member of the group; add it with eventflux checkpointer add", "member", c.ID+"="+c.Advertise, "group", strings.Join(members, ","))
	}
	c.Join = true
	return nil
}

// Connect connects to the node's NATS with the node's own identity. The caller closes the
// connection before the node.
func (n *Node) Connect(ctx context.Context, name string) (*nats.Conn, error) {
	return n.connect(ctx, name)
}

// connectOwn opens a connection that lasts as long as the node is open.
func (n *Node) connectOwn(ctx context.Context, name string) (*nats.Conn, error) {
	nc, err := n.connect(ctx, name)
	if err == nil {
		n.conns = append(n.conns, nc)
	}
	return nc, err
}

// connect connects to the node's NATS. The caller closes the connection.
func (n *Node) connect(ctx context.Context, name string) (*nats.Conn, error) {
	return n.connectPaced(ctx, name, nil)
}

// connectPaced is connect, with natsconn.ConnectConfig's BeforeRead.
func (n *Node) connectPaced(ctx context.Context, name string, beforeRead func()) (*nats.Conn, error) {
	seen, c := &connection{name: name}, n.cfg.NATS
	nc, err := natsconn.Connect(ctx, natsconn.ConnectConfig{
		URL: c.URL, Embedded: n.server, Name: name, Log: n.log, Changed: seen.changed, BeforeRead: beforeRead,
		User: c.User, PasswordFile: c.PasswordFile, NKeyFile: c.NKey, Password: c.Password, Token: c.Token, TokenFile: c.TokenFile, CredsFile: c.Creds, CAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key, Inbox: c.Inbox,
	})
	if err == nil {
		n.seen.add(seen, nc)
	}
	return nc, err
}
