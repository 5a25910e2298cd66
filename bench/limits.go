package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	limitStream = "LIMIT"
	rowBatch    = natsconn.BatchMessagesMax // as the processor has it
)

// limits measures the upper bounds for the flows: the same messages and answers without any work,
// and results that are only stored.
func (b *bench) limits(ctx context.Context, f *flights) ([]row, error) {
	var rows []row
	for _, c := range []struct{ perMessage, events, window int }{{1, 1_000_000, 8192}, {100, 20_000_000, 1024}} {
		messages := f.messages(c.perMessage)
		value, err := b.measure(ctx, func(ctx context.Context, s *server) (float64, error) {
			return echo(ctx, s, messages, c.events/c.perMessage, c.window)
		})
		if err != nil {
			return nil, err
		}
		value = value.times(float64(c.perMessage))
		events := fmt.Sprintf("%d events", c.perMessage)
		if c.perMessage == 1 {
			events = "an event"
		}
		rows = append(rows, row{what: "limit: " + events + " per message, answered without any work", value: value, extra: "core NATS, nothing stored, no results"})
	}
	return rows, nil
}

// storedLimit measures how fast the server stores results while nothing else is published or read.
func (b *bench) storedLimit(ctx context.Context) (row, error) {
	stored, err := b.measure(ctx, storeRows)
	return row{
		what: "limit: a message per result, stored only", value: stored,
		extra: fmt.Sprintf("atomic batches of %d, synced; nothing else is published, and nothing read", rowBatch),
	}, err
}

func (f figure) times(n float64) figure {
	f.median, f.least, f.most = f.median*n, f.least*n, f.most*n
	return f
}

// measure returns the median of calls of one on fresh servers.
func (b *bench) measure(ctx context.Context, one func(context.Context, *server) (float64, error)) (figure, error) {
	var values []float64
	for range b.repeat {
		v, err := b.once(ctx, one)
		if err != nil {
			return figure{}, err
		}
		values = append(values, v)
	}
	f := medianOf(rate, values...)
	b.say("limit          %s messages/s", f)
	return f, nil
}

func (b *bench) once(ctx context.Context, one func(context.Context, *server) (float64, error)) (v float64, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	s, err := b.openServer()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	return one(ctx, s)
}

// echo publishes to a service that answers at once. The service is connected inside the process, as
// ingest is.
func echo(ctx context.Context, s *server, messages [][]byte, n, window int) (float64, error) {
	service, err := s.connect(ctx, true)
	if err != nil {
		return 0, err
	}
	answer := []byte(`{"stream":"LIMIT","seq":1}`)
	sub, err := service.Subscribe(subject, func(m *nats.Msg) {
		_ = service.Publish(m.Reply, answer) // a lost answer is missed by the publisher
	})
	if err != nil {
		return 0, err
	}
	if err := errors.Join(sub.SetPendingLimits(-1, -1), service.Flush()); err != nil {
		return 0, err
	}
	nc, err := s.connect(ctx, false)
	if err != nil {
		return 0, err
	}
	pub, err := newPublisher(nc, limitStream)
	if err != nil {
		return 0, err
	}
	if err := pub.publish(ctx, subject, messages, n/20, window); err != nil {
		return 0, err
	}
	start := time.Now()
	err = pub.publish(ctx, subject, messages, n, window)
	return float64(n) / time.Since(start).Seconds(), err
}

// limitFor creates the stream that limits store messages in.
func limitFor(ctx context.Context, nc *nats.Conn) (jetstream.JetStream, error) {
	js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(rowBatch))
	if err != nil {
		return nil, err
	}
	_, err = js.CreateStream(ctx, jetstream.StreamConfig{
		Name: limitStream, Subjects: []string{natsconn.OutSubjects(appName, 0)},
		Storage: jetstream.FileStorage, AllowAtomicPublish: true,
	})
	return js, err
}

// storeRows stores results as a processor does, in atomic batches.
func storeRows(ctx context.Context, s *server) (float64, error) {
	const n = 400_000
	nc, err := s.connect(ctx, true)
	if err != nil {
		return 0, err
	}
	if _, err := limitFor(ctx, nc); err != nil {
		return 0, err
	}
	start := time.Now()
	for i := range n / rowBatch {
		if err := storeBatch(ctx, nc, i); err != nil {
			return 0, err
		}
	}
	return n / time.Since(start).Seconds(), nil
}

func storeBatch(ctx context.Context, nc *nats.Conn, number int) error {
	m := &nats.Msg{
		Subject: natsconn.OutSubject(appName, "Out", 0),
		Data:    []byte(`{"origin":"ATL","delay":12,"mean":11.120000000000001}`),
		Header: nats.Header{
			"Ef-Position": {""}, "Ef-Kind": {"current"}, "Ef-Timestamp": {"978310020000"}, "Ef-Generation": {"1"}, "Ef-Previous": {""},
			"Nats-Batch-Id": {nuid.Next()}, "Nats-Batch-Sequence": {""},
		},
	}
	for i := range rowBatch {
		at := strconv.Itoa(number) + "." + strconv.Itoa(i)
		m.Header["Ef-Position"][0], m.Header["Ef-Previous"][0] = at, "1:"+at
		m.Header["Nats-Batch-Sequence"][0] = strconv.Itoa(i + 1)
		if i == rowBatch-1 {
			break
		}
		if err := nc.PublishMsg(m); err != nil {
			return err
		}
	}
	m.Header["Nats-Batch-Commit"] = []string{"1"}
	answer, err := nc.RequestMsgWithContext(ctx, m)
	if err != nil {
		return err
	}
	return ackError(answer.Data)
}

func ackError(answer []byte) error {
	var ack struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	switch err := json.Unmarshal(answer, &ack); {
	case err != nil:
		return err
	case ack.Error != nil:
		return ack.Error
	case ack.Stream == "":
		return fmt.Errorf("answer %s", answer)
	}
	return nil
}

// storeEach publishes each event as a message to JetStream, with many in flight.
func storeEach(ctx context.Context, s *server, lines [][]byte) (float64, error) {
	const n = 20_000
	nc, err := s.connect(ctx, false)
	if err != nil {
		return 0, err
	}
	if _, err := limitFor(ctx, nc); err != nil {
		return 0, err
	}
	pub, err := newPublisher(nc, limitStream)
	if err != nil {
		return 0, err
	}
	start := time.Now()
	err = pub.publish(ctx, natsconn.OutSubject(appName, "Out", 0), lines, n, 4096)
	return n / time.Since(start).Seconds(), err
}
