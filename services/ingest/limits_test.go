package ingest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/frame"
)

// A batch that is too large for a frame is split, unless it must stay in one piece.
func TestBatchLargerThanAFrame(t *testing.T) {
	r := start(t, func(c *Config) { c.EventBytesMax = 4 << 20 },
		`@app:name('a') define stream S (n int); from S select n insert into Out;`)
	const rows = 400_000
	payload := strings.Repeat(`{"n":7}`, rows)
	for name, headers := range map[string][]string{"id": {"Nats-Msg-Id", "x"}, "chunk": {"Ef-Chunk", "1"}} {
		if ack := r.ask("events.S", payload, headers...); ack.Error == nil || ack.Error.ErrCode != tooLarge || !strings.Contains(ack.Error.Description, "split the message") {
			t.Errorf("%s: %+v", name, ack)
		}
	}
	if ack := r.ask("events.S", payload); ack.Error != nil || ack.Stream != "EFW_a_0" {
		t.Fatalf("%+v", ack.Error)
	}
	r.end()
	count := 0
	r.frames("a", 0, func(f *frame.Frame) { count += f.Rows() })
	if count != rows {
		t.Errorf("%d rows in the log, want %d", count, rows)
	}
}

// If there is no room for messages without a reply subject, they are counted.
func TestMessagesThatArriveTooFast(t *testing.T) {
	gate := make(chan struct{})
	r := start(t, func(c *Config) {
		c.MemoryMax, c.EventBytesMax = 64<<10, 1<<10
		c.Now = func() int64 { <-gate; return arrival }
	}, flightsApp)
	const n = 2000
	for i := range n {
		if err := r.pub.Publish("events.Flights", fmt.Appendf(nil, `{"origin":"%064d","delay":%d}`, i, i)); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := r.svc.cfg.Conn.Flush(); err != nil { // now the client library has all messages
		t.Fatal(err)
	}
	close(gate)
	r.end()
	info := r.svc.Info()
	if info.Dropped == 0 || info.Accepted+info.Dropped != n || len(r.delays()) != int(info.Accepted) {
		t.Errorf("%+v", info)
	}
}

func TestDeadLettersAreBounded(t *testing.T) {
	r := start(t, nil, flightsApp)
	var c counters
	d, err := newDeadLetters(r.pub, &c)
	if err != nil {
		t.Fatal(err)
	}
	for range deadQueueMax + 3 {
		d.add(&nats.Msg{Subject: "dlq.a.Flights"})
	}
	if n := c.deadLost.n.Load(); n != 3 {
		t.Errorf("%d lost, want 3", n)
	}
	large := make([]byte, deadBytesMax/2+1)
	for range cap(d.queue) {
		<-d.queue
	}
	d.add(&nats.Msg{Subject: "dlq.a.Flights", Data: large})
	d.add(&nats.Msg{Subject: "dlq.a.Flights", Data: large})
	if n := c.deadLost.n.Load(); n != 4 {
		t.Errorf("%d lost, want 4", n)
	}
}

// A dead letter that the server refuses is counted, and intake continues.
func TestDeadLettersThatAreNotStored(t *testing.T) {
	r := start(t, nil, flightsApp)
	if err := r.js.DeleteStream(within(t), "EFD_a"); err != nil {
		t.Fatal(err)
	}
	if ack := r.ask("events.Flights", `[{"origin":"a","delay":1},{}]`); ack.Seq == 0 || ack.RejectedCount != 1 {
		t.Errorf("%+v", ack)
	}
	r.end()
	if info := r.svc.Info(); info.DeadLost != 1 {
		t.Errorf("%+v", info)
	}
}
