package consensus

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"eventflux/shared/checkpoint"
	"eventflux/shared/control"
)

// Status tells what this member knows of the group.
func (n *Node) Status() control.Status {
	s := control.Status{
		ID: n.cfg.ID, State: strings.ToLower(n.raft.State().String()), Leader: n.LeaderID(),
		Term: checkpoint.Term(n.raft.CurrentTerm()), Commit: n.raft.CommitIndex(), Applied: n.raft.AppliedIndex(),
		Time: time.Now().UTC(),
	}
	for _, p := range n.raft.GetConfiguration().Configuration().Servers {
		s.Peers = append(s.Peers, control.Peer{ID: string(p.ID), Address: string(p.Address), Voter: p.Suffrage == raft.Voter})
	}
	return s
}

// AddPeer adds a member, or changes its address. It votes from then on; one that is
// new gets the log first, and holds up nothing meanwhile but the majority it counts for.
func (n *Node) AddPeer(ctx context.Context, p control.Peer) error {
	add := n.raft.AddNonvoter
	if p.Voter {
		add = n.raft.AddVoter
	}
	_, err := ask(ctx, n, func() raft.IndexFuture {
		return add(raft.ServerID(p.ID), raft.ServerAddress(p.Address), 0, timeLeft(ctx))
	})
	if err != nil {
		return fmt.Errorf("add member %s at %s: %w", p.ID, p.Address, err)
	}
	return nil
}

// RemovePeer takes a member out of the group.
func (n *Node) RemovePeer(ctx context.Context, id string) error {
	_, err := ask(ctx, n, func() raft.IndexFuture {
		return n.raft.RemoveServer(raft.ServerID(id), 0, timeLeft(ctx))
	})
	if err != nil {
		return fmt.Errorf("remove member %s: %w", id, err)
	}
	return nil
}

// Transfer hands the leadership to a member; to the one that is furthest on if to is "".
func (n *Node) Transfer(ctx context.Context, to string) error {
	if to == "" {
		_, err := ask(ctx, n, n.raft.LeadershipTransfer)
		return err
	}
	for _, s := range n.raft.GetConfiguration().Configuration().Servers {
		if string(s.ID) == to {
			_, err := ask(ctx, n, func() raft.Future { return n.raft.LeadershipTransferToServer(s.ID, s.Address) })
			return err
		}
	}
	return fmt.Errorf("no member is called %q", to)
}

// hclogTo makes the log of Raft a part of the process's log: errors as they are, and
// warnings where there are others to warn of; all else is debugging. A group of one
// warns at each start that it hears from no leader.
func hclogTo(l *slog.Logger, alone bool) hclog.Logger {
	logger := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	logger.RegisterSink(&sink{l, alone})
	return logger
}

type sink struct {
	log   *slog.Logger
	alone bool
}

// Accept implements hclog.SinkAdapter.
func (s *sink) Accept(_ string, level hclog.Level, msg string, args ...any) {
	to := slog.LevelDebug
	switch level {
	case hclog.Warn:
		if !s.alone {
			to = slog.LevelWarn
		}
	case hclog.Error:
		to = slog.LevelError
	case hclog.NoLevel, hclog.Trace, hclog.Debug, hclog.Info, hclog.Off:
	}
	s.log.Log(context.Background(), to, "raft: "+msg, args...)
}
