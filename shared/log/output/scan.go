package output

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	scanMessages = 1000 // in one request
	scanIdle     = 30 * time.Second
	scanRetry    = 100 * time.Millisecond
)

// Scan reads the headers of the messages of an output stream with sequences from..to, as
// far as the server has them, and hands each to see, once. It ends early with see's error.
// Messages that the server cannot read, or that were deleted, are not told of: their sequences
// are missing. While the stream has no leader, Scan tries again, for as long as ctx and 30 s
// without a message allow.
func Scan(ctx context.Context, js jetstream.JetStream, stream string, from, to uint64, see func(seq uint64, subject string, h nats.Header) error) error {
	return ScanSubjects(ctx, js, stream, "", from, to, see)
}

// ScanSubjects is Scan of the messages whose subjects match a pattern; "" for all.
func ScanSubjects(ctx context.Context, js jetstream.JetStream, stream, pattern string, from, to uint64, see func(seq uint64, subject string, h nats.Header) error) error {
	s := scan{js: js, stream: stream, pattern: pattern, next: max(from, 1), to: to, see: see}
	for since := time.Now(); s.next <= s.to; {
		before := s.next
		err := s.read(ctx)
		if s.next > before {
			since = time.Now()
		}
		switch {
		case err == nil || s.seen != nil || ctx.Err() != nil:
			return cmp.Or(s.seen, ctx.Err(), err)
		case !natsconn.Transient(err) && !errors.Is(err, jetstream.ErrConsumerNotFound) && !errors.Is(err, jetstream.ErrConsumerDeleted), time.Since(since) > scanIdle:
			return fmt.Errorf("read output stream %s: %w", stream, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(scanRetry):
		}
	}
	return nil
}

// scan is where a Scan has come to.
type scan struct {
	js       jetstream.JetStream
	stream   string
	pattern  string
	next, to uint64 // sequences
	see      func(seq uint64, subject string, h nats.Header) error
	seen     error // of see
}

// read reads with one consumer, until all is read, or until an error.
func (s *scan) read(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, scanIdle)
	defer cancel()
	consumer, err := s.js.CreateConsumer(asking, s.stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: s.next, FilterSubject: s.pattern,
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: scanIdle,
		Description: "checks the headers of results",
	})
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.js.DeleteConsumer(ctx, s.stream, consumer.CachedInfo().Name) // the server forgets it anyway
	}()
	for delivery := uint64(1); ; {
		batch, err := consumer.FetchNoWait(scanMessages)
		if err != nil {
			return err
		}
		got := 0
		var failed error
		for m := range batch.Messages() {
			got++
			meta, err := m.Metadata()
			switch {
			case failed != nil || s.seen != nil: // the rest of the batch is left
			case err != nil:
				failed = err
			case meta.Sequence.Consumer != delivery:
				failed = fmt.Errorf("%w: delivery %d after %d", nats.ErrDisconnected, meta.Sequence.Consumer, delivery-1)
			case meta.Sequence.Stream > s.to:
				return nil
			default:
				delivery++
				if s.seen = s.see(meta.Sequence.Stream, m.Subject(), m.Headers()); s.seen == nil {
					s.next = meta.Sequence.Stream + 1
				}
				if s.next > s.to {
					return nil
				}
			}
		}
		switch err := cmp.Or(s.seen, failed, ctx.Err(), batch.Error()); {
		case err != nil:
			return err
		case got == 0:
			return nil
		}
	}
}
