package output

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

const (
	scanMessages = 1000 // in one request
	scanIdle     = 30 * time.Second
)

// Scan reads the headers of the messages of an output stream with sequences from..to, as
// far as the server has them, and hands each to see. It ends early with see's error. Messages
// that the server cannot read, or that were deleted, are not told of: their sequences are
// missing.
func Scan(ctx context.Context, js jetstream.JetStream, stream string, from, to uint64, see func(seq uint64, subject string, h nats.Header) error) error {
	if from > to {
		return nil
	}
	asking, cancel := context.WithTimeout(ctx, scanIdle)
	defer cancel()
	consumer, err := js.CreateConsumer(asking, stream, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy, OptStartSeq: max(from, 1),
		AckPolicy: jetstream.AckNonePolicy, HeadersOnly: true, MemoryStorage: true, Replicas: 1, InactiveThreshold: scanIdle,
		Description: "checks the headers of results",
	})
	if err != nil {
		return fmt.Errorf("read output stream %s: %w", stream, err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = js.DeleteConsumer(ctx, stream, consumer.CachedInfo().Name) // the server forgets it anyway
	}()
	for next := uint64(1); ; {
		batch, err := consumer.FetchNoWait(scanMessages)
		if err != nil {
			return fmt.Errorf("read output stream %s: %w", stream, err)
		}
		got := 0
		var failed error
		for m := range batch.Messages() {
			got++
			meta, err := m.Metadata()
			switch {
			case failed != nil: // the rest of the batch is left
			case err != nil:
				failed = err
			case meta.Sequence.Consumer != next:
				failed = fmt.Errorf("%w: delivery %d after %d", nats.ErrDisconnected, meta.Sequence.Consumer, next-1)
			case meta.Sequence.Stream > to:
				return nil
			default:
				next++
				failed = see(meta.Sequence.Stream, m.Subject(), m.Headers())
				if failed == nil && meta.Sequence.Stream == to {
					return nil
				}
			}
		}
		switch err := batch.Error(); {
		case failed != nil:
			return failed
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			return fmt.Errorf("read output stream %s: %w", stream, err)
		case got == 0:
			return nil
		}
	}
}
