package ingest

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

const (
	// readsMax is how many reads of at most natsconn.ReadBytesMax may come from the server
	// before their messages have been looked at.
	readsMax = 16
	// arrivingMax is more than so many reads can hold: the shortest message takes 13 bytes
	// of the protocol.
	arrivingMax = 48 << 10

	// A message in memory is a structure, and a map of its headers that takes about
	// fifteen times their bytes on the wire.
	messageBytesOverhead = 256
	headerBytesFactor    = 14
)

// Gate slows the NATS server down to the speed at which messages are looked at, so that
// the client library never has to throw one away. Its Wait is natsconn.ConnectConfig's
// BeforeRead of the connection that takes the events. The zero value lets all pass.
type Gate struct {
	mu     sync.Mutex
	space  sync.Cond
	unseen func() int // messages that nobody has looked at; nil: all pass
	reads  int        // since there were none
}

// Wait returns once there is room for the messages of one more read.
func (g *Gate) Wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	// A large message takes many reads, and is not there before the last of them.
	for g.unseen != nil && g.reads >= readsMax && g.unseen() > 0 {
		g.space.Wait()
	}
	if g.reads >= readsMax {
		g.reads = 0
	}
	g.reads++
}

// begin makes the gate wait for messages to be looked at.
func (g *Gate) begin(unseen func() int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.space.L, g.unseen, g.reads = &g.mu, unseen, 0
}

// seen says that all messages that have come were looked at.
func (g *Gate) seen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads = 0
	g.space.Broadcast()
}

// end makes the gate let all pass.
func (g *Gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unseen = nil
	g.space.Broadcast()
}

// queue holds the messages that wait to be handled, in the order in which they came, up
// to a limit in bytes of memory.
type queue struct {
	limit int64
	bytes atomic.Int64 // of messages that are not handled

	mu      sync.Mutex
	changed sync.Cond
	waiting []*nats.Msg
	closed  bool
}

func newQueue(limit int64) *queue {
	q := &queue{limit: limit}
	q.changed.L = &q.mu
	return q
}

// messageBytes is about what a message takes in memory.
func messageBytes(m *nats.Msg) int64 {
	return int64(messageBytesOverhead + m.Size() + headerBytesFactor*headersBytes(m))
}

// put adds a message, unless it goes beyond the limit. An empty queue takes any message.
func (q *queue) put(m *nats.Msg) bool {
	bytes := messageBytes(m)
	if all := q.bytes.Add(bytes); all > q.limit && all != bytes {
		q.bytes.Add(-bytes)
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.waiting = append(q.waiting, m)
	if len(q.waiting) == 1 {
		q.changed.Signal()
	}
	return true
}

// take returns all messages that wait, and keeps the memory of batch for later ones. It
// waits for one, and returns nil once the queue is closed and empty. The caller calls
// handled for each message.
func (q *queue) take(batch []*nats.Msg) []*nats.Msg {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.waiting) == 0 && !q.closed {
		q.changed.Wait()
	}
	if len(q.waiting) == 0 {
		return nil
	}
	all := q.waiting
	q.waiting = batch[:0]
	return all
}

// handled says that a message takes no more memory.
func (q *queue) handled(m *nats.Msg) { q.bytes.Add(-messageBytes(m)) }

// close says that no more messages come.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Signal()
}
