package ingest

import (
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go"
)

const (
	// readsMax is how many reads of at most natsconn.ReadBytesMax the connection may make
	// while messages of earlier reads are still unseen.
	readsMax = 16
	// arrivingMax is more messages than that many reads can hold: the shortest message has 13
	// bytes in the protocol.
	arrivingMax = 48 << 10

	// A message in memory is a structure, and a map of its headers that needs about fifteen
	// times their bytes on the wire.
	messageBytesOverhead = 256
	headerBytesFactor    = 14
)

// Gate makes the NATS server wait until ingest has looked at the messages that it sent, so
// that the client library never has to drop one. Its Wait is the BeforeRead
// (natsconn.ConnectConfig) of the connection that receives the events. The zero value never
// waits.
type Gate struct {
	mu     sync.Mutex
	space  sync.Cond
	unseen func() int // how many messages wait to be sorted; nil: never wait
	reads  int        // reads since no message was unseen
}

// Wait returns once there is room for the messages of one more read.
func (g *Gate) Wait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	// A large message needs many reads and is complete only after the last of them, so it
	// must not wait while nothing is unseen.
	for g.unseen != nil && g.reads >= readsMax && g.unseen() > 0 {
		g.space.Wait()
	}
	if g.reads >= readsMax {
		g.reads = 0
	}
	g.reads++
}

// begin makes the gate wait while too many messages are unseen.
func (g *Gate) begin(unseen func() int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.space.L, g.unseen, g.reads = &g.mu, unseen, 0
}

// seen reports that no message is unseen.
func (g *Gate) seen() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.reads = 0
	g.space.Broadcast()
}

// end makes the gate never wait again.
func (g *Gate) end() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.unseen = nil
	g.space.Broadcast()
}

// queue holds the messages that wait to be handled, in the order of their arrival, up to a
// limit in bytes of memory.
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

// messageBytes estimates the memory of a message.
func messageBytes(m *nats.Msg) int64 {
	return int64(messageBytesOverhead + m.Size() + headerBytesFactor*headersBytes(m))
}

// put adds a message, unless it exceeds the limit. An empty queue accepts any message.
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

// drain returns all waiting messages, and reuses the memory of batch for later ones. It waits
// for at least one, and returns nil once the queue is closed and empty. The caller calls
// handled for each message.
func (q *queue) drain(batch []*nats.Msg) []*nats.Msg {
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

// handled reports that the memory of a message is free again.
func (q *queue) handled(m *nats.Msg) { q.bytes.Add(-messageBytes(m)) }

// close reports that no more messages will be put.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Signal()
}
