package ingest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// answers collects the answers to numbered messages.
type answers struct {
	r     *rig
	inbox string
	sub   *nats.Subscription
}

func (r *rig) listen() *answers {
	r.t.Helper()
	a := &answers{r: r, inbox: r.pub.NewInbox() + "."}
	var err error
	if a.sub, err = r.pub.SubscribeSync(a.inbox + "*"); err != nil {
		r.t.Fatal(err)
	}
	return a
}

// publish sends event i, whose delay is i.
func (a *answers) publish(i int) {
	a.r.t.Helper()
	payload := fmt.Appendf(nil, `{"origin":"%032d","delay":%d}`, i, i)
	if err := a.r.pub.PublishRequest("events.Flights", fmt.Sprint(a.inbox, i), payload); err != nil {
		a.r.t.Fatal(err)
	}
}

// next returns the next answer and the number of its message.
func (a *answers) next() (int, reply) {
	a.r.t.Helper()
	m, err := a.sub.NextMsgWithContext(within(a.r.t))
	if err != nil {
		a.r.t.Fatal(err)
	}
	var i int
	if _, err := fmt.Sscan(strings.TrimPrefix(m.Subject, a.inbox), &i); err != nil {
		a.r.t.Fatal(err)
	}
	var out reply
	if err := json.Unmarshal(m.Data, &out); err != nil {
		a.r.t.Fatal(err)
	}
	return i, out
}

// delays counts the events in the log by their delay.
func (r *rig) delays() map[int]int {
	r.t.Helper()
	count := map[int]int{}
	r.frames("a", 0, func(f *frame.Frame) {
		for _, b := range f.Blocks {
			for _, v := range b.Batch.Cols[1].Ints {
				count[int(v)]++
			}
		}
	})
	return count
}

// limitLog sets the maximum size of an app's log; 0 for no limit.
func (r *rig) limitLog(app string, bytes int64) {
	r.t.Helper()
	if _, err := natsconn.EnsureWAL(within(r.t), r.js, app, 0, natsconn.StreamLimits{BytesMax: bytes}); err != nil {
		r.t.Fatal(err)
	}
}

// Beyond the bound, publishers get the reason. As soon as the log accepts frames again, exactly
// the events that were not refused are written.
func TestFullLog(t *testing.T) {
	r := start(t, func(c *Config) { c.MemoryMax = 256 << 10 }, flightsApp)
	r.limitLog("a", 16<<10)
	a := r.listen()
	acked := map[int]bool{}
	published, answered := 0, 0
	take := func() (full bool) {
		i, ack := a.next()
		answered++
		switch {
		case ack.Error == nil:
			acked[i] = true
		case ack.Error.ErrCode != overloaded || ack.Error.Code != 503:
			t.Fatalf("event %d: %+v", i, ack.Error)
		case !strings.Contains(ack.Error.Description, "ingest.memory_max") || !strings.Contains(ack.Error.Description, "maximum bytes exceeded"):
			return false // the log has not reported it yet
		default:
			return true
		}
		return false
	}
	for full := false; !full; {
		for range 100 {
			a.publish(published)
			published++
		}
		if err := r.pub.Flush(); err != nil {
			t.Fatal(err)
		}
		for n, _, _ := a.sub.Pending(); n > 0 && !full; n-- {
			full = take()
		}
	}
	if err := r.pub.Publish("events.Flights", []byte(`{"origin":"silent","delay":-1}`)); err != nil {
		t.Fatal(err)
	}
	r.ask("events.Nobody", "") // after its answer, the message without a reply subject is handled
	if n := r.svc.Info().BytesWaiting; n > 256<<10 {
		t.Errorf("%d bytes wait", n)
	}
	r.limitLog("a", 0)
	for answered < published {
		take()
	}
	if ack := r.ask("events.Flights", `{"origin":"later","delay":-2}`); ack.Error != nil {
		t.Errorf("after recovery: %+v", ack.Error)
	}
	r.end()
	logged := r.delays()
	for i := range published {
		if want := acked[i]; (logged[i] == 1) != want || logged[i] > 1 {
			t.Errorf("event %d is in the log %d times, acknowledged: %v", i, logged[i], want)
		}
	}
	if info := r.svc.Info(); logged[-1] != 0 || info.Dropped != 1 || logged[-2] != 1 || info.BytesWaiting != 0 {
		t.Errorf("silent event logged %d times, %+v", logged[-1], info)
	}
	if len(acked) == 0 || len(acked) == published {
		t.Errorf("%d of %d acknowledged: the test tests nothing", len(acked), published)
	}
}

