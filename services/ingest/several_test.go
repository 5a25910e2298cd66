package ingest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

const (
	flightsToo = `@app:name('b') define stream Flights (origin string, delay int); from Flights select origin insert into Out;`
	// narrowApp refuses the events that flightsApp accepts.
	narrowApp = `@app:name('b') @source(@map(type='json', strict='true')) define stream Flights (origin string); from Flights select origin insert into Out;`
)

// counted returns how many events the task of an app applies for its log.
func (r *rig) counted(text string) (events int) {
	r.t.Helper()
	plan := plans(r.t, text)[0]
	settings := engine.Settings{DedupWindow: 120_000}
	task, err := engine.NewTask(plan, 0, settings)
	if err != nil {
		r.t.Fatal(err)
	}
	var dec frame.Decoder
	apply := func(seq uint64, data []byte) {
		f, err := dec.Decode(data)
		if err != nil {
			r.t.Fatal(err)
		}
		done, err := task.Apply(seq, f)
		if err != nil {
			r.t.Fatal(err)
		}
		events += done.Events
		task.ResetOutputs()
	}
	deployed := wal.Deployment{App: plan.Name, Stamp: 1, Version: frame.Version{Number: 1, Level: engine.Level, Build: "1.0.0", Settings: settings.JSON(), Text: text}}
	data, err := deployed.Frame(0)
	if err != nil {
		r.t.Fatal(err)
	}
	apply(0, data) // the logs of these tests lack it
	r.messages(natsconn.WALStream(plan.Name, 0), func(m *jetstream.RawStreamMsg) { apply(m.Sequence, m.Data) })
	return events
}

// withoutIDs removes the ids that ingest gives to messages for several apps.
func withoutIDs(lines []string) []string {
	for i, line := range lines {
		if before, after, ok := strings.Cut(line, " id="); ok {
			_, rest, _ := strings.Cut(after, " ")
			lines[i] = before + " " + rest
		}
	}
	return lines
}

// If only one app refuses an event, because its definition is narrower, the publisher gets an
// acknowledgment that says so. It gets an error only for events that no app accepted.
func TestOneAppRefuses(t *testing.T) {
	r := start(t, nil, flightsApp, narrowApp)
	ack := r.ask("events.Flights", `{"origin":"x","delay":1}`)
	if ack.Error != nil || ack.Stream != "EFW_a_0" || ack.Seq != 1 || ack.RejectedCount != 1 || len(ack.Rejected) != 1 {
		t.Fatalf("%+v", ack)
	}
	if one := ack.Rejected[0]; one.App != "b" || one.Code != 400 || one.Index != 0 || !strings.Contains(one.Text, "delay") || one.Reason != "" {
		t.Errorf("%+v", one)
	}
	if acked, err := r.js.Publish(within(t), "events.Flights", []byte(`{"origin":"y","delay":2}`)); err != nil || acked.Stream != "EFW_a_0" {
		t.Errorf("a client of JetStream: %+v, %v", acked, err)
	}
	// Each event of a batch is in another app.
	ack = r.ask("events.Flights", `[{"origin":"only b"},{"origin":"only a","delay":3}]`)
	if ack.Error != nil || ack.Stream == "" || ack.RejectedCount != 2 || len(ack.Rejected) != 2 {
		t.Errorf("%+v", ack)
	}
	ack = r.ask("events.Flights", `[{"origin":"only b"},{"nobody":"takes it"}]`)
	if ack.Error == nil || ack.Error.ErrCode != eventsRefused || ack.Stream != "EFW_b_0" || ack.Accepted != 0 || ack.RejectedCount != 2 {
		t.Errorf("%+v", ack)
	}
	ack = r.ask("events.Flights", `{"nobody":"takes it"}`)
	if ack.Error == nil || ack.Error.ErrCode != eventsRefused || ack.Seq != 0 || len(ack.Rejected) != 2 || ack.RejectedCount != 1 {
		t.Errorf("%+v", ack)
	}
	r.end()
	if a, b := r.counted(flightsApp), r.counted(narrowApp); a != 3 || b != 2 {
		t.Errorf("%d events in app a, %d in app b", a, b)
	}
	if a, b := len(r.dead("a")), len(r.dead("b")); a != 4 || b != 5 {
		t.Errorf("%d and %d dead letters", a, b)
	}
}

