package main

import (
	"bytes"
	"context"
	"fmt"
	"sync/atomic"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// results reads rows from an output stream as they arrive.
type results struct {
	consume jetstream.ConsumeContext
	packed  bool
	rows    atomic.Uint64
	wanted  uint64 // rows; set before any of them is published
	done    chan struct{}
	trouble chan error
}

// readResults starts to read. Packed messages hold a row per line.
func readResults(ctx context.Context, nc *nats.Conn, stream string, packed bool) (*results, error) {
	js, err := jetstream.New(nc)
	if err != nil {
		return nil, err
	}
	// The app creates the stream too, but perhaps not yet.
	if _, err := natsconn.EnsureOut(ctx, js, appName, 0, natsconn.StreamLimits{}); err != nil {
		return nil, err
	}
	consumer, err := js.OrderedConsumer(ctx, natsconn.OutStream(appName, 0), jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{natsconn.OutSubject(appName, stream, 0)},
	})
	if err != nil {
		return nil, err
	}
	r := &results{packed: packed, done: make(chan struct{}, 1), trouble: make(chan error, 1)}
	r.consume, err = consumer.Consume(r.take, jetstream.PullMaxMessages(4096),
		jetstream.ConsumeErrHandler(func(_ jetstream.ConsumeContext, err error) {
			select {
			case r.trouble <- err:
			default:
			}
		}))
	return r, err
}

func (r *results) take(m jetstream.Msg) {
	rows := uint64(1)
	if r.packed {
		rows = uint64(bytes.Count(m.Data(), []byte("\n")))
	}
	if r.rows.Add(rows) == r.wanted {
		r.done <- struct{}{}
	}
}

// expect sets how many more rows await waits for.
func (r *results) expect(rows uint64) { r.wanted = r.rows.Load() + rows }

// await returns once the expected rows were read, and checks that there are no more.
func (r *results) await(ctx context.Context) error {
	select {
	case <-r.done:
		return nil
	case err := <-r.trouble:
		return fmt.Errorf("read results: %w", err)
	case <-ctx.Done():
		return fmt.Errorf("%d of %d results read: %w", r.rows.Load(), r.wanted, ctx.Err())
	}
}

func (r *results) close() {
	r.consume.Stop()
	<-r.consume.Closed()
}
