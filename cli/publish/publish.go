// Package publish sends lines of events to a stream, waits for the answer to each, and repeats
// those without an answer. It is a client like any other: ingest decides about the events.
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

// Options are the options of Run.
type Options struct {
	Subject  string
	Batch    int     // events in a message; at least 1
	InFlight int     // messages in flight; 1 guarantees the order
	Rate     float64 // events per second; 0 for no limit
	// Timeout is how long an event is repeated before it counts as failed.
	Timeout time.Duration
	// IDPrefix and a line's number form its message id, which identifies repeats. "" chooses a
	// prefix that is unique to this run.
	IDPrefix string
	IDAttr   string // attribute with the message id, instead; Batch is 1
	TimeAttr string // attribute with the event's own time; Batch is 1
	Chunk    bool   // the events of a message are one chunk

	answerTime time.Duration // set by tests; otherwise answerTimeDefault
}

// Result counts events. Events without an answer are in none of the counts.
type Result struct {
	Accepted  int // including duplicates
	Duplicate int // published before, and recognized by message id
	Refused   int
	Partly    int // accepted by some of the apps that read the stream, refused by others
}

// Observer is notified of progress, from one goroutine at a time.
type Observer interface {
	// Refused is called for every event that all or some of the apps refused.
	Refused(line int, reason string)
	// Answered is called for each answered message, with the running total and the number of input
	// bytes that are finished.
	Answered(total Result, bytes int64)
}

// Run publishes the lines of in. It returns once all are answered. It returns an error if one is
// not answered within the timeout, or if ctx ends; events sent by then may have been accepted.
// Refused events are not an error.
func Run(ctx context.Context, nc *nats.Conn, in io.Reader, opt Options, observer Observer) (Result, error) {
	if opt.IDPrefix == "" {
		opt.IDPrefix = nuid.Next()
	}
	f := newFlight(nc, opt, observer)
	sub, err := nc.Subscribe(f.inbox+"*", f.answer)
	if err != nil {
		return Result{}, fmt.Errorf("subscribe to the answers: %w", err)
	}
	// Every answer counts, but with a limit the client would drop some.
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
