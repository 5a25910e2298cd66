package processor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
	"github.com/eventflux/eventflux/shared/testing/invariant"
)

// errFenced is returned when another owner of the partition has taken over. Stop;
// do not retry.
var errFenced = errors.New("another processor has taken this partition over")

const (
	// An atomic batch costs the server about as much as 20 single messages, because it makes a
	// store for the batch, syncs that too, and removes it.
	batchMessagesMin     = 12
	batchMessagesDefault = 1000 // the limit of servers, unless they say otherwise
	batchBytesMax        = 4 << 20
	publishTimeout       = 5 * time.Second
	retryWait            = 50 * time.Millisecond
	retryWaitMax         = 2 * time.Second

	// While JetStream elects a leader, messages get no answer, or are refused at once. So the
	// emitter sends results again after resendAfter. The wait doubles up to publishTimeout if
	// the stream has a leader that is only slow, and also if no leader has answered in
	// unheardMax attempts, because it may be that slow too.
	resendAfter   = 500 * time.Millisecond
	unheardMax    = 4
	resendWaitMax = 250 * time.Millisecond

	// unreadableMax is how long results that the stream counts may be unreadable.
	unreadableMax = 30 * time.Second
)

// Error codes of JetStream's API.
const (
	codeWrongLastSequence         = 10071
	codeWrongLastSequenceConstant = 10164
	codeBatchTooLarge             = 10199
)

// Headers of results.
const (
	headerPosition   = output.HeaderPosition
	headerKind       = output.HeaderKind
	headerTimestamp  = output.HeaderTimestamp
	headerGeneration = output.HeaderGeneration
	headerVersion    = output.HeaderVersion
)

// recordEvery is how many results the emitter sends before it writes a fence with a record of
// the newest ones. The next start reads only the results after it.
const recordEvery = 20_000

// emitter appends messages to an output stream. It is the only writer: each publish names the
// sequence before it, so that a publish of a former owner fails.
type emitter struct {
	nc      *nats.Conn
	stream  string
	last    uint64 // sequence of the stream's last message
	max     int    // messages in an atomic batch
	log     *slog.Logger
	took    prometheus.Observer // observes the time until results are durable; may be nil
	refused prometheus.Counter  // counts results that the stream refused because of another owner
	msg     nats.Msg            // reused for each message
	after   time.Duration       // resendAfter, except in tests
	pace    *pace               // measures how long results take; nil for none

	generation checkpoint.Generation
	newest     []result.Position // by result stream: the newest result that is in the stream
	any        result.Position   // the newest of all
	ahead      []result.Position // reused: newest, including the messages that are being sent
	previous   []byte            // reused
	of         string            // the value of output.HeaderStream; "" for none
	format     string            // the value of output.HeaderFormat; "" for none

	fence      func(newest []result.Position, any result.Position, through uint64) ([]byte, error) // nil: none is written
	fenced     string                                                                              // its subject
	unrecorded int                                                                                 // results since the newest fence
}

func newEmitter(nc *nats.Conn, stream string, last uint64, generation checkpoint.Generation, most int, log *slog.Logger) *emitter {
	e := &emitter{nc: nc, stream: stream, last: last, max: most, log: log, after: resendAfter, generation: generation}
	e.msg.Header = nats.Header{
		output.HeaderPrevious: {""},
		headerPosition:        {""}, headerKind: {""}, headerTimestamp: {""}, headerVersion: {""}, headerGeneration: {strconv.FormatUint(uint64(generation), 10)},
	}
	return e
}

// run sends what the outbox holds until ctx ends, which is no error.
func (e *emitter) run(ctx context.Context, box *outbox) error {
	defer box.close()
	for {
		p := box.take(ctx)
		if p == nil {
			return nil
		}
		begun := time.Now()
		for rest := p.messages; len(rest) > 0; {
			n, err := e.send(ctx, p.bytes, rest[:batchLength(rest, e.max)])
			if ctx.Err() != nil {
				return nil
			}
			if err != nil {
				return err
			}
			rest = rest[n:]
			if e.unrecorded >= recordEvery && e.fence != nil {
				if err := e.record(ctx); err != nil {
					if ctx.Err() != nil {
						return nil
					}
					return err
				}
			}
		}
		if e.pace != nil && p.full() {
			e.pace.emitted(len(p.messages), time.Since(begun))
		}
		box.sent(p)
	}
}

// record writes a fence with the record of the newest results.
func (e *emitter) record(ctx context.Context) error {
	data, err := e.fence(e.newest, e.any, e.last)
	if err != nil {
		return err
	}
	record := message{subject: e.fenced, end: len(data), stream: fenceStream, at: position{seq: e.last}}
	if _, err := e.send(ctx, data, []message{record}); err != nil {
		return err
	}
	e.unrecorded = 0
	return nil
}

