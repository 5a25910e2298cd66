package node

import (
	"context"
	"path/filepath"
	"strings"

	"github.com/nats-io/nats.go"

	"eventflux/services/checkpointer"
	"eventflux/services/checkpointer/consensus"
	"eventflux/services/merger"
	"eventflux/shared/bus"
	"eventflux/shared/compress"
	"eventflux/shared/control"
	"eventflux/shared/store/stores"
)

// openCheckpointer opens the store of checkpoints and this process's part of the
// Raft group.
func (n *Node) openCheckpointer(ctx context.Context) error {
	nc, err := n.connect(ctx, "eventflux control")
	if err != nil {
		return err
	}
	n.conns = append(n.conns, nc)
	n.control = &control.Client{Conn: nc}
	at := n.cfg.Store.URL
	if at == "" {
		at = "file:" + filepath.Join(n.cfg.Data, "checkpoints")
	}
	if n.store, err = stores.Open(ctx, at, n.log); err != nil {
		return err
	}
	n.fsm = checkpointer.NewFSM()
	if n.raft, err = consensus.Open(n.raftConfig()); err != nil {
		return err
	}
	own, err := n.connect(ctx, "eventflux checkpointer")
	if err != nil {
		return err
	}
	n.conns = append(n.conns, own)
	n.checkpoint, err = checkpointer.New(checkpointer.Config{
		Conn: own, Store: n.store, Raft: n.raft, FSM: n.fsm,
		Interval: n.cfg.Checkpoint.Interval, Timeout: n.cfg.Checkpoint.Timeout,
		RetentionCheckpoints: n.cfg.Retention.Checkpoints, RetentionSpan: n.cfg.Retention.Span,
		Version: n.version, Log: n.log,
	})
	if err != nil {
		return err
	}
	return n.openMerger(ctx)
}

// openMerger makes this process's merger.
func (n *Node) openMerger(ctx context.Context) error {
	nc, err := n.connect(ctx, "eventflux merger")
	if err != nil {
		return err
	}
	n.conns = append(n.conns, nc)
	choice, err := n.codec()
	if err != nil {
		return err
	}
	n.merger, err = merger.New(merger.Config{
		Conn: nc, Control: &control.Client{Conn: nc}, Store: n.store,
		Interval: n.cfg.Merger.Interval, ChainMax: n.cfg.Merger.ChainMax, DeltaRatio: n.cfg.Merger.DeltaRatio,
		Compression: choice, Workers: n.cfg.Recovery.Workers, Version: n.version, Log: n.log,
	})
	return err
}

// codec is how checkpoints are compressed; zero: as it is best for each component.
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

// connections are those of ingest and processor. Each has its own, so that the answers
// to one do not wait behind the events of another.
type connections struct{ events, logs, tasks *nats.Conn }

func (n *Node) connectApps(ctx context.Context) (*connections, error) {
	c := &connections{}
	for _, one := range []struct {
		to   **nats.Conn
		name string
	}{{&c.events, "eventflux ingest"}, {&c.logs, "eventflux ingest log"}, {&c.tasks, "eventflux processor"}} {
		nc, err := n.connect(ctx, one.name)
		if err != nil {
			c.close()
			return nil, err
		}
		*one.to = nc
	}
	return c, nil
}

func (c *connections) close() {
	for _, nc := range []*nats.Conn{c.events, c.logs, c.tasks} {
		if nc != nil {
			nc.Close()
		}
	}
}

// connect connects to the node's NATS. The connection is the caller's to close.
func (n *Node) connect(ctx context.Context, name string) (*nats.Conn, error) {
	return bus.Connect(ctx, bus.ConnectConfig{URL: n.cfg.NATS.URL, Embedded: n.server, Name: name, Log: n.log})
}
