// Package publish sends lines of events to a stream, waits for the answer to
// each, and repeats what was not answered. It is a client like any other: what
// becomes of the events is ingest's business.
package publish

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"
	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// Options say how events are published.
type Options struct {
	Subject  string
	Batch    int     // events in a message; at least 1
	InFlight int     // messages that wait for an answer; 1 keeps the order in any case
	Rate     float64 // events per second; 0 for as many as are accepted
	// Timeout is how long an event is repeated until it counts as failed.
	Timeout time.Duration
	// IDPrefix and a line's number make its message id, which identifies repetitions. ""
	// chooses a prefix that only this run uses.
	IDPrefix string
	IDAttr   string // attribute to take the message id from instead; Batch is 1
	TimeAttr string // attribute that has the event's own time; Batch is 1
	Chunk    bool   // the events of a message are one chunk

	answerTime time.Duration // of tests; else answerTimeDefault
}

// Result counts events. Events in none of the counts were not answered.
type Result struct {
	Accepted  int // Duplicate ones among them
	Duplicate int // sent before, and recognized by their message id
	Refused   int
	Partly    int // accepted, and refused by some of the apps that read the stream
}

// Observer is notified of what happens, from one goroutine at a time.
type Observer interface {
	// Refused is called for every event that was refused, by all or by one of the apps.
	Refused(line int, reason string)
	// Answered is called with the running total whenever a message was answered,
	// and with the bytes of the input that are done with.
	Answered(total Result, bytes int64)
}

// Run publishes the lines of in. It returns once all are answered, or with an
// error when one is not within the timeout, or ctx ends; what was sent by then may
// have arrived. Events that are refused are no error.
func Run(ctx context.Context, nc *nats.Conn, in io.Reader, opt Options, observer Observer) (Result, error) {
	if opt.IDPrefix == "" {
		opt.IDPrefix = nuid.Next()
	}
	f := newFlight(nc, opt, observer)
	sub, err := nc.Subscribe(f.inbox+"*", f.answer)
	if err != nil {
		return Result{}, fmt.Errorf("subscribe to the answers: %w", err)
	}
	// Every answer counts: with too small a buffer the client would drop some.
	if err := sub.SetPendingLimits(-1, -1); err != nil {
		return Result{}, fmt.Errorf("subscribe to the answers: %w", err)
	}
	defer func() { _ = sub.Unsubscribe() }() // fails only on a closed connection

	group, ctx := errgroup.WithContext(ctx)
	done := make(chan struct{})
	group.Go(func() error {
		defer close(done)
		return sendAll(ctx, f, in, opt)
	})
	group.Go(func() error { return f.repeat(ctx, done) })
	err = group.Wait()
	return f.total(), err
}

// sendAll sends every message of in and waits until all are answered.
func sendAll(ctx context.Context, f *flight, in io.Reader, opt Options) error {
	limit := rate.NewLimiter(rate.Inf, opt.Batch)
	if opt.Rate > 0 {
		limit = rate.NewLimiter(rate.Limit(opt.Rate), opt.Batch)
	}
	r := newReader(in, opt, f.nc.MaxPayload())
	for {
		m, err := r.next()
		if errors.Is(err, io.EOF) {
			return f.landed(ctx)
		}
		var bad *lineError
		switch {
		case errors.As(err, &bad):
			f.refuseUnsent(bad)
			continue
		case err != nil:
			return err
		}
		if err := limit.WaitN(ctx, m.events()); err != nil {
			return err
		}
		if err := f.send(ctx, m); err != nil {
			return err
		}
	}
}

// Subject returns the subject of a stream's events.
func Subject(stream string) (string, error) {
	if err := subject.CheckName(stream); err != nil {
		return "", err
	}
	return natsconn.InputSubject(stream), nil
}
