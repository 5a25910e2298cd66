package wal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Record is one frame as the log has it.
type Record struct {
	Seq  uint64
	Data []byte // the frame's bytes, the caller's to keep
	// Time is when the server stored it. It is for people: nothing that decides
	// may depend on it.
	Time time.Time
	// Skipped says that the record is passed over: ReaderConfig.Skip has it.
	Skipped bool
}

// Skip names records that readers pass over, by sequence, with the SHA-256 of their bytes
// in hexadecimal. nil names none.
type Skip map[uint64]string

// Apply sets Skipped in a record that is named. It fails if the record there is another one
// than that which was to be passed over.
func (s Skip) Apply(r *Record) error {
	want, ok := s[r.Seq]
	if !ok {
		return nil
	}
	sum := sha256.Sum256(r.Data)
	if got := hex.EncodeToString(sum[:]); got != want {
		return fmt.Errorf("log sequence %d is to be passed over, but holds another record: its SHA-256 is %s, and %s was to be passed over; the log was rewritten, restore it from a copy", r.Seq, got, want)
	}
	r.Skipped = true
	return nil
}

// ReaderConfig says what to read.
type ReaderConfig struct {
	JS     jetstream.JetStream
	Stream string
	// From is the first sequence to return; 1 is the log's very beginning.
	From uint64
	// Skip names records that are passed over.
	Skip Skip
	// Log takes a line when reading has to start over; nil is slog.Default.
	Log *slog.Logger
}

// Reader reads a log in order, and waits at its end. It survives reconnects. Its
// methods must not be called concurrently.
type Reader struct {
	records chan Record
	skip    Skip
	next    uint64        // the sequence that Next returns
	tail    atomic.Uint64 // the log's last sequence, as far as is known

	cancel context.CancelFunc
	ended  chan struct{} // the pump has ended, and err is set
	err    error
}

// OpenReader checks that the log holds sequence From, or ends right before it,
// and starts to read ahead. Otherwise it returns a *TrimmedError or a
// *LostTailError.
func OpenReader(ctx context.Context, cfg ReaderConfig) (*Reader, error) {
	if cfg.JS == nil || cfg.Stream == "" || cfg.From == 0 {
		return nil, fmt.Errorf("read log %q from sequence %d: needs a connection, a stream and a sequence of 1 or more", cfg.Stream, cfg.From)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	r := &Reader{records: make(chan Record, recordsAheadMax), skip: cfg.Skip, next: cfg.From, ended: make(chan struct{})}
	// The reader lives on after ctx, which is only for the opening.
	var life context.Context
	life, r.cancel = context.WithCancel(context.WithoutCancel(ctx))
	p := &pump{cfg: cfg, next: cfg.From, reader: r, life: life, patience: requestTimeout}
	if err := p.open(ctx); err != nil {
		r.cancel()
		return nil, fmt.Errorf("read log %s from sequence %d: %w", cfg.Stream, cfg.From, err)
	}
	go func() {
		defer close(r.ended)
		r.err = p.run(life)
	}()
	return r, nil
}

// Next returns the next record, as soon as there is one. Errors are ctx's, a
// *GapError, *TrimmedError or *LostTailError, or that the stream is gone; after
// one of the latter, every call returns it. Trouble that can pass is waited out.
func (r *Reader) Next(ctx context.Context) (Record, error) {
	select {
	case rec := <-r.records:
		return r.deliver(rec)
	default:
	}
	select {
	case rec := <-r.records:
		return r.deliver(rec)
	case <-ctx.Done():
		return Record{}, ctx.Err()
	case <-r.ended:
	}
	select { // what was read before the trouble comes first
	case rec := <-r.records:
		return r.deliver(rec)
	default:
		return Record{}, r.err
	}
}

func (r *Reader) deliver(rec Record) (Record, error) {
	if err := r.skip.Apply(&rec); err != nil {
		return Record{}, err
	}
	r.next = rec.Seq + 1
	return rec, nil
}

// Position returns the sequence that Next will return.
func (r *Reader) Position() uint64 { return r.next }

// Tail returns the last sequence that the log is known to have. It does not ask
// the server, and grows as records arrive.
func (r *Reader) Tail() uint64 { return r.tail.Load() }

// AtTail reports whether every record that is known to exist was returned: the
// log is idle, or what was added is still on its way.
func (r *Reader) AtTail() bool { return r.next > r.tail.Load() }

// Close ends reading.
func (r *Reader) Close() {
	r.cancel()
	<-r.ended
}

func (r *Reader) raiseTail(seq uint64) {
	if seq > r.tail.Load() { // the pump is the only one that writes
		r.tail.Store(seq)
	}
}
