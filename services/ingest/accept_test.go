package ingest

import (
	"errors"
	"fmt"
	"hash/fnv"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

func TestWhatIsAcceptedIsInTheLog(t *testing.T) {
	r := start(t, nil, flightsApp)
	for _, c := range []struct {
		payload string
		headers []string
		want    string
	}{
		{`{"origin":"SFO","delay":5}`, nil, `Flights +0 ["SFO",5]`},
		{`[{"delay":1,"origin":"a"}, {"origin":null,"delay":null}]`, nil, `Flights +0 ["a",1] [null,null]`},
		{"{\"origin\":\"x\",\"delay\":1}\n{\"origin\":\"y\",\"delay\":2}\n", nil, `Flights +0 ["x",1] ["y",2]`},
		{`[{"origin":"a","delay":1},{"origin":"b","delay":2}]`, []string{"Ef-Chunk", "1"}, `Flights +0 chunk ["a",1] ["b",2]`},
		{`{"origin":"a","delay":1}`, []string{"Ef-Chunk", "0"}, `Flights +0 ["a",1]`},
		{`{"origin":"a","delay":1}`, []string{"Nats-Msg-Id", "id 7"}, `Flights +0 id=id 7 ["a",1]`},
		{`{"origin":"a","delay":1}`, []string{"Ef-Timestamp", "123"}, `Flights +0 ["a",1]@123`},
		{`{"origin":"a","delay":1}`, []string{"Ef-Timestamp", "-5"}, `Flights +0 ["a",1]@-5`},
		{`{"origin":"a","delay":1}`, []string{"Ef-Timestamp", "2001-01-15T08:30:00.5+01:00"}, `Flights +0 ["a",1]@979543800500`},
		{
			`{"origin":"a","delay":1}`,
			[]string{"Traceparent", "00-ab-cd-01", "tracestate", "v=1", "other", "x"},
			`Flights +0 header="traceparent: 00-ab-cd-01\r\ntracestate: v=1\r\n" ["a",1]`,
		},
	} {
		before := len(r.logged("a", 0))
		ack := r.ask("events.Flights", c.payload, c.headers...)
		if ack.Error != nil || ack.Stream != "EFW_a_0" || ack.Seq == 0 {
			t.Fatalf("%s: answer %+v", c.payload, ack)
		}
		equal(t, c.payload, r.logged("a", 0)[before:], []string{c.want})
	}
}

// A client's publish to JetStream needs no change.
func TestJetStreamPublishersAreAnswered(t *testing.T) {
	r := start(t, nil, flightsApp)
	ack, err := r.js.Publish(within(t), "events.Flights", []byte(`{"origin":"a","delay":0}`), jetstream.WithMsgID("one"))
	if err != nil || ack.Stream != "EFW_a_0" || ack.Sequence != 1 {
		t.Fatalf("%+v, %v", ack, err)
	}
	const n = 2000
	var futures []jetstream.PubAckFuture
	for i := range n {
		f, err := r.js.PublishAsync("events.Flights", fmt.Appendf(nil, `{"origin":"a","delay":%d}`, i+1))
		if err != nil {
			t.Fatal(err)
		}
		futures = append(futures, f)
	}
	for i, f := range futures {
		select {
		case ack := <-f.Ok():
			if ack.Stream != "EFW_a_0" || ack.Sequence < 2 {
				t.Fatalf("event %d: %+v", i, ack)
			}
		case err := <-f.Err():
			t.Fatal(i, err)
		case <-within(t).Done():
			t.Fatal("no answer to event", i)
		}
	}
	var want strings.Builder
	for i := range n {
		fmt.Fprintf(&want, ` ["a",%d]`, i+1)
	}
	lines := r.logged("a", 0)
	equal(t, "log", []string{lines[0], strings.ReplaceAll(strings.Join(lines[1:], ""), "Flights +0", "")},
		[]string{`Flights +0 id=one ["a",0]`, want.String()})
	if old, err := r.pub.JetStream(); err != nil {
		t.Fatal(err)
	} else if ack, err := old.Publish("events.Flights", []byte(`{"origin":"a","delay":0}`)); err != nil || ack.Stream != "EFW_a_0" {
		t.Errorf("the older client: %+v, %v", ack, err)
	}
}

func TestPublishersWithoutReplySubject(t *testing.T) {
	r := start(t, nil, flightsApp)
	if err := r.pub.Publish("events.Flights", []byte(`{"origin":"a","delay":1}`)); err != nil {
		t.Fatal(err)
	}
	if err := r.pub.Publish("events.Flights", []byte(`{"origin":"a"}`)); err != nil {
		t.Fatal(err)
	}
	if err := r.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	r.end()
	equal(t, "log", r.logged("a", 0), []string{`Flights +0 ["a",1]`})
	if info := r.svc.Info(); info.Accepted != 1 || info.Refused != 1 || info.BytesWaiting != 0 || len(r.dead("a")) != 1 {
		t.Errorf("%+v", info)
	}
}

// Each app decodes by its own definition, and the publisher is answered once, when
// both have the event.
func TestTwoAppsReadOneSubject(t *testing.T) {
	const shared = `define stream Flights (origin string, delay int); from Flights select origin insert into Out;`
	r := start(t, nil,
		`@app:name('a') `+shared,
		`@app:name('b') `+shared,
		`@app:name('c') @source(subject='events.Flights') define stream Delays (origin string, delay double); from Delays select origin insert into Out;`)
	if ack := r.ask("events.Flights", `{"origin":"x","delay":1}`); ack.Error != nil || ack.Stream != "EFW_a_0" {
		t.Fatalf("%+v", ack)
	}
	for app, want := range map[string]string{"a": `Flights +0 ["x",1]`, "b": `Flights +0 ["x",1]`, "c": `Delays +0 ["x",1]`} {
		equal(t, app, withoutIDs(r.logged(app, 0)), []string{want})
	}
	ack := r.ask("events.Flights", `[{"origin":"y","delay":1.5},{"origin":"z","delay":2}]`)
	if ack.Error != nil || ack.Stream != "EFW_a_0" || ack.RejectedCount != 1 || len(ack.Rejected) != 2 ||
		ack.Rejected[0].App != "a" || ack.Rejected[1].App != "b" || ack.Rejected[1].Index != 0 {
		t.Fatalf("%+v", ack)
	}
	r.end()
	equal(t, "a", withoutIDs(r.logged("a", 0)[1:]), []string{`Flights +0 ["z",2]`})
	equal(t, "c", withoutIDs(r.logged("c", 0)[1:]), []string{`Delays +0 ["y",1.5] ["z",2]`})
	if a, b, c := len(r.dead("a")), len(r.dead("b")), len(r.dead("c")); a != 1 || b != 1 || c != 0 {
		t.Errorf("%d, %d and %d dead letters", a, b, c)
	}
}

// If several subscriptions match a subject, one of them handles its messages.
func TestSubjectsWithWildcards(t *testing.T) {
	r := start(t, nil,
		`@app:name('a') @source(subject='orders.*.new') define stream New (n int); from New select n insert into Out;`,
		`@app:name('b') @source(subject='orders.eu.*') define stream Eu (n int); from Eu select n insert into Out;`,
		`@app:name('c') @source(subject='events.*') define stream Any (n int); from Any select n insert into Out;`)
	answers := r.pub.NewInbox()
	sub, err := r.pub.SubscribeSync(answers)
	if err != nil {
		t.Fatal(err)
	}
	for i, subject := range []string{"orders.eu.new", "orders.us.new", "orders.eu.old", "events.Whatever", "orders.us.old"} {
		if err := r.pub.PublishRequest(subject, answers, fmt.Appendf(nil, `{"n":%d}`, i)); err != nil {
			t.Fatal(err)
		}
		_, err := sub.NextMsgWithContext(within(t))
		if nobody := errors.Is(err, nats.ErrNoResponders); nobody != (subject == "orders.us.old") || err != nil && !nobody {
			t.Errorf("%s: %v", subject, err)
		}
	}
	r.end()
	equal(t, "a", withoutIDs(r.logged("a", 0)), []string{`New +0 [0]`, `New +0 [1]`})
	equal(t, "b", withoutIDs(r.logged("b", 0)), []string{`Eu +0 [0]`, `Eu +0 [2]`})
	equal(t, "c", r.logged("c", 0), []string{`Any +0 [3]`})
	if n, _, err := sub.Pending(); err != nil || n > 0 {
		t.Errorf("%d answers more, %v", n, err)
	}
}

// Rows with the same key are in one log, in order. Each part of a message keeps its chunk and
// id.
func TestRowsArePartitionedByKey(t *testing.T) {
	r := start(t, nil, `@app:name('p') @app:partitions('4') define stream S (key string, n int);
		partition with (key of S) begin from S select key, n insert into Out; end;`)
	var payload string
	for i := range 40 {
		payload += fmt.Sprintf(`{"key":"k%d","n":%d}`, i%5, i)
	}
	payload += `{"key":null,"n":40}`
	if ack := r.ask("events.S", payload, "Nats-Msg-Id", "batch", "Ef-Chunk", "1"); ack.Error != nil {
		t.Fatalf("%+v", ack)
	}
	r.end()
	var want [4]string
	for i := range 41 {
		// FNV-1a of k0 … k4, as hash/fnv has it.
		key, p := fmt.Sprintf(`"k%d"`, i%5), shardOf(fmt.Sprintf("k%d", i%5))
		if i == 40 {
			key, p = "null", 0
		}
		want[p] += fmt.Sprintf(` [%s,%d]`, key, i)
	}
	for p, rows := range want {
		var lines []string
		if rows != "" {
			lines = []string{"S +0 chunk id=batch" + rows}
		}
		equal(t, fmt.Sprint("partition ", p), r.logged("p", uint32(p)), lines)
	}
}

func shardOf(key string) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(key)) // never fails
	return h.Sum32() % 4
}
