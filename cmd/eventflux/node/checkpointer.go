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

func (n *Node) openStore(ctx context.Context) (err error) {
	at := n.cfg.Store.URL
	if at == "" {
		at = "file:" + filepath.Join(n.cfg.Data, "checkpoints")
	}
	n.store, err = stores.Open(ctx, at, n.log)
	return err
}

// openCheckpointer opens this process's part of the Raft group.
func (n *Node) openCheckpointer(ctx context.Context) (err error) {
	n.fsm = checkpointer.NewFSM()
	if n.raft, err = consensus.Open(n.raftConfig()); err != nil {
		return err
	}
	own, err := n.connectOwn(ctx, "eventflux checkpointer")
	if err != nil {
		return err
	}
	n.checkpoint, err = checkpointer.New(checkpointer.Config{
		Conn: own, Store: n.store, Raft: n.raft, FSM: n.fsm,
		Interval: n.cfg.Checkpoint.Interval, Timeout: n.cfg.Checkpoint.Timeout,
		RetentionCheckpoints: n.cfg.Retention.Checkpoints, RetentionSpan: n.cfg.Retention.Span, Replicas: n.cfg.NATS.Replicas,
		Standby: n.cfg.Processor.Standby == "on",
		Version: n.version, Log: n.log,
	})
	return err
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

// connectOwn connects for as long as the node is open.
func (n *Node) connectOwn(ctx context.Context, name string) (*nats.Conn, error) {
	nc, err := n.connect(ctx, name)
	if err == nil {
		n.conns = append(n.conns, nc)
	}
	return nc, err
}

// connect connects to the node's NATS. The connection is the caller's to close.
func (n *Node) connect(ctx context.Context, name string) (*nats.Conn, error) {
	c := n.cfg.NATS
	return bus.Connect(ctx, bus.ConnectConfig{
		URL: c.URL, Embedded: n.server, Name: name, Log: n.log,
		NKeyFile: c.NKey, CAFile: c.CA, CertFile: c.Cert, KeyFile: c.Key, Inbox: c.Inbox,
	})
}
