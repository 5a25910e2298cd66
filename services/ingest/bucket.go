package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// bucketQuiet is how long nothing may come before the reader of a bucket asks whether it has
// read all of it.
const bucketQuiet = 100 * time.Millisecond

// bucket reads a KV bucket for a table: first its rows, as a load, and then each change. Every
// log of the app gets all records.
//
// Each reading starts with a load, because a key may be gone without a trace: by a limit, a TTL
// or a purge of markers. The task makes the rows of the load those of the table at once. It
// ignores records that are not newer than what it has, so nothing depends on the position.
type bucket struct {
	link   *link
	s      *Service
	of     *siddhiql.Bucket
	stream string // of JetStream
	name   string // of the consumer

	in      *intake
	decoder *rowjson.Decoder
	value   *event.Batch // the row that is decoded
	records *event.Batch // that wait to be appended

	progress *progress // link.mu guards the pointer for other goroutines
	known    uint64    // values up to it were read by a former reading, which made the dead letters
	created  time.Time // of the stream
	end      uint64    // the last sequence when the reading started
	at       uint64    // the last sequence that was read
	load     int64     // number of the load
	loading  bool      // it is not complete

	taken, recreated atomic.Uint64
	pending          atomic.Uint64
	mu               sync.Mutex
	trouble          string // why nothing is read; "" while it reads
}

// bucketOf returns the reader of the link's bucket.
func (l *link) bucketOf() *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bucket == nil {
		of := l.source.stream.ReadsBucket()
		b := &bucket{
			link: l, s: l.s, of: of, stream: "KV_" + of.Name, trouble: "starting",
			name: consumerName(l.source.app.Name, l.source.stream.Name, l.subject()),
			in:   newIntake(l.s), decoder: rowjson.NewMapped(of.Values, of.Map),
			value: event.NewBatch(of.Values), records: event.NewBatch(of.Records),
		}
		b.progress = newProgress(position{})
		l.bucket = b
	}
	return l.bucket
}

// run reads the bucket until ctx ends. After an error, and while the bucket does not exist, it
// tries again.
func (b *bucket) run(ctx context.Context, from position) {
	b.restart(from)
	for wait := linkWaitMin; ; wait = min(2*wait, linkWaitMax) {
		err := b.read(ctx)
		if ctx.Err() != nil {
			return
		}
		if !b.loading {
			wait = linkWaitMin
		}
		b.report(b.s.explained(err, b.of.Name))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
		former := b.progress
		if former.await(ctx) != nil {
			return
		}
		b.restart(former.position())
	}
}

func (b *bucket) restart(from position) {
	b.link.mu.Lock()
	defer b.link.mu.Unlock()
	b.progress = newProgress(from)
}

// report records why nothing is read, or with nil that the bucket is read. It logs a change.
func (b *bucket) report(err error) {
	trouble := ""
	if err != nil {
		trouble = err.Error()
	}
	b.mu.Lock()
	news := trouble != b.trouble
	b.trouble = trouble
	b.mu.Unlock()
	args := []any{"app", b.link.source.app.Name, "table", b.link.source.stream.Name, "bucket", b.of.Name}
	switch {
	case !news:
	case err == nil:
		b.s.cfg.Log.Info("a table follows its KV bucket", args...)
	default:
		b.s.cfg.Log.Warn("a table does not follow its KV bucket; it keeps the rows that it has, and ingest tries again", append(args, "reason", trouble)...)
	}
}