// Only one app refuses a message that is too large for its log.
func TestTooLargeForOneApp(t *testing.T) {
	const spreadApp = `@app:name('a') @app:partitions('4') define stream S (n long); partition with (n of S) begin from S select n insert into Out; end;`
	const wholeApp = `@app:name('b') define stream S (n long); from S select n insert into Out;`
	r := start(t, func(c *Config) { c.EventBytesMax = 5 << 20 }, spreadApp, wholeApp)
	var payload strings.Builder
	const rows = 300_000
	for i := range rows {
		fmt.Fprintf(&payload, `{"n":%d}`, i)
	}
	ack := r.ask("events.S", payload.String(), "Nats-Msg-Id", "large")
	if ack.Error != nil || !strings.HasPrefix(ack.Stream, "EFW_a_") || ack.RejectedCount != rows || len(ack.Rejected) != rejectedMax {
		t.Fatalf("%+v", ack)
	}
	if one := ack.Rejected[0]; one.App != "b" || one.Code != 413 || !strings.Contains(one.Text, "split the message") {
		t.Errorf("%+v", one)
	}
	ack = r.ask("events.S", payload.String(), "Nats-Msg-Id", "chunk", "Ef-Chunk", "1")
	if ack.Error != nil || ack.RejectedCount != rows {
		t.Errorf("%+v", ack.Error)
	}
	if ack = r.ask("events.S", payload.String()); ack.Error != nil || ack.RejectedCount != 0 {
		t.Errorf("without an id: %+v %+v", ack.Error, ack)
	}
	if info := r.svc.Info(); info.Accepted != 4*rows || info.Refused != 2*rows {
		t.Errorf("%d accepted, %d refused", info.Accepted, info.Refused)
	}
	r.end()
	if n := r.counted(wholeApp); n != rows {
		t.Errorf("%d events in app b", n)
	}
	if a, b := len(r.dead("a")), len(r.dead("b")); a != 0 || b != 2 {
		t.Errorf("%d and %d dead letters", a, b)
	}
}

// An event that no app accepted is not acknowledged, even if one of the apps stopped reading
// the message after too many wrong events.
func TestEventAfterTooManyWrongOnes(t *testing.T) {
	r := start(t, nil, `@app:name('a') define stream S (n bool); from S select n insert into Out;`,
		`@app:name('b') define stream S (n long); from S select n insert into Out;`)
	longs := strings.Repeat(`{"n":1}`, 12_000)
	if ack := r.ask("events.S", longs); ack.Error != nil || ack.RejectedCount != 12_000 {
		t.Errorf("%+v, %d rejected", ack.Error, ack.RejectedCount)
	}
	if ack := r.ask("events.S", longs+`{"n":true}`); ack.Error == nil || ack.Error.ErrCode != eventsRefused {
		t.Errorf("%+v", ack.Error)
	}
}