// batchLength returns how many messages to send at once, at most the given number:
// a few go one by one.
func batchLength(messages []message, most int) int {
	if len(messages) < batchMessagesMin {
		return 1
	}
	bytes := 0
	for n, m := range messages {
		bytes += m.end - m.start
		if n == most || n > 0 && bytes > batchBytesMax {
			return n
		}
	}
	return len(messages)
}

// send makes messages durable and returns how many. It returns 0 if they are more than the
// server accepts in a batch, so that the caller tries fewer, and fewer than all if it looked
// while the server was storing them. If the outcome of a publish is unknown, send looks at
// the end of the stream.
func (e *emitter) send(ctx context.Context, bytes []byte, messages []message) (int, error) {
	var since time.Time // of the first attempt, if that failed
	within, unheard := e.after, 0
	for wait := retryWait; ; wait = min(2*wait, resendWaitMax) {
		begun := time.Now()
		err := e.publish(ctx, within, bytes, messages)
		if err == nil {
			if e.took != nil {
				e.took.Observe(time.Since(begun).Seconds())
			}
			return e.sent(messages, since), nil
		}
		if ctx.Err() != nil {
			return 0, ctx.Err()
		}
		if errors.Is(err, nats.ErrMaxPayload) {
			if len(messages) > 1 { // what is before it goes out
				return e.send(ctx, bytes, messages[:len(messages)/2])
			}
			m := &messages[0]
			return 0, fmt.Errorf("log sequence %d: its result %s on %s takes %d bytes, more than the NATS server takes in a message (max_payload, %d): raise that and restart the processor, or select less in the app and deploy it again",
				m.at.seq, m.at, m.subject, m.end-m.start, e.nc.MaxPayload())
		}
		if hasCode(err, codeBatchTooLarge) && len(messages) > 1 {
			e.max = len(messages) / 2
			e.log.Warn("the server takes smaller batches of results; trying fewer", "stream", e.stream, "results", e.max)
			return 0, nil
		}
		if since.IsZero() {
			since = begun
			e.log.Warn("results are not taken; looking at the output stream, and trying on", "stream", e.stream, "results", len(messages), "err", err)
		}
		landed, asked := e.landed(ctx, within, messages)
		switch {
		case landed > 0:
			return e.sent(messages[:landed], since), nil
		case errors.Is(asked, errNoLeader): // sending again is safe
			if unheard++; unheard%unheardMax == 0 { // or the leader is slower than that
				within = min(2*within, publishTimeout)
			}
		case errors.Is(asked, errUnreadable) && time.Since(since) < unreadableMax:
		case asked != nil:
			if errors.Is(asked, errFenced) && hasCode(err, codeWrongLastSequence, codeWrongLastSequenceConstant) {
				e.refused.Inc()
				return 0, fmt.Errorf("results refused: %w", asked)
			}
			return 0, asked
		case errors.Is(err, context.DeadlineExceeded):
			within = min(2*within, publishTimeout)
		}
		select {
		case <-ctx.Done():
			return 0, ctx.Err()
		case <-time.After(wait):
		}
	}
}

// sent records that messages are in the stream, and returns how many.
func (e *emitter) sent(messages []message, since time.Time) int {
	if !since.IsZero() {
		e.log.Info("results are taken again", "stream", e.stream, "after", time.Since(since))
	}
	for i := range messages {
		if m := &messages[i]; m.stream != fenceStream {
			e.any = e.placeOf(m)
			e.newest = grown(e.newest, m.stream)
			if invariant.Enabled {
				invariant.That(e.any.After(e.newest[m.stream]), "%s: result %s of stream %d follows %s", e.stream, e.any, m.stream, e.newest[m.stream])
			}
			e.newest[m.stream] = e.any
			e.unrecorded++
		}
	}
	e.last += uint64(len(messages))
	return len(messages)
}

// publish sends messages once and waits for the answer, for at most within.
func (e *emitter) publish(ctx context.Context, within time.Duration, bytes []byte, messages []message) error {
	h := e.msg.Header
	h[jetstream.ExpectedLastSeqHeader] = []string{strconv.FormatUint(e.last, 10)}
	batch := len(messages) > 1
	if batch {
		h["Nats-Batch-Id"] = []string{nuid.Next()}
		h["Nats-Batch-Sequence"] = []string{""}
	}
	defer func() {
		delete(h, jetstream.ExpectedLastSeqHeader)
		delete(h, "Nats-Batch-Id")
		delete(h, "Nats-Batch-Sequence")
		delete(h, "Nats-Batch-Commit")
	}()
	last, before := len(messages)-1, e.any
	e.ahead = append(e.ahead[:0], e.newest...)
	for i := range messages {
		e.fill(bytes, &messages[i])
		before = e.link(&messages[i], before)
		if batch {
			h["Nats-Batch-Sequence"][0] = strconv.Itoa(i + 1)
		}
		if i == last {
			break
		}
		if err := e.nc.PublishMsg(&e.msg); err != nil {
			return err
		}
		delete(h, jetstream.ExpectedLastSeqHeader) // only the first may have it
	}
	if batch {
		h["Nats-Batch-Commit"] = []string{"1"}
	}
	faultpoint.Reach(faultpoint.ResultsBefore)
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	answer, err := e.nc.RequestMsgWithContext(ctx, &e.msg)
	if err != nil {
		return err
	}
	return ackError(answer.Data)
}

