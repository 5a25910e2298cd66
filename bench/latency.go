package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	latencyRate  = 1000 // events per second
	latencyTime  = 10 * time.Second
	latencyWarm  = 2000 // events before the measurement starts
	latencyQuery = "from Flights#window.length(100) select time, avg(delay) as mean insert into Out;"
)

// stopwatch measures the time from sending a numbered event to its effect.
type stopwatch struct {
	mu    sync.Mutex
	start []time.Time
	took  []float64 // seconds; 0: nothing has come yet
	left  int
	done  chan struct{}
}

func newStopwatch(n int) *stopwatch {
	return &stopwatch{start: make([]time.Time, n), took: make([]float64, n), left: n, done: make(chan struct{})}
}

func (w *stopwatch) begin(i int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.start[i] = time.Now()
}

func (w *stopwatch) end(i int) {
	now := time.Now()
	w.mu.Lock()
	defer w.mu.Unlock()
	if i < 0 || i >= len(w.took) || w.took[i] != 0 {
		return
	}
	w.took[i] = now.Sub(w.start[i]).Seconds()
	if w.left--; w.left == 0 {
		close(w.done)
	}
}

func (w *stopwatch) await(ctx context.Context) error {
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
		w.mu.Lock()
		defer w.mu.Unlock()
		return fmt.Errorf("%d of %d events without result: %w", w.left, len(w.took), ctx.Err())
	}
}

// measured returns the latencies without those of the warm-up.
func (w *stopwatch) measured() []float64 { return w.took[latencyWarm:] }

// sendAt sends n numbered events at a fixed rate: a delay of one does not delay the others.
func sendAt(ctx context.Context, n int, send func(i int) error) error {
	begin := time.Now()
	for i := range n {
		due := begin.Add(time.Duration(i) * time.Second / latencyRate)
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := send(i); err != nil {
			return err
		}
	}
	return nil
}

const latencyEvents = latencyWarm + latencyRate*int(latencyTime/time.Second)

// runLatency measures the time from the publish of an event to its result.
func runLatency(ctx context.Context, b *bench) ([]table, error) {
	var heard, read, acked, bare []quantiles
	for range b.repeat {
		h, r, a, err := b.latencyOnce(ctx)
		if err != nil {
			return nil, err
		}
		n, err := b.bareLatency(ctx)
		if err != nil {
			return nil, err
		}
		heard, read, acked, bare = append(heard, h), append(read, r), append(acked, a), append(bare, n)
		b.say("latency        result %s, read %s, acknowledged %s, bare JetStream %s", h, r, a, n)
	}
	one, err := measureSync(b.dir)
	if err != nil {
		return nil, err
	}
	rows := []row{
		quantileRow("publish to result, on a NATS subscription", heard),
		quantileRow("publish to result, read from the output stream", read),
		quantileRow("publish to acknowledgement", acked),
		quantileRow("peer: publish to JetStream, to acknowledgement", bare),
		{what: "limit: one write and fsync of 4 KiB", value: given(duration, one.p50), extra: "p99 " + duration(one.p99)},
	}
	return []table{{
		title: "Latency at 1,000 events per second",
		about: fmt.Sprintf("One event per message at a fixed rate for %s, a result for each, all in one process, profile durable.\n", latencyTime) +
			"A plain subscription hears a result when it is on its way to the output stream, a JetStream consumer\n" +
			"when it is durable there. Both the log and the output stream sync for each frame.",
		unit: "p50", rows: rows,
	}}, nil
}

// quantiles of latencies, in seconds.
type quantiles struct{ p50, p99, most float64 }

func quantilesOf(v []float64) quantiles {
	return quantiles{p50: percentile(v, 50), p99: percentile(v, 99), most: slices.Max(v)}
}

func (q quantiles) String() string {
	return fmt.Sprintf("p50 %s p99 %s max %s", duration(q.p50), duration(q.p99), duration(q.most))
}

func quantileRow(what string, all []quantiles) row {
	var p50, p99, most []float64
	for _, q := range all {
		p50, p99, most = append(p50, q.p50), append(p99, q.p99), append(most, q.most)
	}
	return row{
		what: what, value: medianOf(duration, p50...),
		extra: "p99 " + medianOf(duration, p99...).String() + ", max " + medianOf(duration, most...).String(),
	}
}