// While one app cannot accept the message, no app gets it, and the answer says so.
func TestOneAppCannotNow(t *testing.T) {
	r := start(t, func(c *Config) { c.LagMax = 5 * time.Second }, flightsApp, flightsToo)
	const event = `{"origin":"x","delay":1}`
	refused := func(what string, code errCode) {
		t.Helper()
		ack := r.ask("events.Flights", event)
		if ack.Error == nil || ack.Error.ErrCode != code || ack.Error.Code != 503 || ack.Apps == nil || len(ack.Apps) > 0 || ack.ID != "" ||
			!strings.Contains(ack.Error.Description, "app b") {
			t.Fatalf("%s: %+v %+v", what, ack, ack.Error)
		}
	}
	report := func(f control.Flow) {
		f.App = "b"
		r.svc.hearFlow(f)
	}
	report(control.Flow{Applied: 1, LogEnd: 7, EventTime: time.Second, FrameEvents: 1})
	refused("lagging", lagging)
	report(control.Flow{Applied: 7, LogEnd: 7, Over: "it holds too much"})
	refused("over its limit", overLimit)
	report(control.Flow{Applied: 7, LogEnd: 7})
	r.svc.unit("b").refuse(errors.New("its log is repaired"))
	refused("unavailable", appUnavailable)
	r.svc.unit("b").refuse(errors.New(""))
	if a, b := r.logged("a", 0), r.logged("b", 0); len(a)+len(b) > 0 {
		t.Fatalf("in the logs: %q, %q", a, b)
	}

	r.limitLog("b", 1)
	first := r.listen()
	first.publish(1) // waits until the log takes it
	for l := r.svc.unit("b").logs[0]; l.health() == nil; {
		if err := r.pub.FlushWithContext(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	refused("its log is full", appUnavailable)
	r.limitLog("b", 0)
	if _, ack := first.next(); ack.Error != nil {
		t.Fatalf("%+v", ack.Error)
	}
	r.end()
	if a, b := r.counted(flightsApp), r.counted(flightsToo); a != 1 || b != 1 {
		t.Errorf("%d events in app a, %d in app b", a, b)
	}
}

// If only some of the logs accept a message, the answer names their apps and an id. A
// repetition with this id counts once in each app.
func TestRepeatAfterAPartialResult(t *testing.T) {
	for name, headers := range map[string][]string{"no id": nil, "own id": {"Nats-Msg-Id", "own"}} {
		t.Run(name, func(t *testing.T) {
			r := start(t, nil, flightsApp, flightsToo)
			const event = `{"origin":"x","delay":1}`
			if err := r.js.DeleteStream(within(t), "EFW_b_0"); err != nil {
				t.Fatal(err)
			}
			if _, err := r.js.CreateStream(within(t), jetstream.StreamConfig{Name: "THIEF", Subjects: []string{"ef.wal.b.0"}}); err != nil {
				t.Fatal(err)
			}
			ack := r.ask("events.Flights", event, headers...)
			if ack.Error == nil || ack.Error.Code != 503 || ack.Error.ErrCode != unknownOutcome || !slices.Equal(ack.Apps, []string{"a"}) || ack.ID == "" {
				t.Fatalf("%+v %+v", ack, ack.Error)
			}
			if headers != nil && ack.ID != headers[1] {
				t.Errorf("id %q, want %q", ack.ID, headers[1])
			}
			r.state("b", Waiting)
			if err := r.js.DeleteStream(within(t), "THIEF"); err != nil {
				t.Fatal(err)
			}
			r.deploy(flightsToo)
			r.state("b", Serving)
			if again := r.ask("events.Flights", event, "Nats-Msg-Id", ack.ID); again.Error != nil {
				t.Fatalf("%+v", again.Error)
			}
			r.end()
			if a, b := r.counted(flightsApp), r.counted(flightsToo); a != 1 || b != 1 {
				t.Errorf("%d events in app a, %d in app b", a, b)
			}
			if n := len(r.logged("a", 0)); n != 2 {
				t.Errorf("app a has the message %d times in its log: the test tests nothing", n)
			}
		})
	}
}

// No two messages get the same id, even from different processes. A message for one app gets
// none.
func TestIDsOfMessages(t *testing.T) {
	r := start(t, nil, flightsApp, flightsToo, `@app:name('c') define stream Alone (n int); from Alone select n insert into Out;`)
	for range 3 {
		r.ask("events.Flights", `{"origin":"x","delay":1}`)
	}
	if err := r.pub.Publish("events.Flights", []byte(`{"origin":"x","delay":1}`)); err != nil {
		t.Fatal(err)
	}
	r.ask("events.Alone", `{"n":1}`)
	r.end()
	lines := r.logged("a", 0)
	equal(t, "c", r.logged("c", 0), []string{`Alone +0 [1]`})
	equal(t, "b", r.logged("b", 0), lines)
	if len(lines) != 4 || lines[3] != `Flights +0 ["x",1]` {
		t.Fatalf("%q", lines)
	}
	slices.Sort(lines)
	if n := len(slices.Compact(lines)); n != 4 {
		t.Errorf("%d different messages", n)
	}
	if a, b := newIntake(r.svc), newIntake(r.svc); a.nextID() == b.nextID() {
		t.Error("two processes give the same ids")
	}
}

// A message that is too large for one frame goes into several frames, without an id.
func TestLargeMessageForSeveralApps(t *testing.T) {
	r := start(t, func(c *Config) { c.EventBytesMax = 5 << 20 }, flightsApp, flightsToo)
	const rows = 170_000
	if ack := r.ask("events.Flights", strings.Repeat(`{"origin":"x","delay":1}`, rows)); ack.Error != nil {
		t.Fatalf("%+v", ack.Error)
	}
	r.end()
	if a, b := r.counted(flightsApp), r.counted(flightsToo); a != rows || b != rows {
		t.Errorf("%d events in app a, %d in app b", a, b)
	}
}
