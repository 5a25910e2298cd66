package eventflux

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"reflect"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// resultsAhead is how many messages a subscription reads ahead per partition.
const resultsAhead = 256

// Result is one row that an app has emitted.
type Result[T any] struct {
	Value T
	// Partition, Generation, Position and Row together are unique within the stream. Store
	// them with the value in your database, so that you recognize a redelivered result.
	Partition  int
	Generation uint64
	Position   string // frame and row, such as "17.3"
	Row        int    // within a packed message, from 0; else 0
	// Expired reports that the row has left the query's window (`insert expired events`).
	Expired bool
	// Time is the row's own time; in a packed message, the time of its last row.
	Time time.Time

	msg jetstream.Msg
}

// Ack confirms the result, so that a durable subscription does not deliver it again. It
// confirms all rows of a packed message. Without a durable name it does nothing.
func (r *Result[T]) Ack() error {
	if r.msg == nil {
		return nil
	}
	return r.msg.Ack()
}

// SubscribeOption is an option of Subscribe.
type SubscribeOption func(*subscribing)

type subscribing struct {
	durable string
	deliver jetstream.DeliverPolicy
	since   *time.Time
	// lookEvery is how often a running subscription checks whether an upgrade has changed the
	// subjects of the results.
	lookEvery time.Duration
}

// MovedError says that an upgrade of the app has moved results to other subjects than the
// subscription reads. Subscribe again; a durable subscription needs another name.
type MovedError struct {
	App, Stream string
	Version     int    // in force
	Durable     string // its name, or ""
	Reads       string // the subjects that the subscription reads
	Subject     string // where the results go now
}

func (e *MovedError) Error() string {
	text := fmt.Sprintf("the subscription reads %s, but results of stream %s in version %d of app %s go to %s: subscribe again", e.Reads, e.Stream, e.Version, e.App, e.Subject)
	if e.Durable != "" {
		text += fmt.Sprintf(", with another name than %q, and with Since the time of the upgrade", e.Durable)
	}
	return text
}

// Durable gives the subscription a name: the next subscription with the same name continues
// after the results that were confirmed with Ack.
func Durable(name string) SubscribeOption { return func(s *subscribing) { s.durable = name } }

// FromStart delivers all results that are still in the output stream, and then new ones. It
// only applies to the first start of a durable subscription.
func FromStart() SubscribeOption {
	return func(s *subscribing) { s.deliver = jetstream.DeliverAllPolicy }
}

// Since delivers the results that were emitted at t or later.
func Since(t time.Time) SubscribeOption {
	return func(s *subscribing) { s.deliver, s.since = jetstream.DeliverByStartTimePolicy, &t }
}

// Subscription delivers the results of one stream from all partitions of an app. The results of
// one partition arrive in order. It is safe for concurrent use. Close it after use.
type Subscription[T any] struct {
	shape   shape
	formats *resultFormats
	durable bool
	results chan delivery
	pending []*Result[T] // rows of a packed message
	reading sync.Mutex   // guards pending and formats
	stop    context.CancelFunc
	readers sync.WaitGroup
}

// delivery is a message, or the reason why there are no more.
type delivery struct {
	partition int
	msg       jetstream.Msg
	err       error
}

// Subscribe subscribes to the results in a stream of an app: new ones, unless an option says
// otherwise. T is a struct whose fields name attributes by their `json` tags, or a type that
// the JSON of a result can be decoded into. Use a pointer for an attribute that can be null;
// other fields keep their zero value. ctx only bounds the call.
//
// Results that are messages of Protocol Buffers or Avro (@map inside @sink) are decoded as well, each
// with the descriptors or the schema of the version of the app that wrote it. The fields of T name
// attributes, as for JSON.
func Subscribe[T any](ctx context.Context, c *Client, app, stream string, opts ...SubscribeOption) (*Subscription[T], error) {
	how := subscribing{deliver: jetstream.DeliverNewPolicy, lookEvery: 10 * time.Second}
	for _, opt := range opts {
		opt(&how)
	}
	a, def, err := c.stream(ctx, app, stream)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	formats := newResultFormats(c, app, stream)
	if err := formats.add(a.Version, def); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	sh := shapeOf(reflect.TypeFor[T](), def.Schema)
	if err := sh.checkResults(); err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	js, err := jetstream.New(c.nc)
	if err != nil {
		return nil, fmt.Errorf("subscribe: %w", err)
	}
	running, stop := context.WithCancel(context.Background())
	s := &Subscription[T]{shape: sh, formats: formats, durable: how.durable != "", results: make(chan delivery), stop: stop}
	for p := range a.Partitions {
		cons, err := how.consumer(ctx, js, a, def, p)
		var messages jetstream.MessagesContext
		if err == nil {
			messages, err = cons.Messages(jetstream.PullMaxMessages(resultsAhead))
		}
		if err != nil {
			s.Close()
			return nil, fmt.Errorf("subscribe to stream %s of app %s, partition %d: %w", stream, app, p, err)
		}
		s.readers.Go(func() { s.read(running, js, a.Name, int(p), stream, messages) })
	}
	s.readers.Go(func() { s.look(running, c, a, def, &how) })
	return s, nil
}

// look ends the subscription when results go to other subjects.
func (s *Subscription[T]) look(ctx context.Context, c *Client, a *control.App, def *siddhiql.Stream, how *subscribing) {
	tick := time.NewTicker(how.lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now, next, err := c.stream(ctx, a.Name, def.Name)
		if err != nil || now.Version == a.Version {
			continue // the app may be gone, or nothing answers at the moment
		}
		if before := subjectOf(a.Name, def, 0); before != subjectOf(a.Name, next, 0) {
			s.fail(ctx, &MovedError{
				App: a.Name, Stream: def.Name, Version: int(now.Version), Durable: how.durable,
				Reads: before, Subject: subjectOf(a.Name, next, 0),
			})
			return
		}
	}
}

