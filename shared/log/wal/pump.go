package wal

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
)

const (
	recordsAheadMax = 4
	pullMessages    = 4096
	pullBytes       = 16 << 20 // smaller pulls halve the rate of replay
	pullExpiry      = 10 * time.Second
	pullHeartbeat   = time.Second // the loss of a consumer is noticed after twice that
	consumerIdleMax = time.Minute // after that, the server deletes the consumer of a lost client
	requestTimeout  = 5 * time.Second
	// askAgain is how long to wait for an answer when reading starts over. During an election
	// of JetStream no answer comes, so a longer wait does not help.
	askAgain      = time.Second
	reopenWaitMin = 20 * time.Millisecond
	reopenWaitMax = 250 * time.Millisecond
	hollowMax     = 12 // openings without anything to read, about 3 s
	closeTimeout  = 500 * time.Millisecond
)

// pump moves records from the server to a Reader. It uses a consumer that the
// server keeps in memory and forgets with a restart, so that reading starts over
// after each one - and first looks at whether the log is still what it was. A
// consumer that survived would wait silently for sequences beyond a lost tail.
type pump struct {
	cfg    ReaderConfig
	reader *Reader
	next   uint64 // the sequence that comes next

	consumer string
	patience time.Duration // with the server that is to make a consumer
	messages jetstream.MessagesContext
	fresh    bool   // nothing was read from this consumer yet
	last     uint64 // the log's last sequence at the last check

	// connected ends with the connection that the consumer was made on, or with the
	// reader. Without it, a lost consumer is noticed only by missing heartbeats.
	life      context.Context // the reader's
	connected context.Context
	release   context.CancelFunc
	watcher   sync.WaitGroup
}

// run returns ErrReaderClosed when ctx ends.
func (p *pump) run(ctx context.Context) error {
	defer p.close()
	for {
		rec, err := p.receive(ctx)
		if ctx.Err() != nil {
			return ErrReaderClosed
		}
		if err != nil {
			return fmt.Errorf("read log %s at sequence %d: %w", p.cfg.Stream, p.next, err)
		}
		select {
		case p.reader.records <- rec:
			p.next = rec.Seq + 1
		case <-ctx.Done():
			return ErrReaderClosed
		}
	}
}

// receive returns the record of sequence next. It starts over as often as it
// takes.
func (p *pump) receive(ctx context.Context) (Record, error) {
	for {
		if p.messages == nil {
			if err := p.reopen(ctx); err != nil {
				return Record{}, err
			}
		}
		m, err := p.messages.Next(jetstream.NextContext(p.connected))
		if ctx.Err() != nil {
			return Record{}, ctx.Err()
		}
		if err != nil {
			p.cfg.Log.Debug("reading the log starts over", "stream", p.cfg.Stream, "sequence", p.next, "err", err)
			p.close()
			continue
		}
		meta, err := m.Metadata()
		if err != nil {
			return Record{}, err
		}
		got := meta.Sequence.Stream
		if got == p.next {
			p.fresh = false
			if meta.NumPending == 0 && got < p.reader.Tail() {
				p.close() // the next opening finds out what is wrong
			}
			p.reader.raiseTail(got + meta.NumPending)
			return Record{Seq: got, Data: m.Data(), Time: meta.Timestamp}, nil
		}
		// Messages can be lost on the way, for nothing is acknowledged. What a fresh
		// consumer leaves out, the server does not have.
		fresh := p.fresh
		p.close()
		if !fresh {
			continue
		}
		if err := p.check(ctx, requestTimeout); err != nil {
			return Record{}, err
		}
		return Record{}, &GapError{Stream: p.cfg.Stream, Expected: p.next, Got: got}
	}
}

