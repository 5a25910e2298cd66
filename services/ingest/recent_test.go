package ingest

import (
	"fmt"
	"testing"
)

// A repeated message is answered as JetStream does, with the sequence of the first frame that
// has it, even after a restart. Another stream may use the id for another message.
func TestAnswersToRepeatedMessages(t *testing.T) {
	const two = `@app:name('a') define stream S (n int); define stream T (n int); from S select n insert into Out; from T select n insert into Out;`
	r := start(t, now, two)
	first := r.ask("events.S", `{"n":1}`, "Nats-Msg-Id", "x")
	if first.Duplicate || first.Seq == 0 {
		t.Errorf("the first time: %+v", first)
	}
	if got := r.ask("events.T", `{"n":1}`, "Nats-Msg-Id", "x"); got.Duplicate {
		t.Errorf("another stream: %+v", got)
	}
	repeated := func(what string) {
		t.Helper()
		if got := r.ask("events.S", `{"n":1}`, "Nats-Msg-Id", "x"); !got.Duplicate || got.Seq != first.Seq {
			t.Errorf("%s: %+v, want duplicate and sequence %d", what, got, first.Seq)
		}
	}
	repeated("the second time")
	if got := r.ask("events.S", `{"n":1}`); got.Duplicate {
		t.Errorf("without an id: %+v", got)
	}
	r.end()
	r.begin(now, two)
	// The ids of former frames are read concurrently with intake.
	for ctx := within(t); r.svc.unit("a").logs[0].recent.find("S", "x", 0) == 0; {
		if err := r.pub.FlushWithContext(ctx); err != nil {
			t.Fatal(err)
		}
	}
	repeated("after a restart")
}

// If several apps read a subject, a message is a duplicate only if each has it.
func TestDuplicateOfSeveralApps(t *testing.T) {
	app := func(name string) string {
		return fmt.Sprintf(`@app:name('%s') @source(subject='x.y') define stream S (n int); from S select n insert into Out;`, name)
	}
	r := start(t, now, app("a"))
	r.ask("x.y", `{"n":1}`, "Nats-Msg-Id", "m")
	r.end()
	r.begin(now, app("a"), app("b"))
	for _, want := range []bool{false, true} {
		if got := r.ask("x.y", `{"n":1}`, "Nats-Msg-Id", "m"); got.Duplicate != want {
			t.Errorf("%+v, want duplicate: %t", got, want)
		}
	}
}

// Ids are dropped after the window, and the oldest ones first if there is no room.
func TestRecentIDsAreBounded(t *testing.T) {
	r := newRecentIDs(100, recentMax/10)
	for i := range 25 {
		r.add("S", fmt.Sprint(i), int64(i), uint64(i+1))
	}
	for i := range 25 {
		want := uint64(0)
		if i >= 15 {
			want = uint64(i + 1)
		}
		if got := r.find("S", fmt.Sprint(i), 100); got != want {
			t.Errorf("id %d: sequence %d, want %d", i, got, want)
		}
	}
	if r.add("S", "24", 30, 99); r.find("S", "24", 100) != 25 {
		t.Error("a later frame replaced the first one")
	}
	if got := r.find("S", "20", 121); got != 0 || r.size != 4 || len(r.first) != 4 {
		t.Errorf("after the window: sequence %d, %d ids", got, r.size)
	}
}
