package ingest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// hostile is a message of a malicious publisher, with the expected answer.
type hostile struct {
	name, subject string
	payload       []byte
	headers       nats.Header
	code          errCode // of the answer; 0: the client refuses to send it
	text          string  // in the answer
}

func hostiles() []hostile {
	good := []byte(`{"origin":"a","delay":1}`)
	mib := strings.Repeat("x", 1<<20)
	many := nats.Header{}
	for i := range 10_000 {
		many.Set(fmt.Sprintf("X-%d", i), "v")
	}
	return []hostile{
		{"a bomb", "events.Flights", bomb(), nats.Header{"Content-Encoding": {"gzip"}}, tooLarge, "more than 1048576 bytes when it is decompressed"},
		{"no gzip", "events.Flights", good, nats.Header{"Content-Encoding": {"gzip"}}, badHeader, "the payload is not gzip"},
		{"half of zstd", "events.Flights", []byte{0x28, 0xb5, 0x2f, 0xfd}, nats.Header{"Content-Encoding": {"zstd"}}, badHeader, "the payload is not zstd"},
		{"an unknown encoding", "events.Flights", good, nats.Header{"Content-Encoding": {"br"}}, badHeader, "expected gzip or zstd"},
		{"giant", "events.Flights", []byte(`{"origin":"` + mib + mib + `","delay":1}`), nil, tooLarge, "limit 1048576 (ingest.event_bytes_max)"},
		{"beyond what NATS takes", "events.Flights", make([]byte, 9<<20), nil, 0, ""},
		{"no JSON", "events.Flights", bytes.Repeat([]byte{0xff, 0, '{'}, 100_000), nil, eventsRefused, "not JSON"},
		{"half of an object", "events.Flights", []byte(`{"origin":"` + mib[:1<<19]), nil, eventsRefused, "not JSON"},
		{"deep arrays", "events.Flights", bytes.Repeat([]byte{'['}, 1<<20), nil, eventsRefused, "nesting"},
		{"deep objects", "events.Flights", bytes.Repeat([]byte(`{"a":`), 200_000), nil, eventsRefused, ""},
		{"a thousand keys", "events.Flights", wide(20_000), nil, eventsRefused, "duplicate attribute"},
		{"an endless number", "events.Flights", []byte(`{"origin":"a","delay":` + strings.Repeat("9", 1<<19) + `}`), nil, eventsRefused, "delay"},
		{"many wrong events", "events.Flights", bytes.Repeat([]byte(`{}`), 400_000), nil, eventsRefused, "missing attribute"},
		{"an id of 1 MiB", "events.Flights", good, nats.Header{"Nats-Msg-Id": {mib}}, badHeader, "bytes of headers"},
		{"many headers", "events.Flights", good, withID(many, "h"), badHeader, "bytes of headers"},
		{"a header of 1 MiB", "events.Flights", good, nats.Header{"X": {mib}}, badHeader, "bytes of headers"},
		{"a timestamp of 1 MiB", "events.Flights", good, nats.Header{"Ef-Timestamp": {mib}}, badHeader, "bytes of headers"},
		{"no such stream", "events.Flights.more.tokens", good, nil, unknownStream, "no deployed app reads"},
	}
}

func withID(h nats.Header, id string) nats.Header { h.Set("Nats-Msg-Id", id); return h }

// bomb is a small payload that inflates to 64 MiB.
func bomb() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write(make([]byte, 64<<20)); err != nil {
		panic(err)
	}
	if err := w.Close(); err != nil {
		panic(err)
	}
	return b.Bytes()
}

func wide(n int) []byte {
	var b strings.Builder
	b.WriteString(`{"origin":"a","delay":1,"delay":2`)
	for i := range n {
		fmt.Fprintf(&b, `,"k%d":%d`, i, i)
	}
	b.WriteByte('}')
	return []byte(b.String())
}

// Each kind of malicious message is refused with a reason and counted. Nothing of it reaches a
// log, and dead letters and answers stay small.
func TestHarmIsRefused(t *testing.T) {
	r := start(t, nil, flightsApp)
	for _, h := range hostiles() {
		m := &nats.Msg{Subject: h.subject, Data: h.payload, Header: h.headers}
		before := r.svc.Info()
		answer, err := r.pub.RequestMsgWithContext(within(t), m)
		if h.code == 0 {
			if err == nil {
				t.Errorf("%s: it was sent", h.name)
			}
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", h.name, err)
		}
		var ack reply
		if err := json.Unmarshal(answer.Data, &ack); err != nil {
			t.Fatalf("%s: %v", h.name, err)
		}
		if ack.Error == nil || ack.Error.ErrCode != h.code || !strings.Contains(ack.Error.Description, h.text) {
			t.Errorf("%s: %.300s", h.name, answer.Data)
		}
		if len(answer.Data) > 64<<10 {
			t.Errorf("%s: the answer has %d bytes", h.name, len(answer.Data))
		}
		if after := r.svc.Info(); after.Refused == before.Refused && after.Unknown == before.Unknown {
			t.Errorf("%s: it is not counted", h.name)
		}
	}
	if ack := r.ask("events.Flights", `{"origin":"a","delay":1}`); ack.Seq != 1 {
		t.Errorf("others are not served, or harm is in the log: %+v", ack)
	}
	r.end()
	if info := r.svc.Info(); info.BytesWaiting != 0 {
		t.Errorf("%d bytes wait for ever", info.BytesWaiting)
	}
}