// fail passes an error to the caller of Next.
func (s *Subscription[T]) fail(ctx context.Context, err error) {
	select {
	case s.results <- delivery{err: err}:
	case <-ctx.Done():
	}
}

// subjectOf returns the subjects of a partition's results.
func subjectOf(app string, def *siddhiql.Stream, p uint32) string {
	if t := def.Sink.Subject; t != nil {
		return t.PatternOf(p)
	}
	return natsconn.OutSubject(app, def.Name, p)
}

// consumer returns the consumer of a partition's results.
func (how *subscribing) consumer(ctx context.Context, js jetstream.JetStream, a *control.App, def *siddhiql.Stream, p uint32) (jetstream.Consumer, error) {
	stream, subject := natsconn.OutStream(a.Name, p), subjectOf(a.Name, def, p)
	if how.durable == "" {
		return js.OrderedConsumer(ctx, stream, jetstream.OrderedConsumerConfig{
			FilterSubjects: []string{subject}, DeliverPolicy: how.deliver, OptStartTime: how.since,
		})
	}
	cons, err := js.Consumer(ctx, stream, how.durable)
	if err == nil {
		if reads := cons.CachedInfo().Config.FilterSubject; reads != subject {
			return nil, &MovedError{App: a.Name, Stream: def.Name, Version: int(a.Version), Durable: how.durable, Reads: reads, Subject: subject}
		}
		return cons, nil
	}
	if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, err
	}
	return js.CreateConsumer(ctx, stream, jetstream.ConsumerConfig{
		Durable: how.durable, FilterSubject: subject, DeliverPolicy: how.deliver, OptStartTime: how.since,
		AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: 4 * resultsAhead,
	})
}

// read passes on the results of a stream and partition until the subscription is closed. It
// passes over messages that share a subject with them: others can publish on a subject that the
// app has chosen, and an earlier version may have chosen it for another stream. A durable
// subscription confirms only messages that are no results.
func (s *Subscription[T]) read(ctx context.Context, js jetstream.JetStream, app string, p int, stream string, messages jetstream.MessagesContext) {
	stop := context.AfterFunc(ctx, messages.Stop)
	defer stop()
	defer messages.Stop()
	check := output.Checker{Compactions: func() (map[string]output.Compaction, error) {
		return output.ReadCompactions(ctx, js, natsconn.OutStream(app, uint32(p)))
	}}
	for {
		m, err := messages.Next()
		var meta *jetstream.MsgMetadata
		if err == nil {
			meta, err = m.Metadata()
		}
		if err == nil {
			of, _ := output.StreamOf(m.Subject(), m.Headers())
			foreign := output.Foreign(m.Subject(), m.Headers())
			if foreign && s.durable {
				err = m.Ack()
			}
			if err == nil && (foreign || of != stream && !s.durable) {
				continue
			}
		}
		if err == nil {
			err = check.Next(meta.Sequence.Stream, m.Subject(), m.Headers())
		}
		select {
		case s.results <- delivery{p, m, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// Next returns the next result. It waits for one until ctx ends. Any other error means that
// the subscription cannot continue: results are missing from the output stream or do not fit
// T, or the connection is closed.
func (s *Subscription[T]) Next(ctx context.Context) (*Result[T], error) {
	s.reading.Lock()
	defer s.reading.Unlock()
	for len(s.pending) == 0 {
		select {
		case d := <-s.results:
			if d.err != nil {
				return nil, fmt.Errorf("results of %s: %w", s.shape.schema.Name, d.err)
			}
			if err := s.unpack(ctx, &d); err != nil {
				return nil, fmt.Errorf("result of %s: %w", s.shape.schema.Name, err)
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r := s.pending[0]
	s.pending = s.pending[1:]
	return r, nil
}

// unpack decodes the rows of a message.
func (s *Subscription[T]) unpack(ctx context.Context, d *delivery) error {
	h := d.msg.Headers()
	at, err := output.ReadPlace(h)
	if err != nil {
		return err
	}
	ms, err := strconv.ParseInt(h.Get(output.HeaderTimestamp), 10, 64)
	if err != nil {
		return fmt.Errorf("header %s: %w", output.HeaderTimestamp, err)
	}
	data, err := s.formats.json(ctx, h, d.msg.Data())
	if err != nil {
		return fmt.Errorf("position %s: %w", h.Get(output.HeaderPosition), err)
	}
	for row, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		r := &Result[T]{
			Partition: d.partition, Generation: at.Generation, Position: h.Get(output.HeaderPosition), Row: row,
			Expired: h.Get(output.HeaderKind) == "expired", Time: time.UnixMilli(ms),
		}
		if s.durable {
			r.msg = d.msg
		}
		if err := s.shape.decode(line, &r.Value); err != nil {
			return fmt.Errorf("position %s: %w", r.Position, err)
		}
		s.pending = append(s.pending, r)
	}
	return nil
}

// All returns the results as they arrive, until ctx ends or an error occurs, which is the last value.
func (s *Subscription[T]) All(ctx context.Context) iter.Seq2[*Result[T], error] {
	return func(yield func(*Result[T], error) bool) {
		for {
			r, err := s.Next(ctx)
			if !yield(r, err) || err != nil {
				return
			}
		}
	}
}

// Close ends the subscription. A durable subscription redelivers unconfirmed results.
func (s *Subscription[T]) Close() {
	s.stop()
	s.readers.Wait()
}
