package wal

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/witness"
	"github.com/eventflux/eventflux/shared/state/compress"
)

const (
	groupBytesMax   = 512 << 10 // rows in memory; encoded they are smaller
	groupsKeptMax   = 64
	messageBytesMin = 32       // a run, a waiter
	payloadBytesMin = 1 << 20  // a server's default
	frameSlackBytes = 64 << 10 // header, schemas and null bitmaps of a frame
	pendingDefault  = 16 << 20
	attemptDefault  = time.Second
)

// WriterConfig says whose log is written, and over which connection.
type WriterConfig struct {
	// Conn is used for publishing and for the answers. It must not buffer while it
	// is disconnected; those of natsconn.Connect do not.
	Conn      *nats.Conn
	App       string
	Partition uint32
	// Subject takes the frames; "" is natsconn.WALSubject, which a log has until its app is scaled.
	Subject string
	// Codec of the frames; zero is LZ4.
	Codec compress.Codec
	// PendingBytesMax bounds what waits for the server, in bytes of rows in
	// memory; zero is 16 MiB. Beyond it appends are refused with ErrFull. An empty
	// writer takes any message that fits into a frame.
	PendingBytesMax int
	// AttemptTimeout is how long an answer is waited for before the frame is sent
	// again; zero is 1 s. It doubles with each attempt, up to four times.
	AttemptTimeout time.Duration
	// Acknowledged is called once for each frame with its log sequence, its number of rows, and
	// the time from sending it to its durability; nil for no call. It must be quick.
	Acknowledged func(seq uint64, rows int, took time.Duration)
	// Witness keeps the last frame that was acknowledged, outside the log; nil keeps none.
	// With it the writer refuses a log that has lost its end.
	Witness *witness.Folder
	// Log takes a line when the server stops to take frames, and one when it takes
	// them again; nil is slog.Default.
	Log *slog.Logger
}

// Writer appends frames to the log of one partition as one writer incarnation, one frame at a
// time. Its methods may be called concurrently. Messages from one goroutine are in the log in
// the order of its calls.
type Writer struct {
	cfg     WriterConfig
	subject string
	stream  string
	// messageBytesMax is what surely fits into a frame and into a message of NATS.
	messageBytesMax int

	wake chan struct{} // there is something to write, or to end
	runs chan struct{} // closed once Run writes
	done chan struct{} // Run has ended

	mu      sync.Mutex
	open    *group   // being filled
	queue   []*group // sealed, oldest first
	free    []*group
	pending int   // bytes in all groups that are not acknowledged
	rows    int   // in those groups
	stamp   int64 // the last one given
	running bool
	closing error         // why nothing more is taken
	space   chan struct{} // closed when something was acknowledged; nil without waiters
	stats   Stats
	stalled stall

	// Run's alone.
	enc    frame.Encoder
	writer uint64
	number uint64 // the last frame's
	crc    uint32

	witness *witness.Log // nil: none is kept
	last    uint64       // the last sequence that was acknowledged
	blind   error        // why the witness does not keep the last frame
}

// Stats counts what a writer has done.
type Stats struct {
	Frames, Rows uint64 // acknowledged
	Bytes        uint64 // acknowledged, as encoded
	Repeats      uint64 // frames sent again
	Pending      int    // bytes that wait, in memory
	PendingRows  int    // rows that wait
}

// stall says since when the frame in flight has met trouble.
type stall struct {
	since time.Time
	err   error
}