// latencyOnce measures three times for each event: until its result arrives on a plain
// subscription, until the result is read from the output stream, and until the acknowledgement.
func (b *bench) latencyOnce(ctx context.Context) (heard, read, acked quantiles, err error) {
	ctx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	d, err := b.deploy(ctx, latencyQuery)
	if err != nil {
		return heard, read, acked, err
	}
	defer func() { err = errors.Join(err, d.close()) }()
	from, err := d.connect(ctx, "subscriber")
	if err != nil {
		return heard, read, acked, err
	}
	results, stored := newStopwatch(latencyEvents), newStopwatch(latencyEvents)
	if _, err := from.Subscribe(natsconn.OutSubject(appName, "Out", 0), func(m *nats.Msg) { results.end(eventNumber(m.Data)) }); err != nil {
		return heard, read, acked, err
	}
	js, err := jetstream.New(from)
	if err != nil {
		return heard, read, acked, err
	}
	if _, err := natsconn.EnsureOut(ctx, js, appName, 0, natsconn.StreamLimits{}); err != nil {
		return heard, read, acked, err
	}
	consumer, err := js.OrderedConsumer(ctx, natsconn.OutStream(appName, 0), jetstream.OrderedConsumerConfig{})
	if err != nil {
		return heard, read, acked, err
	}
	consume, err := consumer.Consume(func(m jetstream.Msg) { stored.end(eventNumber(m.Data())) })
	if err != nil {
		return heard, read, acked, err
	}
	defer consume.Stop()
	to, err := d.connect(ctx, "publisher")
	if err != nil {
		return heard, read, acked, err
	}
	acks, err := timeAcks(ctx, to, subject, []*stopwatch{results, stored})
	if err != nil {
		return heard, read, acked, err
	}
	if err := errors.Join(results.await(ctx), stored.await(ctx)); err != nil {
		return heard, read, acked, err
	}
	return quantilesOf(results.measured()), quantilesOf(stored.measured()), quantilesOf(acks.measured()), nil
}

// bareLatency times the acknowledgements of JetStream alone.
func (b *bench) bareLatency(ctx context.Context) (quantiles, error) {
	var q quantiles
	_, err := b.once(ctx, func(ctx context.Context, s *server) (float64, error) {
		nc, err := s.connect(ctx, false)
		if err != nil {
			return 0, err
		}
		if _, err := limitFor(ctx, nc); err != nil {
			return 0, err
		}
		acks, err := timeAcks(ctx, nc, natsconn.OutSubject(appName, "Out", 0), nil)
		if err != nil {
			return 0, err
		}
		q = quantilesOf(acks.measured())
		return 0, nil
	})
	return q, err
}

// timeAcks publishes numbered events at a fixed rate and times their acknowledgements. It also
// starts the other stopwatches.
func timeAcks(ctx context.Context, nc *nats.Conn, to string, others []*stopwatch) (*stopwatch, error) {
	acks := newStopwatch(latencyEvents)
	inbox := nc.NewInbox() + "."
	var refused error
	sub, err := nc.Subscribe(inbox+"*", func(m *nats.Msg) {
		if err := ackError(m.Data); err != nil && refused == nil {
			refused = err
		}
		i, _ := strconv.Atoi(m.Subject[len(inbox):])
		acks.end(i)
	})
	if err != nil {
		return nil, err
	}
	defer func() { _ = sub.Unsubscribe() }()
	err = sendAt(ctx, latencyEvents, func(i int) error {
		data := fmt.Appendf(nil, `{"time":%d,"origin":"ATL","destination":"JFK","delay":%d,"distance":760}`, i, i%90)
		acks.begin(i)
		for _, w := range others {
			w.begin(i)
		}
		return nc.PublishRequest(to, inbox+strconv.Itoa(i), data)
	})
	if err == nil {
		err = acks.await(ctx)
	}
	return acks, errors.Join(err, refused)
}

// eventNumber returns the number of the event that a row results from, or -1 if the row is no such
// result.
func eventNumber(row []byte) int {
	rest, ok := bytes.CutPrefix(row, []byte(`{"time":`))
	if !ok {
		return -1
	}
	digits, _, _ := bytes.Cut(rest, []byte(","))
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return -1
	}
	return n
}
