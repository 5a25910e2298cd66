package wal

import (
	"context"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/lang/frame"
)

// carrier brings one frame after the other to where it is durable.
type carrier interface {
	// begin sends the frame of a group.
	begin(g *group)
	// await returns the sequence of the frame that was sent last, once it is
	// durable, or an error if it never will be.
	await(ctx context.Context) (uint64, error)
}

// Run writes until Close has been called and everything is written, or until ctx ends. Then
// everything without an acknowledgement fails: the frame in flight with ErrUnknown, the
// messages that wait after it with ErrClosed. Run may be called once. It returns nil unless
// the log cannot be written any more because of the configuration (a connection that was
// closed, a foreign stream on the subject). It waits until temporary trouble ends.
func (w *Writer) Run(ctx context.Context) error {
	w.mu.Lock()
	if w.running {
		w.mu.Unlock()
		return fmt.Errorf("log writer of %s/%d ran before; make a new one", w.cfg.App, w.cfg.Partition)
	}
	w.running = true
	w.mu.Unlock()
	a, err := openAttempts(w)
	if err != nil {
		w.end(nil, fmt.Errorf("%w: %w", ErrClosed, err))
		return err
	}
	defer a.close()
	close(w.runs)
	var unsent *group
	if err = w.openWitness(ctx); err == nil {
		unsent, err = w.loop(ctx, a)
	}
	if err == nil {
		w.end(unsent, ErrClosed)
		return nil
	}
	w.end(unsent, fmt.Errorf("%w: %w", ErrClosed, err))
	if ctx.Err() != nil {
		return nil
	}
	return fmt.Errorf("write the log of %s/%d: %w", w.cfg.App, w.cfg.Partition, err)
}

// loop keeps the server busy: while it syncs a frame, those who wait for the frame
// before are told, and the frame after is encoded. It returns the frame that was
// encoded but not sent.
func (w *Writer) loop(ctx context.Context, c carrier) (unsent *group, err error) {
	var written, current *group
	for {
		if current == nil {
			current = w.encodeNext(w.takeAny)
		}
		if current == nil {
			w.finish(written)
			written = nil
			if !w.await(ctx) {
				return nil, nil
			}
			continue
		}
		begun := time.Now()
		c.begin(current)
		w.finish(written)
		ahead := w.encodeNext(w.takeSealed)
		seq, err := c.await(ctx)
		if err != nil {
			current.notify(0, fmt.Errorf("%w: %w", ErrUnknown, err))
			w.recycle(current)
			return ahead, err
		}
		current.seq = seq
		if err := w.acknowledged(ctx, current); err != nil {
			current.notify(0, fmt.Errorf("%w: %w", ErrUnknown, err))
			w.recycle(current)
			return ahead, err
		}
		if w.cfg.Acknowledged != nil {
			w.cfg.Acknowledged(seq, current.frame.Rows(), time.Since(begun))
		}
		written, current = current, ahead
	}
}

// await returns once there is something to write, or false when all is over.
func (w *Writer) await(ctx context.Context) bool {
	for ctx.Err() == nil {
		w.mu.Lock()
		ready, closing := w.open.bytes > 0 || len(w.queue) > 0, w.closing != nil
		w.mu.Unlock()
		if ready || closing {
			return ready
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
		}
	}
	return false
}

func (w *Writer) takeAny() *group {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		w.seal()
	}
	return w.popLocked()
}

// takeSealed leaves the open group to grow until the server is ready for it.
func (w *Writer) takeSealed() *group {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.popLocked()
}

func (w *Writer) popLocked() *group {
	if len(w.queue) == 0 {
		return nil
	}
	g := w.queue[0]
	n := copy(w.queue, w.queue[1:])
	w.queue[n] = nil
	w.queue = w.queue[:n]
	return g
}

// encodeNext gives the next group its number and bytes. One that cannot be
// encoded fails alone: it was never sent, so its number is free for the next.
func (w *Writer) encodeNext(take func() *group) *group {
	for {
		g := take()
		if g == nil {
			return nil
		}
		err := w.encode(g)
		if err == nil {
			return g
		}
		g.notify(0, fmt.Errorf("encode a frame of %s/%d: %w", w.cfg.App, w.cfg.Partition, err))
		w.recycle(g)
	}
}

func (w *Writer) encode(g *group) error {
	g.frame.App, g.frame.Partition = w.cfg.App, w.cfg.Partition
	g.frame.Writer, g.frame.Number, g.frame.Prev = w.writer, w.number+1, w.crc
	bytes, err := w.enc.Append(g.encoded[:0], &g.frame, w.cfg.Codec)
	if err != nil {
		return err
	}
	g.encoded = bytes
	if limit := w.cfg.Conn.MaxPayload(); int64(len(bytes)) > limit {
		return fmt.Errorf("%w: %d bytes, and the NATS server takes %d", frame.ErrTooLarge, len(bytes), limit)
	}
	w.number, w.crc = g.frame.Number, g.frame.CRC
	return nil
}

// finish tells the waiters of a group that it is durable.
func (w *Writer) finish(g *group) {
	if g == nil {
		return
	}
	g.notify(g.seq, nil)
	w.mu.Lock()
	w.stats.Frames++
	w.stats.Rows += uint64(g.frame.Rows())
	w.stats.Bytes += uint64(len(g.encoded))
	w.mu.Unlock()
	w.recycle(g)
}

func (w *Writer) recycle(g *group) {
	size, rows := g.bytes, g.frame.Rows()
	g.reset()
	w.mu.Lock()
	w.pending -= size
	w.rows -= rows
	if len(w.free) < groupsKeptMax {
		w.free = append(w.free, g)
	}
	if w.space != nil {
		close(w.space)
		w.space = nil
	}
	w.mu.Unlock()
}

// end fails all that was taken and not sent.
func (w *Writer) end(unsent *group, err error) {
	w.mu.Lock()
	if w.closing == nil {
		w.closing = err
	}
	w.seal()
	rest := w.queue
	w.queue = nil
	w.mu.Unlock()
	if unsent != nil {
		rest = append([]*group{unsent}, rest...)
	}
	for _, g := range rest {
		g.notify(0, err)
		w.recycle(g)
	}
	close(w.done)
}
