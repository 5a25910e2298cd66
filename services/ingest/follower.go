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

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	// The server forgets a consumer that no process reads by for consumerIdle.
	consumerIdle = time.Minute

	fetchMessages  = 4096
	fetchBytes     = 8 << 20 // the largest message must fit
	fetchExpiry    = 10 * time.Second
	fetchHeartbeat = 2 * time.Second
)

// follower reads one JetStream stream for one source: the results of one partition of
// another app, or the messages of an origin, which are called results here too.
//
// The record of the source (lease.go) says where to continue. The log shows which results it
// has, because it keeps each result's position: at each start of reading, the follower looks
// up the newest position in each log (history.go) and appends only later results. The
// consumer keeps no state: each reading makes a new one, in the server's memory.
//
// This is correct only if results arrive in order and without a gap. So a reading ends when a
// delivery number is missing.
type follower struct {
	link      *link
	s         *Service
	partition uint32
	stream    string // of JetStream
	subject   string
	consumer  string
	format    string // of the results: their Content-Type; "" for JSON

	origin *origin // nil if it reads results of another app

	in       *intake
	route    *route
	progress *progress // link.mu guards the pointer for other goroutines
	former   *progress // of the former reading, or nil
	missing  missing
	looked   bool
	newest   []result.Position // by log: the last result in it, or on its way there
	made     time.Time         // when the stream was created

	passed atomic.Uint64 // sequence of the newest result that was appended, or not used
	head   atomic.Uint64 // generation of the current result

	taken, repeated atomic.Uint64 // results
	mu              sync.Mutex
	trouble         string // why nothing is read; "" while it reads
}

func newFollower(l *link, p uint32) *follower {
	f := &follower{
		link: l, s: l.s, partition: p,
		stream: natsconn.OutStream(l.results.app, p), subject: natsconn.OutSubject(l.results.app, l.results.stream, p),
		in: newIntake(l.s), newest: make([]result.Position, len(l.source.logs)),
		trouble: "starting", format: l.source.stream.ReadsContentType(),
	}
	if o := l.source.stream.Origin; o != nil {
		f.stream, f.subject, f.origin = o.JetStream, l.subject(), &origin{Origin: *o}
	}
	f.consumer = consumerName(l.source.app.Name, l.source.stream.Name, f.subject)
	f.route = &route{decodings: []decoding{f.in.newDecoding([]*source{l.source})}}
	return f
}

// consumerName returns the same name after each start, and another one for each reader. It
// uses a hash because the three names together may be too long for a consumer.
func consumerName(app, stream, subject string) string {
	h := fnv.New64a()
	_, _ = fmt.Fprintf(h, "%s\x00%s", stream, subject) // never fails
	return fmt.Sprintf("EFI_%s_%016x", app, h.Sum64())
}

// start sets the position where reading continues. The follower must not be running. The
// caller holds link.mu.
func (f *follower) start(from position) {
	f.former, f.progress = f.progress, newProgress(from)
}

// restart is start for a running follower.
func (f *follower) restart(from position) {
	f.link.mu.Lock()
	defer f.link.mu.Unlock()
	f.start(from)
}

// run reads until ctx ends. After an error, and while the stream does not exist, it tries
// again.
func (f *follower) run(ctx context.Context) {
	for wait := linkWaitMin; ; wait = min(2*wait, linkWaitMax) {
		before := f.taken.Load()
		err := f.read(ctx)
		if ctx.Err() != nil {
			return
		}
		f.report(err)
		if f.taken.Load() != before {
			wait = linkWaitMin
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		f.restart(f.progress.position())
	}
}

// report records why nothing is read, or with nil that the follower reads. It logs a change.
func (f *follower) report(err error) {
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
		f.link.log("reading from JetStream", "jetstream", f.stream, "consumer", f.consumer)
	default:
		f.link.log(f.link.waits(), "jetstream", f.stream, "reason", trouble)
	}
}

// read appends results until ctx ends, or until it may have missed some.
func (f *follower) read(ctx context.Context) error {
	ctx, cancel := natsconn.WhileConnected(ctx, f.s.cfg.Conn)
	defer cancel()
	if f.former != nil { // the logs would not show results that are still being appended
		if err := f.former.await(ctx); err != nil {
			return err
		}
	}
	messages, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer messages.Stop()
	f.report(nil)
	f.looked = false
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
		if err := f.progress.failed(); err != nil {
			return fmt.Errorf("append what %s has: %w", f.stream, err)
		}
		if err := f.handle(ctx, m, meta); err != nil {
			return err
		}
	}
}

