package processor

import (
	"context"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/testing/invariant"
)

// The limits of an outbox: how far a task may be ahead of its output stream. They bound
// memory, and are large enough for several full batches.
const (
	outboxMessagesMax = 8000
	outboxBytesMax    = 8 << 20
	// If sending a batch takes longer than outboxSpan, the next batches are smaller, so that
	// results do not wait for long, but not smaller than outboxMessagesMin.
	outboxSpan        = time.Second
	outboxMessagesMin = 256
)

// position is the position of a result: the log sequence of the frame that caused it, and
// the number of the row, from 0, among all rows that the app emitted for that frame.
type position struct {
	seq     uint64
	ordinal uint64
}

func (p position) after(o position) bool {
	return p.seq > o.seq || p.seq == o.seq && p.ordinal > o.ordinal
}

// message is a result that is ready to send. Its payload is a part of its batch's bytes.
type message struct {
	subject    string
	of         string // the result stream, if the app has chosen the subject; else ""
	format     string // its Content-Type; "" for JSON
	stream     int    // its number among result streams, or fenceStream
	start, end int
	at         position // of its last row
	kind       window.Kind
	version    uint32 // of the app
	ts         int64
	reason     string // of a dead letter
}

// fenceStream is the stream number of a message that is not a result.
const fenceStream = -1

// messageBatch is a batch of messages.
type messageBatch struct {
	bytes    []byte
	messages []message
	since    time.Time // when the first of them came
	most     int       // messages that go together
}

// full reports whether more messages have to wait.
func (p *messageBatch) full() bool {
	return len(p.messages) >= p.most || len(p.bytes) >= outboxBytesMax
}

// appendAll appends copies of the messages of another batch.
func (p *messageBatch) appendAll(o *messageBatch) {
	for _, m := range o.messages {
		start := len(p.bytes)
		p.bytes = append(p.bytes, o.bytes[m.start:m.end]...)
		m.start, m.end = start, len(p.bytes)
		p.messages = append(p.messages, m)
	}
}

func (p *messageBatch) reset() {
	p.bytes, p.messages = p.bytes[:0], p.messages[:0]
}

// outbox has two batches: the task fills one of them while the emitter sends the other.
type outbox struct {
	mu      sync.Mutex
	changed sync.Cond
	filling *messageBatch
	spare   *messageBatch
	sending bool
	since   time.Time // when the first message of the batch that is being sent was added
	begun   time.Time // when the emitter took that batch
	closed  bool      // the emitter has ended, so nothing more is sent

	taken, durable uint64 // messages: put into a batch, and known to be in the stream
}

func newOutbox() *outbox {
	b := &outbox{filling: &messageBatch{most: outboxMessagesMax}, spare: &messageBatch{most: outboxMessagesMax}}
	b.changed.L = &b.mu
	return b
}

// fill waits until there is room, and lets add append to the batch. It returns false if the
// outbox is closed.
func (b *outbox) fill(ctx context.Context, add func(*messageBatch)) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.await(ctx, func() bool { return !b.filling.full() })
	if b.closed || ctx.Err() != nil {
		return false
	}
	before := len(b.filling.messages)
	add(b.filling)
	b.taken += uint64(len(b.filling.messages) - before)
	if before == 0 && len(b.filling.messages) > 0 {
		b.filling.since = time.Now()
		b.changed.Broadcast()
	}
	return true
}

// take waits for messages and returns them; nil once ctx has ended.
func (b *outbox) take(ctx context.Context) *messageBatch {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.await(ctx, func() bool { return len(b.filling.messages) > 0 })
	if ctx.Err() != nil {
		return nil
	}
	p := b.filling
	b.filling, b.spare = b.spare, nil
	b.sending, b.since, b.begun = true, p.since, time.Now()
	b.changed.Broadcast()
	return p
}

// sent returns a batch whose messages are durable.
func (b *outbox) sent(p *messageBatch) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.durable += uint64(len(p.messages))
	invariant.That(b.sending && b.spare == nil, "the outbox got a batch back that it did not give out")
	invariant.That(b.durable <= b.taken, "the outbox took fewer messages than are durable")
	// could is how many messages could have been sent in outboxSpan.
	could := float64(len(p.messages)) * float64(outboxSpan) / float64(max(time.Since(b.begun), 1))
	p.most = int(min(max(could, outboxMessagesMin), outboxMessagesMax))
	b.filling.most = p.most
	p.reset()
	b.spare, b.sending = p, false
	b.changed.Broadcast()
}

// flush waits until everything is durable. It returns false if it never will be.
func (b *outbox) flush(ctx context.Context) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.await(ctx, func() bool { return len(b.filling.messages) == 0 && !b.sending })
	return !b.closed && ctx.Err() == nil
}

// count returns how many messages were put into the outbox so far.
func (b *outbox) count() uint64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.taken
}

// waiting returns how many messages are not durable, and how long the oldest has waited.
func (b *outbox) waiting(now time.Time) (messages uint64, age time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.sending:
		age = now.Sub(b.since)
	case len(b.filling.messages) > 0:
		age = now.Sub(b.filling.since)
	}
	return b.taken - b.durable, age
}

// reached waits until the first n messages are durable. It returns false if they
// never will be.
func (b *outbox) reached(ctx context.Context, n uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.await(ctx, func() bool { return b.durable >= n })
	return b.durable >= n
}

// close ends all waiting.
func (b *outbox) close() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	b.changed.Broadcast()
}

// await waits, with b.mu held, until done holds, the outbox is closed or ctx ends.
func (b *outbox) await(ctx context.Context, done func() bool) {
	if done() || b.closed || ctx.Err() != nil {
		return
	}
	stop := context.AfterFunc(ctx, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.changed.Broadcast()
	})
	defer stop()
	for !done() && !b.closed && ctx.Err() == nil {
		b.changed.Wait()
	}
}