// read appends what the bucket has and every change, until ctx ends or changes may have been
// missed.
func (b *bucket) read(ctx context.Context) error {
	ctx, cancel := natsconn.WhileConnected(ctx, b.s.cfg.Conn)
	defer cancel()
	b.loading = true
	consumer, messages, err := b.open(ctx)
	if err != nil {
		return err
	}
	defer messages.Stop()
	b.records.Reset()
	b.in.arrived = max(b.in.arrived, b.s.cfg.Now())
	b.control(siddhiql.LoadBegins, 0)
	for delivered := uint64(0); ; {
		if b.loading && delivered == 0 && b.end == 0 {
			if err := b.complete(ctx, 0); err != nil {
				return err
			}
		}
		m, err := b.next(ctx, messages)
		if errors.Is(err, nats.ErrTimeout) {
			if err = b.quiet(ctx, consumer, delivered); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("read KV bucket %s: %w", b.of.Name, errors.Join(err, context.Cause(ctx)))
		}
		meta, err := m.Metadata()
		if err != nil {
			return fmt.Errorf("read KV bucket %s: %w", b.of.Name, err)
		}
		if delivered++; meta.Sequence.Consumer != delivered {
			return fmt.Errorf("read KV bucket %s: delivery %d came when %d should: some were lost on the way, or another process reads as %s", b.of.Name, meta.Sequence.Consumer, delivered, b.name)
		}
		if err := b.progress.failed(); err != nil {
			return fmt.Errorf("append what KV bucket %s has: %w", b.of.Name, err)
		}
		if err := b.appendRecord(ctx, m, meta); err != nil {
			return err
		}
	}
}

// next returns the next message. While a load is not complete it waits only for a moment.
func (b *bucket) next(ctx context.Context, messages jetstream.MessagesContext) (jetstream.Msg, error) {
	if !b.loading {
		return messages.Next(jetstream.NextContext(ctx))
	}
	return messages.Next(jetstream.NextMaxWait(bucketQuiet))
}

// quiet completes the load if the server says that everything was delivered: the last values may
// have been removed.
func (b *bucket) quiet(ctx context.Context, consumer jetstream.Consumer, delivered uint64) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	ask, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	info, err := consumer.Info(ask)
	if err != nil || info.NumPending > 0 || info.Delivered.Consumer != delivered {
		return err
	}
	return b.complete(ctx, info.Delivered.Stream)
}

// open makes a consumer of the newest value of each key and of everything after it.
func (b *bucket) open(ctx context.Context) (jetstream.Consumer, jetstream.MessagesContext, error) {
	ask, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	stream, err := b.s.js.Stream(ask, b.stream)
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound) && !b.progress.position().Created.IsZero():
		return nil, nil, fmt.Errorf("KV bucket %s was deleted; create it again (nats kv add %[1]s), and the table gets its new rows", b.of.Name)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		return nil, nil, fmt.Errorf("there is no KV bucket %s; create it: nats kv add %[1]s", b.of.Name)
	case err != nil:
		return nil, nil, fmt.Errorf("KV bucket %s: %w", b.of.Name, err)
	}
	if err := b.startLoad(stream.CachedInfo()); err != nil {
		return nil, nil, err
	}
	if err := b.s.js.DeleteConsumer(ask, b.stream, b.name); err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, nil, fmt.Errorf("delete consumer %s of KV bucket %s: %w", b.name, b.of.Name, err)
	}
	consumer, err := stream.CreateConsumer(ask, jetstream.ConsumerConfig{
		Name: b.name, Description: fmt.Sprintf("rows for table %s of app %s", b.link.source.stream.Name, b.link.source.app.Name),
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy, FilterSubject: "$KV.>",
		MemoryStorage: true, Replicas: 1, InactiveThreshold: consumerIdle,
	})
	if err != nil {
		return nil, nil, fmt.Errorf("consumer %s of KV bucket %s: %w", b.name, b.of.Name, err)
	}
	messages, err := consumer.Messages(
		jetstream.PullMaxMessagesWithBytesLimit(fetchMessages, max(fetchBytes, int(b.s.cfg.Conn.MaxPayload())+headersBytesMax)),
		jetstream.PullExpiry(fetchExpiry),
		jetstream.PullHeartbeat(fetchHeartbeat),
	)
	if err != nil {
		return nil, nil, fmt.Errorf("pull from KV bucket %s: %w", b.of.Name, err)
	}
	return consumer, messages, nil
}

