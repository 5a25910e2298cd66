package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// Events that a task cannot apply and that no query asks for become dead letters. They are
// outputs of their frame: they are durable before a checkpoint that covers the frame is
// prepared. A crash may repeat them with the same id; JetStream drops repetitions within its
// own dedup window.

// lettersWindow is how many dead letters may be unacknowledged at the same time.
const lettersWindow = 256

const headerReason = "Ef-Reason"

// letters appends a task's dead letters to the app's stream of them.
type letters struct {
	js         jetstream.JetStream
	app        string
	partition  uint32
	generation checkpoint.Generation
	log        *slog.Logger
}

func newLetters(nc *nats.Conn, app string, partition uint32, generation checkpoint.Generation, log *slog.Logger) (*letters, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(lettersWindow), jetstream.WithPublishAsyncTimeout(publishTimeout))
	if err != nil {
		return nil, fmt.Errorf("dead letters: %w", err)
	}
	return &letters{js: js, app: app, partition: partition, generation: generation, log: log}, nil
}

// run stores the dead letters in the box until ctx ends, which is no error. It tries again
// for as long as it takes, and a checkpoint that covers a dead letter waits for it.
func (l *letters) run(ctx context.Context, box *outbox) error {
	defer l.js.CleanupPublisher()
	defer box.close()
	for {
		p := box.take(ctx)
		if p == nil {
			return nil
		}
		for rest := p.messages; len(rest) > 0; {
			n := min(len(rest), lettersWindow)
			if !l.store(ctx, p.bytes, rest[:n]) {
				return nil
			}
			rest = rest[n:]
		}
		box.sent(p)
	}
}

// store makes dead letters durable; false if ctx ends before.
func (l *letters) store(ctx context.Context, bytes []byte, messages []message) bool {
	warned := false
	for wait := retryWait; ; wait = min(2*wait, retryWaitMax) {
		failed, err := l.publish(ctx, bytes, messages)
		if len(failed) == 0 {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if !warned {
			warned = true
			l.log.Warn("dead letters cannot be stored, and no checkpoint is made until they are; make sure that stream "+natsconn.DLQStream(l.app)+" accepts messages",
				"dead_letters", len(failed), "err", err)
		}
		messages = failed
		select {
		case <-ctx.Done():
			return false
		case <-time.After(wait):
		}
	}
}

// publish sends dead letters once and returns those that are not known to be durable.
func (l *letters) publish(ctx context.Context, bytes []byte, messages []message) (failed []message, err error) {
	futures := make([]jetstream.PubAckFuture, len(messages))
	for i := range messages {
		letter := l.message(bytes, &messages[i])
		future, e := l.js.PublishMsgAsync(letter)
		if errors.Is(e, nats.ErrMaxPayload) {
			future, e = l.js.PublishMsgAsync(l.shortened(letter))
		}
		if e != nil {
			failed, err = append(failed, messages[i]), e
			continue
		}
		futures[i] = future
	}
	for i, future := range futures {
		if future == nil {
			continue
		}
		select {
		case <-future.Ok():
		case e := <-future.Err():
			failed, err = append(failed, messages[i]), e
		case <-ctx.Done():
			return messages, ctx.Err()
		}
	}
	return failed, err
}

// message makes the message of a late event.
func (l *letters) message(bytes []byte, m *message) *nats.Msg {
	msg := nats.NewMsg(m.subject)
	msg.Data = bytes[m.start:m.end]
	msg.Header.Set(jetstream.MsgIDHeader, fmt.Sprintf("%s.%d:%d:%s", l.app, l.partition, l.generation, m.at))
	msg.Header.Set(headerReason, m.reason)
	msg.Header.Set(headerTimestamp, strconv.FormatInt(m.ts, 10))
	return msg
}

// shortened returns a letter without its event, which makes it too large for the server.
func (l *letters) shortened(letter *nats.Msg) *nats.Msg {
	id := letter.Header.Get(jetstream.MsgIDHeader)
	l.log.Error("a dead letter is stored without its event, which is larger than the NATS server accepts (max_payload)", "id", id, "bytes", len(letter.Data))
	short := nats.NewMsg(letter.Subject)
	for key, values := range letter.Header {
		short.Header[key] = values
	}
	short.Header.Set(headerReason, fmt.Sprintf("%s; the event is left out, since it takes %d bytes", letter.Header.Get(headerReason), len(letter.Data)))
	return short
}