// harmfulReplies are reply subjects where an answer would be a frame, an order or an event.
var harmfulReplies = []string{
	"ef.wal.a.0", "ef.fence.a.0", "ef.checkpointer.remove", "out.a.Out.0", "dlq.a.Flights",
	"$JS.API.STREAM.PURGE.EFO_a_0", "$KV.EF_CLUSTER.app.a", "events.Flights",
}

// hearHarm returns the messages on those subjects, except events.
func (r *rig) hearHarm() chan *nats.Msg {
	r.t.Helper()
	heard := make(chan *nats.Msg, 1000)
	for _, subject := range []string{"ef.>", "out.>", "dlq.>", "$JS.API.STREAM.PURGE.*", "$KV.>"} {
		if _, err := r.pub.ChanSubscribe(subject, heard); err != nil {
			r.t.Fatal(err)
		}
	}
	return heard
}

// noHarm checks that only frames have arrived.
func (r *rig) noHarm(heard chan *nats.Msg) {
	r.t.Helper()
	for len(heard) > 0 {
		if m := <-heard; !strings.HasPrefix(m.Subject, "ef.wal.") || m.Reply == "" {
			r.t.Errorf("%s got %q", m.Subject, m.Data)
		}
	}
}

// The client names the subject of the answer. No answer goes where it could do harm; the
// events still count.
func TestAnswersGoToInboxesAlone(t *testing.T) {
	r := start(t, nil, flightsApp)
	heard, harmful := r.hearHarm(), harmfulReplies
	good := r.ask("events.Flights", `{"origin":"a","delay":0}`) // a harmless answer
	for len(heard) > 0 {
		<-heard
	}
	for i, reply := range harmful {
		if err := r.pub.PublishRequest("events.Flights", reply, fmt.Appendf(nil, `{"origin":"a","delay":%d}`, i+1)); err != nil {
			t.Fatal(err)
		}
	}
	last := r.ask("events.Flights", `{"origin":"a","delay":99}`)
	r.end()
	r.noHarm(heard)
	if n := r.svc.listener.queue.bytes.Load(); n != 0 {
		t.Errorf("%d bytes are counted as waiting, and nothing waits: the queue is not bounded", n)
	}
	if good.Seq == 0 || last.Seq == 0 {
		t.Errorf("%+v, %+v", good, last)
	}
	if info := r.svc.Info(); info.Unanswered != uint64(len(harmful)) || info.Accepted != uint64(len(harmful)+2) {
		t.Errorf("%+v", info)
	}
	if delays := r.delays(); len(delays) != len(harmful)+2 {
		t.Errorf("the log has %v", delays)
	}
}

