package consensus

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// dialTimeout is how long a member may take to accept a connection.
const dialTimeout = 2 * time.Second

// Status returns what this member knows of the group.
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

// AddPeer adds a voting member, or changes the address of a member. A new member counts for
// the majority from the start, although it still has to catch up with the log.
func (n *Node) AddPeer(ctx context.Context, p control.Peer) error {
	if _, port, err := net.SplitHostPort(p.Address); err != nil || port == "" {
		return refusal(control.CodeInvalid, "member %s: %q is not an address of the form HOST:PORT", p.ID, p.Address)
	}
	if n.cfg.Listen == "" {
		return refusal(control.CodeInvalid, "%s is alone and has no address for others: a group of several runs as eventflux serve --services checkpointer, with raft.listen and raft.peers", n.cfg.ID)
	}
	servers := slices.DeleteFunc(n.servers(), func(s raft.Server) bool { return string(s.ID) == p.ID })
	add := n.raft.AddNonvoter
	if p.Voter {
		add = n.raft.AddVoter
		servers = append(servers, raft.Server{ID: raft.ServerID(p.ID), Address: raft.ServerAddress(p.Address), Suffrage: raft.Voter})
	}
	if err := n.checkMajority(ctx, servers); err != nil {
		return err
	}
	_, err := ask(ctx, n, func() raft.IndexFuture {
		return add(raft.ServerID(p.ID), raft.ServerAddress(p.Address), 0, timeLeft(ctx))
	})
	if err != nil {
		return fmt.Errorf("add member %s at %s: %w", p.ID, p.Address, err)
	}
	return nil
}

// RemovePeer removes a member from the group.
func (n *Node) RemovePeer(ctx context.Context, id string) error {
	servers := n.servers()
	left := slices.DeleteFunc(slices.Clone(servers), func(s raft.Server) bool { return string(s.ID) == id })
	if len(left) == len(servers) {
		return noMember(id)
	}
	if err := n.checkMajority(ctx, left); err != nil {
		return err
	}
	_, err := ask(ctx, n, func() raft.IndexFuture {
		return n.raft.RemoveServer(raft.ServerID(id), 0, timeLeft(ctx))
	})
	if err != nil {
		return fmt.Errorf("remove member %s: %w", id, err)
	}
	return nil
}

// checkMajority refuses a change after which the reachable members would be no majority.
// Such a group could commit nothing, so the change could not be undone either.
func (n *Node) checkMajority(ctx context.Context, servers []raft.Server) error {
	servers = slices.DeleteFunc(servers, func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	silent := make([]string, len(servers))
	var dials sync.WaitGroup
	for i, s := range servers {
		if string(s.ID) == n.cfg.ID {
			continue
		}
		dials.Go(func() {
			c, err := (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, "tcp", string(s.Address))
			if err != nil {
				silent[i] = fmt.Sprintf("%s at %s", s.ID, s.Address)
				return
			}
			_ = c.Close() // this only checks that the member accepts connections
		})
	}
	dials.Wait()
	silent = slices.DeleteFunc(silent, func(s string) bool { return s == "" })
	switch voters := len(servers); {
	case voters == 0:
		return refusal(control.CodeInvalid, "a group has at least one voter")
	case voters-len(silent) <= voters/2:
		return refusal(control.CodeInvalid, "nothing was changed: of the %d voters that the group would have, %d do not answer (%s), and the group would have no majority; start those first",
			voters, len(silent), strings.Join(silent, ", "))
	}
	return nil
}

func (n *Node) servers() []raft.Server {
	return slices.Clone(n.raft.GetConfiguration().Configuration().Servers)
}

func refusal(code, format string, args ...any) error {
	return &control.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func noMember(id string) error {
	return refusal(control.CodeNotFound, "no member is called %q; eventflux checkpointer status lists them", id)
}

// Transfer hands the leadership to a member; if to is "", to the most up-to-date one.
func (n *Node) Transfer(ctx context.Context, to string) error {
	voters := slices.DeleteFunc(n.servers(), func(s raft.Server) bool { return s.Suffrage != raft.Voter })
	if to == "" && len(voters) == 1 {
		return refusal(control.CodeInvalid, "%s is the only voter, so no other member can take over the leadership", n.cfg.ID)
	}
	if to == "" {
		_, err := ask(ctx, n, n.raft.LeadershipTransfer)
		return err
	}
	for _, s := range voters {
		if string(s.ID) == to {
			_, err := ask(ctx, n, func() raft.Future { return n.raft.LeadershipTransferToServer(s.ID, s.Address) })
			return err
		}
	}
	return noMember(to)
}

// hclogTo sends Raft's messages to the process log: errors as errors, warnings as warnings
// if there are other members, all else as debug messages. Raft in a group of one warns at
// each start that it hears from no leader.
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
