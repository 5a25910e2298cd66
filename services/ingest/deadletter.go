package ingest

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
	"unicode"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

const (
	deadQueueMax   = 16 << 10        // dead letters that wait to be sent
	deadBytesMax   = 32 << 20        // and their bytes, including headers, which publishers choose
	deadWindow     = 256             // dead letters sent but not acknowledged
	deadAckTimeout = 5 * time.Second // without an acknowledgment, a dead letter counts as lost
	reasonCharsMax = 1 << 10
)

// deadLetters stores refused events in the dead-letter streams. It never blocks intake: if the
// server is too slow, dead letters are lost and counted.
type deadLetters struct {
	js      jetstream.JetStream
	queue   chan *nats.Msg
	closing chan struct{}
	done    chan struct{}
	bytes   atomic.Int64
	taken   atomic.Uint64
	lost    *tally
}

func newDeadLetters(nc *nats.Conn, c *counters) (*deadLetters, error) {
	d := &deadLetters{
		queue: make(chan *nats.Msg, deadQueueMax), lost: &c.deadLost,
		closing: make(chan struct{}), done: make(chan struct{}),
	}
	var err error
	d.js, err = jetstream.New(nc,
		jetstream.WithPublishAsyncMaxPending(deadWindow),
		jetstream.WithPublishAsyncTimeout(deadAckTimeout),
		jetstream.WithPublishAsyncErrHandler(func(_ jetstream.JetStream, m *nats.Msg, err error) {
			d.lose(m.Subject, err)
		}))
	if err != nil {
		return nil, fmt.Errorf("ingest: dead letters: %w", err)
	}
	return d, nil
}

func (d *deadLetters) lose(subject string, err error) {
	d.lost.record(subject + ": " + err.Error())
}

var errDeadFull = errors.New("too many wait to be stored")

// add queues a dead letter, or counts it as lost.
func (d *deadLetters) add(m *nats.Msg) {
	d.taken.Add(1)
	if d.bytes.Add(int64(m.Size())) <= deadBytesMax {
		select {
		case d.queue <- m:
			return
		default:
		}
	}
	d.bytes.Add(-int64(m.Size()))
	d.lose(m.Subject, errDeadFull)
}

// run stores dead letters until close, or until ctx ends.
func (d *deadLetters) run(ctx context.Context) error {
	defer close(d.done)
	defer d.js.CleanupPublisher()
	for {
		select {
		case m := <-d.queue:
			d.store(ctx, m)
			continue
		default:
		}
		select {
		case m := <-d.queue:
			d.store(ctx, m)
		case <-d.closing: // the queue is empty
			select {
			case <-d.js.PublishAsyncComplete():
			case <-ctx.Done():
			}
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// store sends a dead letter. It waits while too many are not acknowledged.
func (d *deadLetters) store(ctx context.Context, m *nats.Msg) {
	d.bytes.Add(-int64(m.Size()))
	for {
		_, err := d.js.PublishMsgAsync(m)
		switch {
		case err == nil:
			return
		case !errors.Is(err, jetstream.ErrTooManyStalledMsgs) || ctx.Err() != nil:
			d.lose(m.Subject, err)
			return
		}
	}
}

// close returns once all dead letters are stored, or with ctx's error. No more may
// be added.
func (d *deadLetters) close(ctx context.Context) error {
	close(d.closing)
	select {
	case <-d.done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("dead letters: %w", ctx.Err())
	}
}

// bury makes dead letters of refused rows, and of a message that is too large for the logs of
// one of the apps.
func (in *intake) bury(m *nats.Msg, r *route) {
	for i := range r.decodings {
		l := &r.decodings[i]
		for _, row := range l.refused {
			in.s.counters.refusedFor(eventsRefused)
			in.s.counters.refused.record(row.Err.Error())
			for _, t := range l.targets {
				t.refused.Add(1)
				in.s.dead.add(in.deadLetter(m, t.dead, row))
			}
		}
		for _, t := range l.targets {
			if p := t.problem; p != nil {
				in.s.counters.refusedFor(p.code)
				in.s.counters.refused.record(p.text)
				t.refused.Add(uint64(l.accepted))
				in.s.dead.add(in.deadLetter(m, t.dead, rowjson.Refused{End: len(m.Data), Err: errors.New(p.text)}))
			}
		}
	}
}

// buryAll makes a dead letter of the whole message for each source that reads it.
func (in *intake) buryAll(m *nats.Msg, r *route, err error) {
	for i := range r.decodings {
		for _, t := range r.decodings[i].targets {
			in.s.dead.add(in.deadLetter(m, t.dead, rowjson.Refused{End: len(m.Data), Err: err}))
		}
	}
}

// deadLetter returns a dead letter with a copy of the row, or of the whole message if it has
// no rows.
func (in *intake) deadLetter(m *nats.Msg, subject string, row rowjson.Refused) *nats.Msg {
	payload := m.Data[row.Start:row.End]
	if len(payload) == 0 {
		payload = m.Data
	}
	d := nats.NewMsg(subject)
	d.Data = append([]byte(nil), payload...)
	d.Header.Set("Ef-Reason", printable(row.Err.Error()))
	d.Header.Set("Ef-Index", strconv.Itoa(row.Index))
	d.Header.Set("Ef-Subject", m.Subject)
	d.Header.Set("Ef-Arrived", strconv.FormatInt(in.arrived, 10))
	// Not as Nats-Msg-Id: JetStream would drop all but the first row of a message.
	for name, as := range map[string]string{headerID: "Ef-Msg-Id", headerTimestamp: headerTimestamp, headerEncoding: headerEncoding} {
		if v := m.Header.Get(name); v != "" && len(v) <= traceBytesMax {
			d.Header.Set(as, v)
		}
	}
	return d
}

// printable makes one line of text, of bounded length.
func printable(text string) string {
	chars := 0
	return strings.Map(func(r rune) rune {
		chars++
		switch {
		case chars > reasonCharsMax:
			return -1
		case unicode.IsControl(r):
			return ' '
		}
		return r
	}, text)
}
