package consensus

import (
	"context"

	"github.com/hashicorp/raft"
)

// Leadership is whether this member leads, and in which term.
type Leadership struct {
	Leader bool
	Term   uint64
}

// watch turns Raft's notifications, which must be taken at once, into the newest
// leadership, which is taken when there is time.
type watch struct {
	notify chan bool
	newest chan Leadership // holds one, the newest
	quit   chan struct{}
	ended  chan struct{}
}

func newWatch() *watch {
	return &watch{
		notify: make(chan bool, 16), newest: make(chan Leadership, 1),
		quit: make(chan struct{}), ended: make(chan struct{}),
	}
}

// Leadership returns a channel that has the newest change of leadership. A member that
// has won is told of it once its state machine has all that was committed before.
func (n *Node) Leadership() <-chan Leadership { return n.watch.newest }

func (w *watch) run(r *raft.Raft) {
	defer close(w.ended)
	for {
		select {
		case <-w.quit:
			return
		case leader := <-w.notify:
			if leader && w.barrier(r) != nil {
				continue // lost again, which is notified, too; or it is to end
			}
			w.tell(Leadership{leader, r.CurrentTerm()})
		}
	}
}

// barrier waits until the state machine has all that was committed before. Raft never answers
// what was asked just before it was shut down.
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

func (w *watch) tell(l Leadership) {
	select { // what was not taken is out of date
	case <-w.newest:
	default:
	}
	w.newest <- l // there is room: run is the only one that fills it
}

func (w *watch) stop() {
	close(w.quit)
	<-w.ended
}

// VerifyLeader returns nil if this member leads at this moment, as a majority knows.
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
