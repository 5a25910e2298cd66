package ingest

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eventflux/shared/bus"
	"eventflux/shared/place"
)

const (
	unackedMax = 8192 // results of a partition that are on their way into the logs

	// A result that was delivered and not acknowledged is on its way into a log
	// that is stuck: to have it again would not help. Lost acknowledgements are the
	// only reason to repeat, and cost nothing but that.
	ackWait = 10 * time.Minute

	// consumerIdle is after how long the server forgets a consumer that nobody reads by:
	// that of an app which was removed, as this end is not told apart from others. Should
	// ingest come back later, the logs know what they have.
	consumerIdle = 24 * time.Hour

	fetchMessages  = 4096
	fetchBytes     = 8 << 20 // the largest message must fit
	fetchExpiry    = 10 * time.Second
	fetchHeartbeat = 2 * time.Second
)

// follower reads the results of one partition of another app for one source.
//
// A durable consumer remembers what is in the logs, but exactness does not rest
// on it: a crash loses acknowledgements, and the task's table of message ids
// forgets within minutes of log time, which runs on to the present with the first
// event or tick after however long a stop. The log itself knows what it has: each
// result is in it under its place, so a follower that starts looks up the newest
// place in each log (history.go), and appends what comes after it.
//
// That is right only while results come in order without a gap. So each reading
// starts with a reset of the consumer, which then counts its deliveries from 1,
// and ends when a number is missing.
type follower struct {
	link      *link
	s         *Service
	partition uint32
	stream    string // of JetStream
	subject   string
	consumer  string

	in      *intake
	route   *route
	looked  bool
	newest  []place.Place // by log: the last result in it, or on its way there
	handled uint64        // sequence in the stream of the last result that was handled
	made    time.Time

	flight atomic.Int64  // results that are on their way into the logs
	landed chan struct{} // told when there are none

	taken, repeated atomic.Uint64 // results
	mu              sync.Mutex
	trouble         string // why nothing is read; "": it is
}

func newFollower(l *link, p uint32) *follower {
	f := &follower{
		link: l, s: l.s, partition: p,
		stream: bus.OutStream(l.results.app, p), subject: bus.OutSubject(l.results.app, l.results.stream, p),
		in: &intake{s: l.s}, newest: make([]place.Place, len(l.source.logs)), landed: make(chan struct{}, 1),
		trouble: "starting",
	}
	f.consumer = consumerName(l.source.app.Name, l.source.stream.Name, f.subject)
	f.route = &route{lanes: []lane{f.in.lane([]*source{l.source})}}
	return f
}

// consumerName is the same after every start, and another for every reader. All
// three names together may be longer than a consumer's can be.
func consumerName(app, stream, subject string) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s", stream, subject) // never fails
	return fmt.Sprintf("EFI_%s_%016x", app, h.Sum64())
}

// run reads until ctx ends, again and again: a stream that does not exist yet is
// waited for.
func (f *follower) run(ctx context.Context) {
	for wait := linkWaitMin; ; wait = min(2*wait, linkWaitMax) {
		before := f.handled
		err := f.read(ctx)
		if ctx.Err() != nil {
			return
		}
		f.tell(err)
		if f.handled != before {
			wait = linkWaitMin
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// tell notes why nothing is read, or with nil that something is, and logs it if
// that is news.
func (f *follower) tell(err error) {
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	f.mu.Lock()
	news := trouble != f.trouble
	f.trouble = trouble
	f.mu.Unlock()
	switch {
	case !news:
	case err == nil:
		f.link.log("reading the results of another app", "jetstream", f.stream, "consumer", f.consumer)
	default:
		f.link.log("waiting for the results of another app", "jetstream", f.stream, "reason", trouble)
	}
}

// read hands on results until ctx ends, or until it cannot be sure that it has
// had all of them.
func (f *follower) read(ctx context.Context) error {
	ctx, cancel := f.connected(ctx)
	defer cancel()
	messages, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer messages.Stop()
	f.tell(nil)
	for delivery := uint64(1); ; delivery++ {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return fmt.Errorf("read %s: %w", f.stream, errors.Join(err, context.Cause(ctx)))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read %s: %w", f.stream, err)
		}
		if meta.Sequence.Consumer != delivery {
			return fmt.Errorf("read %s: delivery %d after %d: some were lost on the way, or another process reads as %s", f.stream, meta.Sequence.Consumer, delivery-1, f.consumer)
		}
		if err := f.handle(ctx, m, meta); err != nil {
			return err
		}
	}
}

// handle takes the message, unless it was taken.
func (f *follower) handle(ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	if meta.Sequence.Stream <= f.handled {
		if f.flight.Load() == 0 { // it is durable; its acknowledgement was lost
			f.ack(m.Reply())
		}
		return nil
	}
	if !f.looked {
		if err := f.look(ctx, meta.Timestamp); err != nil {
			return err
		}
		f.looked = true
	}
	if err := f.take(ctx, &nats.Msg{Subject: m.Subject(), Reply: m.Reply(), Header: m.Headers(), Data: m.Data()}); err != nil {
		return err
	}
	f.handled = meta.Sequence.Stream
	return nil
}

// open sets the consumer to the first result that is not known to be in the logs.
func (f *follower) open(ctx context.Context) (jetstream.MessagesContext, error) {
	if err := f.await(ctx); err != nil {
		return nil, err
	}
	ask, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	stream, err := f.s.js.Stream(ask, f.stream)
	if err != nil {
		return nil, fmt.Errorf("JetStream stream %s: %w", f.stream, err)
	}
	if info := stream.CachedInfo(); !info.Created.Equal(f.made) {
		f.made, f.handled = info.Created, 0 // its sequences are others than before
	}
	consumer, err := stream.CreateOrUpdateConsumer(ask, jetstream.ConsumerConfig{
		Durable:       f.consumer,
		Description:   fmt.Sprintf("results for stream %s of app %s", f.link.source.stream.Name, f.link.source.app.Name),
		DeliverPolicy: jetstream.DeliverAllPolicy,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       ackWait,
		MaxDeliver:    -1,
		MaxAckPending: unackedMax,
		FilterSubject: f.subject,

		InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return nil, fmt.Errorf("consumer %s of %s: %w", f.consumer, f.stream, err)
	}
	if f.handled > 0 {
		_, err = f.s.js.ResetConsumerToSequence(ask, f.stream, f.consumer, f.handled+1)
	} else {
		_, err = f.s.js.ResetConsumer(ask, f.stream, f.consumer)
	}
	if err != nil {
		return nil, fmt.Errorf("reset consumer %s of %s, which takes a server of version 2.14 or newer: %w", f.consumer, f.stream, err)
	}
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(fetchMessages, fetchBytes),
		jetstream.PullExpiry(fetchExpiry),
		jetstream.PullHeartbeat(fetchHeartbeat),
	)
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", f.stream, err)
	}
	return messages, nil
}

var errDisconnected = errors.New("the connection was lost")

// connected returns a context that ends with the connection. What was on its way
// then would only come again after ackWait.
func (f *follower) connected(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, lose := context.WithCancelCause(ctx)
	nc := f.s.cfg.Conn
	status := nc.StatusChanged(nats.RECONNECTING, nats.CLOSED)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer nc.RemoveStatusListener(status)
		select {
		case <-status:
			lose(errDisconnected)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { lose(nil); <-ended }
}
