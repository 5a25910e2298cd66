package faults

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

var overload = flag.Duration("overload", 3*time.Second, "how long more events are published than a task can apply")

// TestOverload publishes faster than the task applies: some events are refused, and sent
// again until they are acknowledged. Each acknowledged event has its result, once, and
// checkpoints are committed meanwhile.
func TestOverload(t *testing.T) {
	const perMessage, window = 500, 64
	file := write(t, "flood.siddhi", `@app:name('flood') define stream S (v long); from S select v insert into Out;`)
	// A short run must be refused as well, so little lag is allowed there.
	lagMax := min(*overload/60, 5*time.Second)
	p := serving(t, t.TempDir(), file, "--ingest.lag_max="+lagMax.String(), "--checkpoint.interval=500ms")
	nc := p.connect()
	inbox := nats.NewInbox()
	answers := make(chan *nats.Msg, 4*window) // more than can be in flight
	sub, err := nc.ChanSubscribe(inbox+".*", answers)
	must(t, err)
	defer func() { _ = sub.Unsubscribe() }() // the process may be gone

	message := func(i int) *nats.Msg {
		var data bytes.Buffer
		for v := range perMessage {
			fmt.Fprintf(&data, "{\"v\":%d}\n", i*perMessage+v)
		}
		m := &nats.Msg{Subject: "events.S", Reply: inbox + "." + strconv.Itoa(i), Data: data.Bytes(), Header: nats.Header{}}
		m.Header.Set("Nats-Msg-Id", "m"+strconv.Itoa(i))
		return m
	}
	began := time.Now()
	refused, flying, sent, acknowledged := 0, 0, 0, 0
	var again []int
	var lagMost float64
	var lastLook time.Time
	committed := map[uint64]bool{}
	for time.Since(began) < *overload || flying > 0 || len(again) > 0 {
		for flying < window && time.Since(began) < *overload && len(again) < window {
			must(t, nc.PublishMsg(message(sent)))
			sent++
			flying++
		}
		if flying == 0 { // all was refused: a client backs off, which the answers so far have done
			n := min(len(again), window)
			for _, i := range again[:n] {
				must(t, nc.PublishMsg(message(i)))
				flying++
			}
			again = again[n:]
		}
		var m *nats.Msg
		select {
		case m = <-answers:
		case <-time.After(patience):
			t.Fatalf("no answer, with %d messages in flight", flying)
		}
		flying--
		i, err := strconv.Atoi(m.Subject[len(inbox)+1:])
		must(t, err)
		var answer struct {
			Error *struct {
				Code    int `json:"code"`
				ErrCode int `json:"err_code"`
			} `json:"error"`
		}
		must(t, json.Unmarshal(m.Data, &answer))
		switch {
		case answer.Error == nil:
			acknowledged++
		case answer.Error.Code == 503:
			refused++
			again = append(again, i)
		default:
			t.Fatalf("message %d: %s", i, m.Data)
		}
		if time.Since(lastLook) > 200*time.Millisecond {
			lastLook = time.Now()
			all, err := flow(nc)
			must(t, err)
			lagMost = max(lagMost, all.Lag)
			committed[all.Checkpoint] = true
		}
	}
	took := time.Since(began)
	if acknowledged != sent {
		t.Errorf("%d of %d messages are acknowledged", acknowledged, sent)
	}
	want := uint64(sent * perMessage)
	eventually(t, "all results are out", func() bool {
		f, err := flow(nc)
		must(t, err)
		return f.Results >= want
	})
	last, err := flow(nc)
	must(t, err)
	if refused == 0 {
		t.Error("nothing was refused: the lag has no bound")
	}
	if last.Results != want || last.Checkpoint == 0 {
		t.Errorf("%d results, want %d; newest checkpoint %d", last.Results, want, last.Checkpoint)
	}
	t.Logf("%d events in %.1f s, %.0f/s; %d messages refused and sent again; lag at most %.2f s, limit %s; %d checkpoints seen while publishing",
		want, took.Seconds(), float64(want)/took.Seconds(), refused, lagMost, lagMax, len(committed)-1)
	onceEach(t, nc, want)
	p.stop()
}

// onceEach reads the results, and checks that each event has one.
func onceEach(t *testing.T, nc *nats.Conn, events uint64) {
	t.Helper()
	js, err := jetstream.New(nc)
	must(t, err)
	consumer, err := js.OrderedConsumer(t.Context(), natsconn.OutStream("flood", 0), jetstream.OrderedConsumerConfig{FilterSubjects: []string{"out.flood.Out.0"}})
	must(t, err)
	messages, err := consumer.Messages()
	must(t, err)
	defer messages.Stop()
	seen := make([]bool, events)
	for range events {
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		must(t, err)
		var row struct{ V uint64 }
		must(t, json.Unmarshal(m.Data(), &row))
		if row.V >= events || seen[row.V] {
			t.Fatalf("event %d has a second result, or was never published", row.V)
		}
		seen[row.V] = true
	}
}

// load is what ef.processor.tasks tells of a task's load.
type load struct {
	Lag        float64 `json:"lag_seconds"`
	Results    uint64  `json:"results"`
	Checkpoint uint64  `json:"checkpoint"`
}

func flow(nc *nats.Conn) (load, error) {
	m, err := nc.Request("ef.processor.tasks", nil, patience)
	if err != nil {
		return load{}, err
	}
	var list struct{ Tasks []load }
	if err := json.Unmarshal(m.Data, &list); err != nil || len(list.Tasks) != 1 {
		return load{}, fmt.Errorf("%d tasks: %w", len(list.Tasks), err)
	}
	return list.Tasks[0], nil
}