// A message larger than the bound is accepted if nothing else waits: otherwise it never would
// be.
func TestMessageLargerThanTheBound(t *testing.T) {
	r := start(t, func(c *Config) { c.MemoryMax = 10 }, flightsApp)
	if ack := r.ask("events.Flights", `{"origin":"a","delay":1}`); ack.Error != nil {
		t.Errorf("%+v", ack.Error)
	}
}

// Messages that were delivered before the stop are durable and answered.
func TestStopDrains(t *testing.T) {
	r := start(t, nil, flightsApp)
	a := r.listen()
	const n = 5000
	for i := range n {
		a.publish(i)
	}
	if err := r.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	r.end()
	for range n {
		if i, ack := a.next(); ack.Error != nil {
			t.Fatalf("event %d: %+v", i, ack.Error)
		}
	}
	logged := r.delays()
	for i := range n {
		if logged[i] != 1 {
			t.Fatalf("event %d is in the log %d times", i, logged[i])
		}
	}
	if err := r.pub.PublishRequest("events.Flights", a.inbox+"0", nil); err != nil {
		t.Fatal(err)
	}
	if _, err := a.sub.NextMsgWithContext(within(t)); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("after the stop: %v", err)
	}
}

// A stop does not wait forever. If events may not be durable, their publishers get an error.
func TestStopWhileTheLogIsFull(t *testing.T) {
	r := start(t, func(c *Config) { c.StopTimeout = 300 * time.Millisecond }, flightsApp)
	r.limitLog("a", 4<<10)
	a := r.listen()
	const n = 2000
	for i := range n {
		a.publish(i)
	}
	if err := r.pub.Flush(); err != nil {
		t.Fatal(err)
	}
	r.end()
	acked, failed := map[int]bool{}, 0
	for range n {
		i, ack := a.next()
		switch {
		case ack.Error == nil:
			acked[i] = true
		case ack.Error.ErrCode != unknownOutcome || !strings.Contains(ack.Error.Description, "same Nats-Msg-Id"):
			t.Fatalf("event %d: %+v", i, ack.Error)
		default:
			failed++
		}
	}
	logged := r.delays()
	for i := range n {
		if acked[i] && logged[i] != 1 {
			t.Errorf("event %d is acknowledged and %d times in the log", i, logged[i])
		}
	}
	if info := r.svc.Info(); failed == 0 || info.Failed != uint64(failed) || info.BytesWaiting != 0 {
		t.Errorf("%d told of failure, %+v", failed, info)
	}
}

// After a restart of the server, ingest continues by itself.
func TestServerRestart(t *testing.T) {
	r := start(t, nil, flightsApp)
	if ack := r.ask("events.Flights", `{"origin":"a","delay":1}`); ack.Error != nil {
		t.Fatalf("%+v", ack)
	}
	r.restart()
	for {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		m, err := r.pub.RequestWithContext(ctx, "events.Flights", []byte(`{"origin":"a","delay":2}`))
		cancel()
		if err == nil {
			if !strings.HasPrefix(string(m.Data), `{"stream":"EFW_a_0","seq":`) {
				t.Errorf("answer %s", m.Data)
			}
			break
		}
		if within(t).Err() != nil {
			t.Fatal(err)
		}
	}
	r.end()
	if logged := r.delays(); logged[1] != 1 || logged[2] == 0 {
		t.Errorf("%v", logged)
	}
}

// A publisher is answered when the last of the logs has its event, not before.
func TestAnswerWaitsForEveryApp(t *testing.T) {
	const second = `@app:name('b') define stream Flights (origin string, delay int); from Flights select origin insert into Out;`
	r := start(t, nil, strings.Replace(flightsApp, "from Flights", "define stream Alone (n int); from Flights", 1), second)
	r.limitLog("b", 1)
	a := r.listen()
	a.publish(1)
	// Once this message is answered, the previous one is durable in the log of app a.
	if ack := r.ask("events.Alone", `{"n":1}`); ack.Error != nil {
		t.Fatalf("%+v", ack)
	}
	if n, _, err := a.sub.Pending(); err != nil || n > 0 {
		t.Errorf("%d answers before app b has the event, %v", n, err)
	}
	r.limitLog("b", 0)
	if _, ack := a.next(); ack.Error != nil || ack.Stream != "EFW_a_0" || ack.Seq != 1 {
		t.Errorf("%+v", ack)
	}
	if n := len(r.logged("b", 0)); n != 1 {
		t.Errorf("%d runs in the log of app b", n)
	}
}
