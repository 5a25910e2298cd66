package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

const formerLookEvery = 10 * time.Millisecond

// awaitFormer waits, before the first result of a generation, until the results of earlier
// generations are appended, those of all partitions: when the other app was scaled, earlier
// results of a key may be in another partition. All of them are in their streams before the
// first result of the generation is.
func (f *follower) awaitFormer(ctx context.Context, m jetstream.Msg) error {
	at, err := output.ReadPlace(m.Headers())
	if err != nil || !f.link.results.all || at.Generation <= f.head.Load() {
		return nil // a result without a position is refused
	}
	f.head.Store(at.Generation)
	partitions, err := f.link.partitions(ctx)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		if p == f.partition {
			continue
		}
		last, err := natsconn.LastMessage(ctx, f.s.cfg.Conn, natsconn.OutStream(f.link.results.app, p), natsconn.OutSubject(f.link.results.app, f.link.results.stream, p))
		if err != nil {
			return fmt.Errorf("newest result of partition %d: %w", p, err)
		}
		for last.Seq > 0 && !f.link.reached(p, last.Seq, at.Generation) {
			select {
			case <-time.After(formerLookEvery):
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
	return nil
}

// reached reports whether a partition's results up to a sequence are appended, or all of the
// generations before the given one.
func (l *link) reached(p uint32, seq, generation uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, f := range l.followers {
		if f.partition == p {
			return f.passed.Load() >= seq || f.head.Load() >= generation
		}
	}
	return false // it was not found yet
}