// NewWriter returns a writer with an id of its own. Nothing is written before Run.
func NewWriter(cfg WriterConfig) (*Writer, error) {
	if err := subject.CheckName(cfg.App); err != nil {
		return nil, fmt.Errorf("log writer: app: %w", err)
	}
	if cfg.Conn == nil {
		return nil, fmt.Errorf("log writer of %s/%d: no connection", cfg.App, cfg.Partition)
	}
	if cfg.Codec == 0 {
		cfg.Codec = compress.LZ4
	}
	if !cfg.Codec.Valid() {
		return nil, fmt.Errorf("log writer of %s/%d: %s", cfg.App, cfg.Partition, cfg.Codec)
	}
	if cfg.PendingBytesMax < 0 || cfg.AttemptTimeout < 0 {
		return nil, fmt.Errorf("log writer of %s/%d: pending bytes %d and attempt timeout %s must not be negative", cfg.App, cfg.Partition, cfg.PendingBytesMax, cfg.AttemptTimeout)
	}
	if cfg.PendingBytesMax == 0 {
		cfg.PendingBytesMax = pendingDefault
	}
	if cfg.AttemptTimeout == 0 {
		cfg.AttemptTimeout = attemptDefault
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	payload := cfg.Conn.MaxPayload()
	if payload < payloadBytesMin {
		return nil, fmt.Errorf("log writer of %s/%d: the NATS server takes messages of %d bytes, a log needs %d: raise its max_payload", cfg.App, cfg.Partition, payload, payloadBytesMin)
	}
	w := &Writer{
		cfg:             cfg,
		messageBytesMax: int(min(frame.BytesMax, payload)) - frameSlackBytes,
		subject:         cmp.Or(cfg.Subject, natsconn.WALSubject(cfg.App, cfg.Partition)),
		stream:          natsconn.WALStream(cfg.App, cfg.Partition),
		wake:            make(chan struct{}, 1),
		runs:            make(chan struct{}),
		done:            make(chan struct{}),
		open:            &group{},
		writer:          newWriterID(),
	}
	return w, nil
}

// newWriterID returns a random number, so that no two incarnations share one. A
// counter would have to be durable.
func newWriterID() uint64 {
	var b [8]byte
	for {
		_, _ = rand.Read(b[:]) // never fails
		if id := binary.LittleEndian.Uint64(b[:]); id != 0 && id != frame.LostWriter {
			return id
		}
	}
}

// ID returns the writer's id, as its frames carry it.
func (w *Writer) ID() uint64 { return w.writer }

// Runs is closed once Run writes what is appended. Close fails what a writer took that
// never ran.
func (w *Writer) Runs() <-chan struct{} { return w.runs }

// Append copies the message's rows. done, if not nil, learns when they are durable, or that
// they are not. If Append returns an error, it has appended nothing and does not call done.
func (w *Writer) Append(m *Message, done Committed) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	g, err := w.addToGroup(m)
	if err != nil {
		return err
	}
	if done != nil {
		g.done = append(g.done, done)
	}
	w.kick()
	return nil
}

// AppendFuture is Append for callers that wait. All futures of a frame share one
// outcome, so that a future costs nothing.
func (w *Writer) AppendFuture(m *Message) (Future, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	g, err := w.addToGroup(m)
	if err != nil {
		return Future{}, err
	}
	if g.future == nil {
		g.future = &outcome{done: make(chan struct{})}
	}
	w.kick()
	return Future{g.future}, nil
}

// AppendTick appends a tick of the given stamp in ms.
func (w *Writer) AppendTick(stamp int64, done Committed) error {
	return w.appendAlone(frame.Frame{Header: frame.Header{Kind: frame.Tick, Stamp: stamp}}, done)
}

// AppendClock appends a tick of the given stamp that moves the clock to ms clock.
func (w *Writer) AppendClock(stamp, clock int64, done Committed) error {
	return w.appendAlone(frame.Frame{Header: frame.Header{Kind: frame.Tick, Stamp: stamp}, HasClock: true, Clock: clock}, done)
}

// AppendBarrier appends a barrier of the given stamp in ms.
func (w *Writer) AppendBarrier(stamp int64, cut frame.Cut, done Committed) error {
	if cut.Epoch == 0 || cut.Term == 0 || cut.ID == [16]byte{} {
		return fmt.Errorf("%w: barrier with epoch %d, term %d, id %x; none of them may be zero", ErrInvalid, cut.Epoch, cut.Term, cut.ID)
	}
	return w.appendAlone(frame.Frame{Header: frame.Header{Kind: frame.Barrier, Stamp: stamp}, Cut: cut}, done)
}