// startLoad checks the bucket against what was read before, and numbers the load.
func (b *bucket) startLoad(info *jetstream.StreamInfo) error {
	at := b.progress.position()
	switch {
	case at.Created.After(info.Created):
		return fmt.Errorf("KV bucket %s was created at %s, but the bucket that was read before at %s: it was restored from an older copy, and its changes look like old ones; fill the table from a bucket of another name",
			b.of.Name, info.Created.Format(time.RFC3339Nano), at.Created.Format(time.RFC3339Nano))
	case at.Created.Equal(info.Created) && at.Sequence > info.State.LastSeq:
		return fmt.Errorf("KV bucket %s ends at revision %d, but revision %d was read: NATS has lost its end, or shows an old copy, and would use the revisions again; if this lasts, create the bucket again",
			b.of.Name, info.State.LastSeq, at.Sequence)
	case !at.Created.IsZero() && !at.Created.Equal(info.Created):
		b.recreated.Add(1)
		at = position{}
		b.s.cfg.Log.Warn("a KV bucket was deleted and created again; the table gets its new rows",
			"app", b.link.source.app.Name, "table", b.link.source.stream.Name, "bucket", b.of.Name, "created", info.Created)
	}
	b.created, b.end, b.at, b.known = info.Created, info.State.LastSeq, 0, at.Sequence
	b.load = max(b.load+1, time.Now().UnixNano())
	return nil
}

// appendRecord appends the record of a value, a delete or a purge.
func (b *bucket) appendRecord(ctx context.Context, m jetstream.Msg, meta *jetstream.MsgMetadata) error {
	b.at = meta.Sequence.Stream
	b.pending.Store(meta.NumPending)
	b.taken.Add(1)
	b.in.arrived = max(b.in.arrived, b.s.cfg.Now())
	msg := &nats.Msg{Subject: m.Subject(), Header: m.Headers(), Data: m.Data()}
	if err := b.record(msg); err != nil {
		b.refuse(msg, err)
	}
	if b.loading {
		if meta.NumPending == 0 {
			return b.complete(ctx, b.at)
		}
		if b.records.Len() < loadRowsMax && b.recordBytes() < pieceBytesMax/2 {
			return nil
		}
	}
	if err := b.flush(ctx); err != nil {
		return err
	}
	if !b.loading {
		b.progress.handle(position{Created: b.created, Sequence: b.at, Handled: time.Now()})
	}
	return nil
}

// complete commits the load, and waits until it is durable in every log.
func (b *bucket) complete(ctx context.Context, delivered uint64) error {
	b.in.arrived = max(b.in.arrived, b.s.cfg.Now())
	b.at = max(b.at, delivered, b.end)
	b.control(siddhiql.LoadCommits, b.at)
	if err := b.flush(ctx); err != nil {
		return err
	}
	b.progress.handle(position{Created: b.created, Sequence: b.at, Handled: time.Now()})
	if err := b.progress.await(ctx); err != nil {
		return err
	}
	if err := b.progress.failed(); err != nil {
		return fmt.Errorf("append the load of KV bucket %s: %w", b.of.Name, err)
	}
	b.loading = false
	b.pending.Store(0)
	b.link.isLoaded()
	b.report(nil)
	return nil
}

// refuse makes a dead letter of a value that cannot be a row, unless a former reading has. The
// table has no row of its key.
func (b *bucket) refuse(m *nats.Msg, err error) {
	if b.at <= b.known {
		return
	}
	b.link.source.refused.Add(1)
	b.s.counters.refusedFor(eventsRefused)
	b.s.counters.refused.record(err.Error())
	b.s.dead.add(b.in.deadLetter(m, b.link.source.dead, rowjson.Refused{End: len(m.Data), Err: err}))
}

// keyOf returns the key of a value: its subject is $KV.<bucket>.<key>.
func keyOf(subject string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, "$KV."), ".")
	return rest
}