// The same is true for messages that are refused because the queue is full.
func TestRefusalsGoToInboxesAlone(t *testing.T) {
	gate := make(chan struct{})
	r := start(t, func(c *Config) {
		c.MemoryMax = 16 << 10
		c.Now = func() int64 { <-gate; return arrival }
	}, flightsApp)
	heard := r.hearHarm()
	const rounds = 100
	for range rounds {
		for _, reply := range harmfulReplies {
			if err := r.pub.PublishRequest("events.Flights", reply, []byte(`{"origin":"a","delay":1}`)); err != nil {
				t.Fatal(err)
			}
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
	if err := r.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	r.noHarm(heard)
	n := uint64(rounds * len(harmfulReplies))
	info := r.svc.Info()
	if info.Overload == 0 || info.Accepted+info.Overload != n || info.Unanswered != n {
		t.Errorf("%d messages: %+v", n, info)
	}
	if got := r.svc.counters.reasons[overloaded-unknownStream].Load(); got != info.Overload {
		t.Errorf("%d refusals are counted by reason, want %d", got, info.Overload)
	}
}

// If publishers flood ingest with all of this at once, its memory stays within its limits,
// and it still serves other publishers.
func TestFloodOfHarm(t *testing.T) {
	// With the race detector, more would keep all processors busy for minutes.
	floods, rounds, served := 2, 20, 5
	if testing.Short() {
		floods, rounds, served = 1, 2, 2
	}
	const (
		memory = 8 << 20
		// overhead is for decoding one message, the buffers of connections, and the server in
		// this process. Half of it was measured.
		overhead = 512 << 20
	)
	// The limit is one of the pace that the program has, not of the one of make test.
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	r := start(t, func(c *Config) { c.MemoryMax = memory }, flightsApp)
	harm := hostiles()
	runtime.GC()
	var before runtime.MemStats
	runtime.ReadMemStats(&before)

	var flood sync.WaitGroup
	var sent atomic.Int64
	large := fmt.Appendf(nil, `{"origin":"%s","delay":1}`, strings.Repeat("y", 1<<19))
	for range floods {
		nc := connect(t, r.srv)
		flood.Go(func() {
			for range rounds {
				for _, h := range harm {
					if h.code == 0 {
						continue
					}
					// In between there are valid messages, and too many of them.
					for _, m := range []*nats.Msg{{Subject: h.subject, Data: h.payload, Header: h.headers}, {Subject: "events.Flights", Data: large}} {
						if nc.PublishMsg(m) == nil {
							sent.Add(1)
						}
					}
					// Publish as fast as the server accepts it, but no faster: if the
					// connection to ingest fills up, the server closes it.
					if err := nc.Flush(); err != nil {
						t.Error(err)
						return
					}
				}
			}
		})
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		flood.Wait()
	}()
	var peak uint64
	ok := 0
	after := 0 // tries after the flood
	for flooded := true; flooded || ok < served || r.svc.Info().Unknown == 0; {
		select {
		case <-over:
			flooded = false
			after++
		default:
		}
		if after > 100 {
			t.Errorf("others are not served: %d were", ok)
			break
		}
		// As publishers do: repeat messages that have no answer.
		answer, err := r.pub.Request("events.Flights", []byte(`{"origin":"good","delay":7}`), 10*time.Second)
		if err == nil && bytes.Contains(answer.Data, []byte(`"seq"`)) {
			ok++
		}
		var now runtime.MemStats
		runtime.ReadMemStats(&now)
		peak = max(peak, now.HeapInuse)
	}
	<-over
	grown := int64(peak) - int64(before.HeapInuse)
	info := r.svc.Info()
	t.Logf("%d harmful messages, %d good ones served; heap grew by %d MiB; %+v", sent.Load(), ok, grown>>20, info)
	if grown > 2*memory+overhead {
		t.Errorf("the heap grew by %d MiB, limit %d", grown>>20, (2*memory+overhead)>>20)
	}
	if info.Refused == 0 || info.Unknown == 0 {
		t.Errorf("harm is not counted: %+v", info)
	}
}

// Messages that consist of headers need many times their bytes once the client library has
// read them. So the limit of messages in the library is far lower than the limit of waiting
// messages.
func TestHeadersThatPileUp(t *testing.T) {
	const (
		bombs     = 8
		heapBytes = 80 << 20 // without the bound it is 140 MiB
	)
	gate := make(chan struct{})
	r := start(t, func(c *Config) {
		c.MemoryMax = 4 << 20
		c.Now = func() int64 { <-gate; return arrival }
	}, flightsApp)
	bomb := &nats.Msg{Subject: "events.Flights", Data: []byte(`{"origin":"a","delay":1}`), Header: nats.Header{}}
	for i := range 180_000 {
		bomb.Header[fmt.Sprintf("%x", i)] = []string{""}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for range bombs {
		if err := r.pub.PublishMsg(bomb); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := r.svc.cfg.Conn.FlushTimeout(time.Minute); err != nil { // now the client library has all messages
		t.Fatal(err)
	}
	grown := heap() - before
	t.Logf("%d messages of %d bytes: the heap grew by %d MiB", bombs, bomb.Size(), grown>>20)
	if grown > heapBytes {
		t.Errorf("the heap grew by %d MiB, limit %d", grown>>20, heapBytes>>20)
	}
	close(gate)
	r.end()
	if info := r.svc.Info(); info.Dropped == 0 || info.Dropped+info.Refused != bombs {
		t.Errorf("not all are counted: %+v", info)
	}
}

// The limit of dead letters that wait to be stored includes their headers: a publisher can
// choose several KiB of them.
func TestDeadLettersThatPileUp(t *testing.T) {
	r := start(t, nil, flightsApp)
	d, err := newDeadLetters(r.pub, &counters{})
	if err != nil {
		t.Fatal(err)
	}
	in := newIntake(&Service{})
	bomb := nats.NewMsg("events.Flights")
	bomb.Header.Set(headerID, strings.Repeat("x", traceBytesMax))
	bomb.Header.Set(headerTimestamp, strings.Repeat("y", traceBytesMax))
	for range deadQueueMax {
		d.add(in.deadLetter(bomb, "dlq.flights.Flights", rowjson.Refused{Err: errors.New("wrong")}))
	}
	kept := 0
	for range len(d.queue) {
		m := <-d.queue
		kept += m.Size()
	}
	if kept == 0 || kept > deadBytesMax {
		t.Errorf("%d bytes wait to be stored, limit %d", kept, deadBytesMax)
	}
}