func (e *emitter) fill(bytes []byte, m *message) {
	e.msg.Subject, e.msg.Data = m.subject, bytes[m.start:m.end]
	h := e.msg.Header
	h[headerPosition][0] = m.at.String()
	h[headerTimestamp][0] = strconv.FormatInt(m.ts, 10)
	h[headerVersion][0] = strconv.FormatUint(uint64(max(m.version, 1)), 10)
	if m.of != e.of {
		if e.of = m.of; m.of == "" {
			delete(h, output.HeaderStream)
		} else {
			h[output.HeaderStream] = []string{m.of}
		}
	}
	if m.format != e.format {
		if e.format = m.format; m.format == "" {
			delete(h, output.HeaderFormat)
		} else {
			h[output.HeaderFormat] = []string{m.format}
		}
	}
	h[headerKind][0] = "current"
	if m.kind == window.Expired {
		h[headerKind][0] = "expired"
	}
}

// link writes into the header of a message which results come before it. before is the newest
// result of all streams. It returns the newest including this one.
func (e *emitter) link(m *message, before result.Position) result.Position {
	if m.stream == fenceStream {
		delete(e.msg.Header, output.HeaderPrevious)
		return before
	}
	e.ahead = grown(e.ahead, m.stream)
	e.previous = output.Previous{Same: e.ahead[m.stream], Any: before}.Append(e.previous[:0])
	e.msg.Header[output.HeaderPrevious] = []string{string(e.previous)}
	e.ahead[m.stream] = e.placeOf(m)
	return e.ahead[m.stream]
}

// grown returns the positions with room for a result stream: a version may add streams.
func grown(of []result.Position, stream int) []result.Position {
	for len(of) <= stream {
		of = append(of, result.Position{})
	}
	return of
}

func (e *emitter) placeOf(m *message) result.Position {
	return result.Position{Generation: uint64(e.generation), Seq: m.at.seq, Ordinal: m.at.ordinal}
}

// hasCode reports whether err is one of JetStream's with one of the codes.
func hasCode(err error, codes ...jetstream.ErrorCode) bool {
	var api *jetstream.APIError
	return errors.As(err, &api) && slices.Contains(codes, api.ErrorCode)
}

func ackError(data []byte) error {
	var ack struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(data, &ack); {
	case err != nil:
		return fmt.Errorf("answer %.60q of the server: %w", data, err)
	case ack.Error != nil:
		return ack.Error
	case ack.Stream == "":
		return fmt.Errorf("answer %.60q of the server names no stream", data)
	}
	return nil
}

// errNoLeader says that the stream could not be asked at the moment.
var errNoLeader = errors.New("the output stream does not answer")

// errUnreadable says that the stream does not return a message that it counts. A batch that
// is being stored can be read soon; damage stays.
var errUnreadable = errors.New("NATS does not give its message")

// landed finds out from the end of the stream how many of the messages are in it, after a
// publish that failed or was not answered. While the server stores an atomic batch, the end
// may be in the middle of the batch. So landed compares the message at the end with the one
// that was sent for that sequence: only a different message proves that there is another
// owner.
func (e *emitter) landed(ctx context.Context, within time.Duration, messages []message) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	end, err := lastSequence(ctx, e.nc, e.stream)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errNoLeader, err)
	case end == e.last:
		return 0, nil
	case end < e.last:
		return 0, fmt.Errorf("output stream %s ends at %d, but %d was acknowledged: it lost its tail", e.stream, end, e.last)
	}
	landed := int(min(end-e.last, uint64(len(messages))))
	at := e.last + uint64(landed)
	found, err := natsconn.MessageAt(ctx, e.nc, e.stream, at)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%w: %w", errNoLeader, err)
	case found.Seq == 0:
		return 0, fmt.Errorf("output stream %s ends at %d, and %w %d; see eventflux doctor", e.stream, end, errUnreadable, at)
	}
	if ours := messages[landed-1]; found.Subject != ours.subject || found.Header.Get(headerPosition) != ours.at.String() ||
		found.Header.Get(headerGeneration) != e.msg.Header.Get(headerGeneration) {
		return 0, fmt.Errorf("output stream %s: message %d on %s is not ours: %w", e.stream, found.Seq, found.Subject, errFenced)
	}
	return landed, nil
}

func (p position) String() string {
	return strconv.FormatUint(p.seq, 10) + "." + strconv.FormatUint(p.ordinal, 10)
}
