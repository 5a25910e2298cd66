package wal

import (
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
)

// Message is a number of rows that were published together.
type Message struct {
	// Batch has the rows [From, To). They are copied.
	Batch    *event.Batch
	From, To int
	// Arrived is the arrival stamp of the rows in ms since the Unix epoch. If an earlier
	// message has a higher stamp, the writer raises this one to it.
	Arrived int64
	// Chunk says that the rows are one chunk.
	Chunk bool
	// ID is the Nats-Msg-Id, and Header the forwarded headers; see frame.Run.
	ID, Header string
}

// Committed receives the outcome of an append.
type Committed interface {
	// Committed is called exactly once for each append, in log order, from the writer's
	// goroutine: it must not block, nor append to the same writer in a loop. seq is the
	// sequence of the frame, durable according to the server's profile; for a repeated frame
	// it is the sequence of one of its copies. err is ErrUnknown, ErrClosed, or the reason why
	// the frame cannot be written.
	Committed(seq uint64, err error)
}

// outcome is what all futures of a frame share.
type outcome struct {
	done chan struct{}
	seq  uint64 // seq and err are set before done is closed
	err  error
}

// Future is the outcome of an append that is not known yet. The zero value is
// invalid.
type Future struct{ o *outcome }

// Done is closed once the outcome is known.
func (f Future) Done() <-chan struct{} { return f.o.done }

// Wait returns the sequence of the frame once it is durable, as Committed does,
// or ctx's error. The append is not undone by the latter.
func (f Future) Wait(ctx context.Context) (seq uint64, err error) {
	select {
	case <-f.o.done:
		return f.o.seq, f.o.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// bytes returns what the rows take in a group, an upper bound of what they take
// in a frame. Texts are not looked into, so it takes a time that depends on the
// columns alone.
func (m *Message) bytes() int {
	rows := m.To - m.From
	n := messageBytesMin + len(m.ID) + len(m.Header) + 16*rows
	for i := range m.Batch.Cols {
		c := &m.Batch.Cols[i]
		if c.Type.Class() != event.Texts {
			n += 8 * rows
			continue
		}
		start := uint32(0)
		if m.From > 0 {
			start = c.Ends[m.From-1]
		}
		n += 4*rows + int(c.Ends[m.To-1]-start)
	}
	return n
}

// check refuses what could not be encoded, so that no message spoils the frame
// that others are in.
func (m *Message) check() error {
	switch {
	case m.Batch == nil || m.Batch.Schema == nil:
		return fmt.Errorf("%w: no batch or no schema", ErrInvalid)
	case len(m.Batch.Cols) != len(m.Batch.Schema.Attrs):
		return fmt.Errorf("%w: %d columns for %d attributes", ErrInvalid, len(m.Batch.Cols), len(m.Batch.Schema.Attrs))
	case m.From < 0 || m.From >= m.To || m.To > m.Batch.Len():
		return fmt.Errorf("%w: rows %d to %d of a batch of %d", ErrInvalid, m.From, m.To, m.Batch.Len())
	case max(len(m.ID), len(m.Header)) > frame.TextBytesMax:
		return fmt.Errorf("%w: id of %d and headers of %d bytes, limit %d each", ErrTooLarge, len(m.ID), len(m.Header), frame.TextBytesMax)
	}
	return nil
}

// checkSchema does the same for a stream that is new to a group.
func checkSchema(s *event.Schema) error {
	if err := checkIdent(s.Name); err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	if len(s.Attrs) > frame.AttrsMax {
		return fmt.Errorf("%w: stream %s has %d attributes, limit %d", ErrTooLarge, s.Name, len(s.Attrs), frame.AttrsMax)
	}
	for i := range s.Attrs {
		a := &s.Attrs[i]
		if err := checkIdent(a.Name); err != nil {
			return fmt.Errorf("stream %s: attribute %d: %w", s.Name, i, err)
		}
		if !a.Type.Valid() || a.Held != 0 && !a.Held.Valid() {
			return fmt.Errorf("%w: stream %s: attribute %s is of %s", ErrInvalid, s.Name, a.Name, a.Type)
		}
	}
	return nil
}

func checkIdent(name string) error {
	if name == "" || len(name) > frame.NameBytesMax {
		return fmt.Errorf("%w: name of %d bytes, allowed are 1 to %d", ErrInvalid, len(name), frame.NameBytesMax)
	}
	return nil
}