// reopen is open, again and again until it works or the log turns out to be
// damaged or gone.
func (p *pump) reopen(ctx context.Context) error {
	p.patience = askAgain
	for wait := reopenWaitMin; ; wait = min(2*wait, reopenWaitMax) {
		err := p.open(ctx)
		var trimmed *TrimmedError
		var lost *LostTailError
		var gap *GapError
		switch {
		case err == nil, ctx.Err() != nil:
			return err
		case errors.As(err, &trimmed), errors.As(err, &lost), errors.As(err, &gap),
			errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, nats.ErrConnectionClosed):
			return err
		}
		p.cfg.Log.Debug("reading the log starts over", "stream", p.cfg.Stream, "sequence", p.next, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errHollow says that the log has a last sequence, and nothing to read up to it. A
// server that finds its file shorter than its index keeps the sequences of what is
// lost. But a replica may only be behind.
var errHollow = errors.New("nothing to read up to the last sequence")

func (p *pump) open(ctx context.Context) error {
	for hollow := 1; ; hollow++ {
		err := p.openOnce(ctx)
		if !errors.Is(err, errHollow) {
			return err
		}
		if hollow == hollowMax {
			return &GapError{Stream: p.cfg.Stream, Expected: p.next, Got: p.last + 1}
		}
		select {
		case <-time.After(reopenWaitMax):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (p *pump) openOnce(ctx context.Context) (err error) {
	p.watch() // first, so that no loss of the connection goes unnoticed
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	if err := p.check(ctx, p.patience); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, p.patience)
	defer cancel()
	// Its name is ours, so that it can be deleted if there is no answer.
	p.consumer, p.fresh = nuid.Next(), true
	c, err := p.cfg.JS.CreateConsumer(ctx, p.cfg.Stream, jetstream.ConsumerConfig{
		Name:              p.consumer,
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       p.next,
		AckPolicy:         jetstream.AckNonePolicy,
		MemoryStorage:     true,
		Replicas:          1,
		InactiveThreshold: consumerIdleMax,
	})
	if err != nil {
		if ctx.Err() != nil { // it may only be slow
			p.patience = min(p.patience+askAgain/2, requestTimeout)
		}
		return fmt.Errorf("create consumer: %w", err)
	}
	if c.CachedInfo().NumPending == 0 && p.next <= p.last {
		return errHollow
	}
	p.messages, err = c.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(pullMessages, pullBytes),
		jetstream.PullExpiry(pullExpiry),
		jetstream.PullHeartbeat(pullHeartbeat),
	)
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	return nil
}

// watch makes p.connected, and ends it when the connection is lost.
func (p *pump) watch() {
	p.connected, p.release = context.WithCancel(p.life)
	nc := p.cfg.JS.Conn()
	status := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	connected, lost := p.connected, p.release
	p.watcher.Go(func() {
		defer nc.RemoveStatusListener(status)
		select {
		case <-status:
			lost()
		case <-connected.Done():
		}
	})
}

// check compares what the log holds with what comes next.
func (p *pump) check(ctx context.Context, within time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	s, err := p.cfg.JS.Stream(ctx, p.cfg.Stream)
	if err != nil {
		return err
	}
	state := s.CachedInfo().State
	switch {
	case p.next > state.LastSeq+1:
		return &LostTailError{Stream: p.cfg.Stream, Wanted: p.next, Last: state.LastSeq}
	case p.next < state.FirstSeq:
		return &TrimmedError{Stream: p.cfg.Stream, Wanted: p.next, First: state.FirstSeq}
	}
	p.last = state.LastSeq
	p.reader.raiseTail(state.LastSeq)
	return nil
}

// close forgets the consumer, and asks the server to do so at once.
func (p *pump) close() {
	if p.release != nil {
		p.release()
		p.watcher.Wait()
		p.release = nil
	}
	if p.messages != nil {
		p.messages.Stop()
		p.messages = nil
	}
	if p.consumer == "" {
		return
	}
	if p.cfg.JS.Conn().IsConnected() {
		ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
		defer cancel()
		// If it fails the server forgets the consumer by itself.
		_ = p.cfg.JS.DeleteConsumer(ctx, p.cfg.Stream, p.consumer)
	}
	p.consumer = ""
}
