package consensus

import (
	"context"

	"github.com/hashicorp/raft"
)

// Leadership says whether this member leads, and the current term.
type Leadership struct {
	Leader bool
	Term   uint64
}

// watch receives Raft's notifications, which must not block, and keeps only the newest
// leadership for its reader.
type watch struct {
	notify chan bool
	newest chan Leadership // holds one element, the newest
	quit   chan struct{}
	ended  chan struct{}
}

func newWatch() *watch {
	return &watch{
		notify: make(chan bool, 16), newest: make(chan Leadership, 1),
		quit: make(chan struct{}), ended: make(chan struct{}),
	}
}

// Leadership returns a channel with the newest change of leadership. It reports that this
// member leads only when the state machine has applied all earlier commits.
func (n *Node) Leadership() <-chan Leadership { return n.watch.newest }

func (w *watch) run(r *raft.Raft) {
	defer close(w.ended)
	for {
		select {
		case <-w.quit:
			return
		case leader := <-w.notify:
			if leader && w.barrier(r) != nil {
				continue // leadership was lost again, which Raft also notifies; or watch stops
			}
			w.replace(Leadership{leader, r.CurrentTerm()})
		}
	}
}

// barrier waits until the state machine has applied all earlier commits. Raft never answers
// a question that was asked just before its shutdown, so stop also ends the wait.
func (w *watch) barrier(r *raft.Raft) error {
	done := make(chan error, 1)
	go func() { done <- r.Barrier(applyTimeout).Error() }()
	select {
	case err := <-done:
		return err
	case <-w.quit:
		return raft.ErrRaftShutdown
	}
}

// replace puts l into newest, instead of an older value that was not read.
func (w *watch) replace(l Leadership) {
	select {
	case <-w.newest:
	default:
	}
	w.newest <- l // there is room: only run sends to it
}

func (w *watch) stop() {
	close(w.quit)
	<-w.ended
}

// VerifyLeader returns nil if a majority confirms that this member leads now.
func (n *Node) VerifyLeader(ctx context.Context) error {
	_, err := ask(ctx, n, n.raft.VerifyLeader)
	return err
}

// LeaderID returns the id of the leader, or "" if there is none.
func (n *Node) LeaderID() string {
	_, id := n.raft.LeaderWithID()
	return string(id)
}

// ID returns the member's own id.
func (n *Node) ID() string { return n.cfg.ID }