func (w *Writer) appendAlone(f frame.Frame, done Committed) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.admit(messageBytesMin); err != nil {
		return err
	}
	w.seal()
	w.stamp = max(w.stamp, f.Stamp)
	w.open.frame.Kind, w.open.frame.Cut, w.open.frame.Stamp = f.Kind, f.Cut, w.stamp
	w.open.frame.HasClock, w.open.frame.Clock = f.HasClock, f.Clock
	w.grow(messageBytesMin)
	if done != nil {
		w.open.done = append(w.open.done, done)
	}
	w.seal()
	w.kick()
	return nil
}

// addToGroup adds the message to the open group, and returns the group.
func (w *Writer) addToGroup(m *Message) (*group, error) {
	if err := m.check(); err != nil {
		return nil, err
	}
	size := m.bytes()
	if size > w.messageBytesMax {
		return nil, fmt.Errorf("%w: %d bytes, limit %d", ErrTooLarge, size, w.messageBytesMax)
	}
	if err := w.admit(size); err != nil {
		return nil, err
	}
	if g := w.open; g.bytes > 0 && g.bytes+size > groupBytesMax || len(g.frame.Blocks) == frame.BlocksMax {
		w.seal()
	}
	index, err := w.open.block(m.Batch.Schema)
	if err != nil {
		return nil, err
	}
	w.stamp = max(w.stamp, m.Arrived)
	w.open.add(m, index, w.stamp)
	w.rows += m.To - m.From
	w.grow(size)
	return w.open, nil
}

func (w *Writer) admit(size int) error {
	switch {
	case w.closing != nil:
		return w.closing
	case w.pending > 0 && w.pending+size > w.cfg.PendingBytesMax:
		if w.stalled.err != nil {
			return fmt.Errorf("%w: %s/%d has %d bytes waiting since %s: %w", ErrFull, w.cfg.App, w.cfg.Partition, w.pending, w.stalled.since.Format(time.RFC3339), w.stalled.err)
		}
		return ErrFull
	}
	return nil
}

func (w *Writer) grow(size int) {
	w.open.bytes += size
	w.pending += size
}

// seal closes the open group, if it holds anything, and opens an empty one.
func (w *Writer) seal() {
	if w.open.bytes == 0 {
		return
	}
	w.queue = append(w.queue, w.open)
	if n := len(w.free); n > 0 {
		w.open, w.free = w.free[n-1], w.free[:n-1]
		return
	}
	w.open = &group{}
}

// kick wakes Run, which may be awake.
func (w *Writer) kick() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// AwaitSpace returns once half of what may wait is free, or with ctx's error, or
// with ErrClosed.
func (w *Writer) AwaitSpace(ctx context.Context) error {
	for {
		w.mu.Lock()
		if w.closing != nil || w.pending <= w.cfg.PendingBytesMax/2 {
			defer w.mu.Unlock()
			return w.closing
		}
		if w.space == nil {
			w.space = make(chan struct{})
		}
		space := w.space
		w.mu.Unlock()
		select {
		case <-space:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Stats returns the counts so far.
func (w *Writer) Stats() Stats {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.stats
	s.Pending, s.PendingRows = w.pending, w.rows
	return s
}

// Health returns nil unless the frame in flight is in trouble; then it returns the cause and
// how long the trouble has lasted. A server whose disk fails gives no answer at all, so treat
// trouble that lasts as a failed disk.
func (w *Writer) Health() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stalled.err == nil {
		return nil
	}
	return fmt.Errorf("log of %s/%d takes no frames since %s, still trying: %w", w.cfg.App, w.cfg.Partition, w.stalled.since.Format(time.RFC3339), w.stalled.err)
}

// Close refuses new appends, and returns once all that was taken is durable and
// Run has ended. If ctx ends first, that goes on until Run's context ends. A
// writer that never ran fails what it took.
func (w *Writer) Close(ctx context.Context) error {
	w.mu.Lock()
	if w.closing == nil {
		w.closing = ErrClosed
	}
	if !w.running {
		w.running = true
		w.mu.Unlock()
		w.end(nil, ErrClosed)
		return nil
	}
	w.mu.Unlock()
	w.kick()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		return errors.Join(fmt.Errorf("close the log of %s/%d: %w", w.cfg.App, w.cfg.Partition, ctx.Err()), w.Health())
	}
}