// handle appends a result to the logs that lack it.
func (f *follower) handle(ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	if f.origin != nil && f.origin.isBefore(meta) {
		return nil
	}
	if !f.looked {
		since := meta.Timestamp
		if known := f.progress.position().Handled; known.After(since) {
			since = known
		}
		if err := f.look(ctx, since); err != nil {
			return err
		}
		f.looked = true
	}
	msg := &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}
	at := position{Created: f.made, Sequence: meta.Sequence.Stream, Handled: time.Now()}
	if f.origin != nil {
		at.Place = storedText(meta.Timestamp)
		if err := f.takeStored(ctx, msg, meta); err != nil {
			return err
		}
	} else {
		if err := f.awaitFormer(ctx, m); err != nil {
			return err
		}
		if f.isMissing(meta.Sequence.Stream, m) {
			f.passed.Store(meta.Sequence.Stream)
			return nil
		}
		at.Place = placeText(m.Headers())
		if err := f.take(ctx, msg); err != nil {
			return err
		}
	}
	f.progress.handle(at)
	f.passed.Store(meta.Sequence.Stream)
	return nil
}

// open makes a consumer that starts at the first result that is not known to be in the logs.
// It deletes an existing one, which belongs to an earlier reading, or to a process that has
// lost the lease and stops reading now.
func (f *follower) open(ctx context.Context) (jetstream.MessagesContext, error) {
	ask, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	stream, err := f.s.js.Stream(ask, f.stream)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil, fmt.Errorf("there is no JetStream stream %s; it is read once it is created", f.stream)
	}
	if err != nil {
		return nil, fmt.Errorf("JetStream stream %s: %w", f.stream, err)
	}
	cfg, err := f.config(ask, stream.CachedInfo())
	if err != nil {
		return nil, err
	}
	if err := f.s.js.DeleteConsumer(ask, f.stream, f.consumer); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("delete consumer %s of %s: %w", f.consumer, f.stream, err)
	}
	consumer, err := stream.CreateConsumer(ask, cfg)
	if err != nil {
		return nil, fmt.Errorf("consumer %s of %s: %w", f.consumer, f.stream, err)
	}
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(fetchMessages, max(fetchBytes, int(f.s.cfg.Conn.MaxPayload())+headersBytesMax)),
		jetstream.PullExpiry(fetchExpiry),
		jetstream.PullHeartbeat(fetchHeartbeat),
	)
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", f.stream, err)
	}
	return messages, nil
}

// config returns the settings of the consumer.
func (f *follower) config(ctx context.Context, info *jetstream.StreamInfo) (cfg jetstream.ConsumerConfig, err error) {
	cfg = jetstream.ConsumerConfig{
		Name:          f.consumer,
		Description:   fmt.Sprintf("events for stream %s of app %s", f.link.source.stream.Name, f.link.source.app.Name),
		DeliverPolicy: jetstream.DeliverByStartSequencePolicy,
		AckPolicy:     jetstream.AckNonePolicy,
		FilterSubject: f.subject,

		MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
	}
	if f.origin != nil {
		cfg.FilterSubject = f.origin.Filter
		return cfg, f.startOrigin(ctx, info, &cfg)
	}
	if cfg.OptStartSeq, err = f.from(ctx, info); err == nil {
		f.missing = f.missingFrom(cfg.OptStartSeq, info)
		f.passed.Store(cfg.OptStartSeq - 1)
		f.head.Store(0)
	}
	return cfg, err
}

// from returns the sequence of the first result that is not known to be in the logs. A
// position counts only if the stream still has that result at its sequence, or has trimmed
// it: a stream that lost its end reuses sequences.
func (f *follower) from(ctx context.Context, info *jetstream.StreamInfo) (uint64, error) {
	f.made = info.Created
	at := f.progress.position()
	switch {
	case at.Sequence == 0 || !at.Created.Equal(info.Created) || at.Sequence > info.State.LastSeq:
		return 1, nil
	case at.Sequence < info.State.FirstSeq:
		return at.Sequence + 1, nil
	}
	m, err := natsconn.MessageAt(ctx, f.s.cfg.Conn, f.stream, at.Sequence)
	if err != nil {
		return 0, fmt.Errorf("read result %d of %s: %w", at.Sequence, f.stream, err)
	}
	if m.Subject != f.subject || placeText(m.Header) != at.Place {
		f.link.log("the stream of results has changed; reading it from its first result on", "jetstream", f.stream, "sequence", at.Sequence, "expected", at.Place)
		return 1, nil
	}
	return at.Sequence + 1, nil
}
