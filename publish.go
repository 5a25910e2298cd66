package eventflux

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nuid"

	"github.com/eventflux/eventflux/shared/control"
)

const (
	answerTime = 2 * time.Second        // time after which an unanswered message is sent again
	pauseTime  = 100 * time.Millisecond // pause before a refused message is sent again
)

// Publisher publishes events of one stream. It is safe for concurrent use.
type Publisher[T any] struct {
	nc      *nats.Conn
	subject string
	prefix  string // of message ids
	sent    atomic.Uint64
}

// Ack is the position of a published message in the log.
type Ack struct {
	Stream   string // the JetStream stream
	Sequence uint64
	// Duplicate reports that a message with this id was published before. It counts once.
	Duplicate bool
}

// NewPublisher returns a publisher for a stream of an app. T is a struct with a field for each
// attribute, named by its `json` tag, or a type that marshals to such an object. A nil pointer
// is null. The error names each field that does not fit.
func NewPublisher[T any](ctx context.Context, c *Client, app, stream string) (*Publisher[T], error) {
	_, s, err := c.stream(ctx, app, stream)
	if err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	if !s.Defined || s.Subject == "" {
		return nil, fmt.Errorf("publish: stream %s of app %s is filled by a query, and takes no events", stream, app)
	}
	if !s.JSON() {
		return nil, fmt.Errorf("publish: stream %s of app %s takes no JSON (@map), which a publisher sends: publish to %s with a NATS client", stream, app, s.Subject)
	}
	if err := shapeOf(reflect.TypeFor[T](), s.Schema).checkEvents(); err != nil {
		return nil, fmt.Errorf("publish: %w", err)
	}
	return &Publisher[T]{nc: c.nc, subject: s.Subject, prefix: nuid.Next() + "-"}, nil
}

// PublishOption is an option of Publish and PublishAll.
type PublishOption func(nats.Header)

// WithTime sets the events' own time. The default is the time of arrival.
func WithTime(t time.Time) PublishOption {
	return func(h nats.Header) { h.Set("Ef-Timestamp", strconv.FormatInt(t.UnixMilli(), 10)) }
}

// WithID sets the message id. Messages with the same id count once within the app's dedup
// window. Without it, the publisher chooses an id, so that its own retries count once.
func WithID(id string) PublishOption { return func(h nats.Header) { h.Set(nats.MsgIdHdr, id) } }

// Publish publishes an event and returns once it is durable in the log: from then on, no crash
// loses it. If EventFlux cannot accept it now (the app lags, or no service runs), Publish
// retries until ctx ends. A *RejectedError says that an app refuses the event for good.
func (p *Publisher[T]) Publish(ctx context.Context, e T, opts ...PublishOption) (Ack, error) {
	data, err := json.Marshal(e)
	if err != nil {
		return Ack{}, fmt.Errorf("publish to %s: %w", p.subject, err)
	}
	return p.publish(ctx, data, opts)
}

// PublishAll publishes events in one message, which is faster than one by one. If some are
// rejected, the others are in the log, and the error is a *RejectedError.
func (p *Publisher[T]) PublishAll(ctx context.Context, events []T, opts ...PublishOption) (Ack, error) {
	if len(events) == 0 {
		return Ack{}, fmt.Errorf("publish to %s: there are no events", p.subject)
	}
	data, err := json.Marshal(events)
	if err != nil {
		return Ack{}, fmt.Errorf("publish to %s: %w", p.subject, err)
	}
	return p.publish(ctx, data, opts)
}

func (p *Publisher[T]) publish(ctx context.Context, data []byte, opts []PublishOption) (Ack, error) {
	m := &nats.Msg{Subject: p.subject, Data: data, Header: nats.Header{}}
	m.Header.Set(nats.MsgIdHdr, p.prefix+strconv.FormatUint(p.sent.Add(1), 10))
	for _, opt := range opts {
		opt(m.Header)
	}
	why := "no answer"
	for {
		attempt, cancel := context.WithTimeout(ctx, answerTime)
		answer, err := p.nc.RequestMsgWithContext(attempt, m)
		cancel()
		switch {
		case err == nil:
			verdict, a, text := control.ReadAnswer(answer)
			switch verdict {
			case control.Decided:
				return Ack{a.Stream, a.Sequence, a.Duplicate}, rejected(p.subject, &a, text)
			case control.NoApp:
				return Ack{}, fmt.Errorf("publish to %s: %s", p.subject, text)
			}
			why = text
		case p.nc.IsClosed():
			return Ack{}, fmt.Errorf("publish to %s: %w", p.subject, err)
		default:
			why = err.Error()
		}
		select {
		case <-time.After(pauseTime):
		case <-ctx.Done():
			return Ack{}, fmt.Errorf("publish to %s: %w; the last attempt: %s; whether the log has the event is unknown: publish it again with the id %s",
				p.subject, ctx.Err(), why, m.Header.Get(nats.MsgIdHdr))
		}
	}
}

// RejectedError lists events that an app refused for good. The other events of the message
// are in the log.
type RejectedError struct {
	Subject string
	Reason  string // set if the whole message was refused
	// Events holds at most 100 of the refused events; Count is their total number.
	Events []RejectedEvent
	Count  int
}

// RejectedEvent is one refused event of a message.
type RejectedEvent struct {
	Index  int // in the message, from 0
	Reason string
}

// Error names the reasons of the first few events.
func (e *RejectedError) Error() string {
	if len(e.Events) == 0 {
		return fmt.Sprintf("publish to %s: refused: %s", e.Subject, e.Reason)
	}
	const named = 3
	texts := make([]string, 0, named)
	for _, one := range e.Events[:min(named, len(e.Events))] {
		texts = append(texts, fmt.Sprintf("event %d: %s", one.Index, one.Reason))
	}
	return fmt.Sprintf("publish to %s: %d events are refused: %s", e.Subject, e.Count, strings.Join(texts, "; "))
}

func rejected(subject string, a *control.Answer, text string) error {
	if a.Error == nil && len(a.Rejected) == 0 {
		return nil
	}
	e := &RejectedError{Subject: subject, Reason: text, Count: a.RejectedCount}
	for i := range a.Rejected {
		e.Events = append(e.Events, RejectedEvent{a.Rejected[i].Index, a.Rejected[i].Why()})
	}
	return e
}
