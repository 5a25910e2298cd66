package ingest

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

const otherApp = `@app:name('o') @source(subject='other.*') define stream Other (n int); from Other select n insert into Out;`

// A problem with one app's log does not affect other apps. The app is served again once its
// log is repaired.
func TestLogThatAnotherStreamTook(t *testing.T) {
	r := start(t, nil, flightsApp, otherApp)
	if err := r.js.DeleteStream(within(t), "EFW_a_0"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.js.CreateStream(within(t), jetstream.StreamConfig{Name: "THIEF", Subjects: []string{"ef.wal.a.0"}}); err != nil {
		t.Fatal(err)
	}
	if ack := r.ask("events.Flights", `{"origin":"a","delay":1}`); ack.Error == nil || ack.Error.ErrCode != unknownOutcome {
		t.Errorf("%+v", ack)
	}
	r.state("a", Waiting)
	if ack := r.ask("events.Flights", `{"origin":"a","delay":1}`); ack.Error == nil || ack.Error.ErrCode != appUnavailable || ack.Error.Code != 503 {
		t.Errorf("%+v", ack)
	}
	if ack := r.ask("other.x", `{"n":1}`); ack.Error != nil || ack.Stream != "EFW_o_0" {
		t.Errorf("another app: %+v", ack)
	}
	if err := r.js.DeleteStream(within(t), "THIEF"); err != nil {
		t.Fatal(err)
	}
	r.deploy(flightsApp)
	r.state("a", Serving)
	if ack := r.ask("events.Flights", `{"origin":"a","delay":2}`); ack.Error != nil || ack.Seq != 1 {
		t.Errorf("%+v", ack)
	}
}

// Only the checkpointer makes streams. An app without them waits for them. Its publishers get
// an error, and other apps are served.
func TestStreamsThatAreNotThere(t *testing.T) {
	for _, name := range []string{"EFW_a_0", "EFD_a"} {
		r := start(t, nil, flightsApp, otherApp)
		apps := []App{{Name: "a", Index: 1, Plan: plans(t, flightsApp)[0]}, {Name: "o", Index: 2, Plan: plans(t, otherApp)[0]}}
		r.end()
		if err := r.js.DeleteStream(within(t), name); err != nil {
			t.Fatal(err)
		}
		r.again(nil, apps...)
		if reason := r.state("a", Waiting); !strings.Contains(reason, name) || !strings.Contains(reason, natsconn.ErrNoStream.Error()) {
			t.Errorf("without %s: %s", name, reason)
		}
		if ack := r.ask("other.x", `{"n":1}`); ack.Error != nil {
			t.Errorf("another app: %+v", ack)
		}
		if _, err := r.js.Stream(within(t), name); !errors.Is(err, jetstream.ErrStreamNotFound) {
			t.Errorf("%s is there: %v", name, err)
		}
		r.deploy(flightsApp)
		r.state("a", Serving)
		r.end()
	}
}

// An app that was served before the service started misses no events: until it can accept the
// events of its subjects, no app gets them.
func TestAppThatStartsLateLacksNothing(t *testing.T) {
	const second = `@app:name('b') define stream Flights (origin string, delay int); from Flights select origin insert into Out;`
	r := start(t, nil, flightsApp, second)
	r.end()
	if err := r.js.DeleteStream(within(t), "EFW_b_0"); err != nil {
		t.Fatal(err)
	}
	r.again(nil, App{Name: "a", Index: 1, Plan: plans(t, flightsApp)[0]}, App{Name: "b", Index: 2, Plan: plans(t, second)[0]})
	ack := r.ask("events.Flights", `{"origin":"x","delay":1}`)
	if ack.Error == nil || ack.Error.ErrCode != appUnavailable || !strings.Contains(ack.Error.Description, "app b") {
		t.Errorf("%+v", ack)
	}
	r.deploy(second)
	r.state("b", Serving)
	if ack := r.ask("events.Flights", `{"origin":"x","delay":2}`); ack.Error != nil || ack.Seq != 1 {
		t.Errorf("%+v", ack)
	}
}

// An app that can never be served is left out, with a reason, and does not affect other apps.
func TestAppsThatAreLeftOut(t *testing.T) {
	r := start(t, nil, flightsApp)
	if _, err := r.js.CreateStream(within(t), jetstream.StreamConfig{Name: "EFW_z_0", Subjects: []string{"foreign"}}); err != nil {
		t.Fatal(err)
	}
	change := func(subject string) App {
		p := plans(t, otherApp)[0]
		p.Streams[0].Subject = subject
		p.Name = "bad"
		return App{Name: "bad", Plan: p}
	}
	noKey := plans(t, otherApp)[0]
	noKey.Partitions = 2
	foreign := plans(t, otherApp)[0]
	foreign.Name = "Größe"
	first := App{Name: "a", Index: 1, Plan: plans(t, flightsApp)[0]}
	index := uint64(7)
	for want, bad := range map[string]App{
		"answers to clients": change("_INBOX.>"), "starts with a wildcard": change("*.x"), "empty token": change("a..b"), "own results": change("out.bad.Out.0"),
		"no key": {Name: "bad", Plan: noKey}, "cannot be part of a NATS subject": {Name: "Größe", Plan: foreign},
		"does not parse": {Name: "bad", Problem: errors.New("does not parse")},
	} {
		index++
		bad.Index = index
		r.svc.Serve([]App{first, bad})
		if reason := r.state(bad.Name, LeftOut); !strings.Contains(reason, want) {
			t.Errorf("%q, want %q", reason, want)
		}
		if ack := r.ask("events.Flights", `{"origin":"x","delay":1}`); ack.Error != nil {
			t.Errorf("%s: another app: %+v", want, ack)
		}
		if checks := r.svc.Checks(); checks[2].Ask() == nil || !strings.Contains(checks[2].Ask().Error(), want) {
			t.Errorf("%s: health says %v", want, checks[2].Ask())
		}
	}
	if _, err := natsconn.EnsureDLQ(within(t), r.js, "z", natsconn.StreamLimits{}); err != nil {
		t.Fatal(err)
	}
	z := strings.Replace(otherApp, "'o'", "'z'", 1)
	r.svc.Serve([]App{first, {Name: "z", Index: 99, Plan: plans(t, z)[0]}})
	if reason := r.state("z", Waiting); !strings.Contains(reason, "exists with other settings") {
		t.Error(reason)
	}
	if ack := r.ask("events.Flights", `{"origin":"x","delay":1}`); ack.Error != nil {
		t.Errorf("another app: %+v", ack)
	}
	r.svc.Serve([]App{first})
	if err := r.svc.Checks()[2].Ask(); err != nil {
		t.Error(err)
	}
}

// Apps come and go while other apps get events. Every request is answered, no event of a
// publisher without a reply subject is lost, and each event is in the log once.
func TestAppsComeAndGo(t *testing.T) {
	const rounds = 10
	r := start(t, nil, flightsApp)
	first := App{Name: "a", Index: 1, Plan: plans(t, flightsApp)[0]}
	// Its subjects cover those of the first, overlap them, or are its own.
	texts := []string{
		`@app:name('x') @app:partitions('16') define stream Flights (origin string, delay int); partition with (origin of Flights) begin from Flights select origin insert into Out; end;`,
		`@app:name('x') @source(subject='events.*') define stream Any (origin string, delay int); from Any select origin insert into Out;`,
		`@app:name('x') @source(subject='own.>') define stream Own (origin string, delay int); from Own select origin insert into Out;`,
	}
	stop := make(chan struct{})
	silent, asked := make(chan int, 1), make(chan int, 1)
	core := connect(t, r.srv)
	go func() {
		n := 0
		defer func() { silent <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			for range 50 {
				if err := core.Publish("events.Flights", fmt.Appendf(nil, `{"origin":"s%d","delay":%d}`, n%7, 1_000_000+n)); err != nil {
					t.Error(err)
					return
				}
				n++
			}
			if err := core.Flush(); err != nil {
				t.Error(err)
				return
			}
		}
	}()
	requester := connect(t, r.srv)
	go func() {
		n := 0
		defer func() { asked <- n }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			m, err := requester.RequestWithContext(within(t), "events.Flights", fmt.Appendf(nil, `{"origin":"r","delay":%d}`, n))
			if err != nil || !strings.Contains(string(m.Data), `"seq":`) {
				t.Errorf("request %d: %v, %s", n, err, dataOf(m))
				return
			}
			n++
		}
	}()
	for i := range rounds {
		text := texts[i%len(texts)]
		app := r.deploy(text)[0]
		r.svc.Serve([]App{first, app})
		r.state("x", Serving)
		u := r.svc.unit("x")
		r.svc.Serve([]App{first})
		<-u.ended
		for _, name := range natsconn.AppStreams("x", uint32(app.Plan.Partitions)) {
			if err := r.js.DeleteStream(within(t), name); err != nil {
				t.Fatal(err)
			}
		}
	}
	close(stop)
	nSilent, nAsked := <-silent, <-asked
	if err := core.Flush(); err != nil {
		t.Fatal(err)
	}
	r.end()
	logged := r.delays()
	lost := 0
	for i := range nSilent {
		if logged[1_000_000+i] != 1 {
			lost++
		}
	}
	for i := range nAsked {
		if logged[i] != 1 {
			lost++
		}
	}
	info := r.svc.Info()
	t.Logf("%d events without and %d with an answer; %+v", nSilent, nAsked, info)
	if lost > 0 || info.Dropped > 0 || info.Unknown > 0 || nSilent == 0 || nAsked == 0 {
		t.Errorf("%d of %d and %d events are not in the log once", lost, nSilent, nAsked)
	}
}

func dataOf(m *nats.Msg) []byte {
	if m == nil {
		return nil
	}
	return m.Data
}

// A subscription ends when no app reads its subject.
func TestSubscriptionsEnd(t *testing.T) {
	r := start(t, nil, flightsApp, otherApp)
	if ack := r.ask("other.x", `{"n":1}`); ack.Error != nil {
		t.Fatalf("%+v", ack)
	}
	r.svc.Serve([]App{{Name: "a", Index: 1, Plan: plans(t, flightsApp)[0]}})
	if err := r.svc.cfg.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.pub.RequestWithContext(within(t), "other.x", []byte(`{"n":1}`)); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("%v", err)
	}
}

// There are no metrics of an app that is gone.
func TestMetricsOfAppsThatAreGone(t *testing.T) {
	r := start(t, nil, flightsApp, otherApp)
	for _, ack := range []reply{r.ask("other.x", `{"n":1}`), r.ask("events.Flights", `{"origin":"a","delay":1}`)} {
		if ack.Error != nil {
			t.Fatalf("%+v", ack)
		}
	}
	u := r.svc.unit("o")
	r.svc.Serve([]App{{Name: "a", Index: 1, Plan: plans(t, flightsApp)[0]}})
	r.end() // and so has its unit
	<-u.ended
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(r.svc.Collectors()...)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	counted := map[string]bool{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "app" && l.GetValue() == "o" {
					t.Errorf("%s has app o, which is removed", f.GetName())
				}
				if l.GetName() == "reason" {
					counted[l.GetValue()] = true
				}
			}
		}
	}
	for code := unknownStream; code <= diskFull; code++ {
		if !counted[reasons[code]] {
			t.Errorf("refusals for reason %q are not counted", reasons[code])
		}
	}
}

// A new deployment of a name, with other partitions, is another app.
func TestAnotherDeployment(t *testing.T) {
	r := start(t, nil, otherApp)
	for i := range 3 {
		for _, name := range natsconn.AppStreams("o", 1+uint32(i)) {
			if err := r.js.DeleteStream(within(t), name); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
				t.Fatal(err)
			}
		}
		app := r.deploy(fmt.Sprintf(`@app:name('o') @app:partitions('%d') @source(subject='other.*') define stream Other (n int);
			partition with (n of Other) begin from Other select n insert into Out; end;`, 2+i))[0]
		r.svc.Serve([]App{app})
		r.state("o", Serving)
		if ack := r.ask("other.x", fmt.Sprintf(`{"n":%d}`, i)); ack.Error != nil || ack.Seq != 1 {
			t.Errorf("deployment %d: %+v", i, ack)
		}
	}
}

// If a log has lost its end, nothing is appended until a task has recorded the loss: new
// frames would get the sequences of lost ones. Other apps are still served.
func TestLogThatLostItsEnd(t *testing.T) {
	r := start(t, nil, flightsApp, otherApp)
	for i := range 3 {
		if ack := r.ask("events.Flights", `{"origin":"a","delay":1}`); ack.Error != nil || ack.Seq != uint64(i+1) {
			t.Fatalf("%+v", ack)
		}
	}
	r.end()
	store := func(subject, data string, header nats.Header) {
		t.Helper()
		if _, err := r.js.PublishMsg(within(t), &nats.Msg{Subject: subject, Data: []byte(data), Header: header}); err != nil {
			t.Fatal(err)
		}
	}
	result := func(position string) {
		store(natsconn.OutSubject("a", "Out", 0), "{}", nats.Header{output.HeaderGeneration: {"1"}, output.HeaderPosition: {position}})
	}
	fence := func(data string) { store(natsconn.FenceSubject("a", 0), data, nil) }
	apps := []App{{Name: "a", Index: 1, Plan: plans(t, flightsApp)[0]}, {Name: "o", Index: 2, Plan: plans(t, otherApp)[0]}}

	fence(`{"newest":{"Out":"1:2.0"},"through":1}`)
	result("3.0")
	r.again(nil, apps...) // the log holds all that has results
	r.state("a", Serving)
	r.end()

	for _, lost := range []func(){
		func() { result("4.0") },
		func() { fence(`{"newest":{"Out":"1:4.0"},"through":3}`) },
	} {
		lost()
		r.again(nil, apps...)
		if reason := r.state("a", Waiting); !strings.Contains(reason, "EFW_a_0 ends at sequence 3") || !strings.Contains(reason, "results of 4") {
			t.Error(reason)
		}
		if ack := r.ask("events.Flights", `{"origin":"a","delay":1}`); ack.Error == nil || ack.Error.ErrCode != appUnavailable {
			t.Errorf("%+v", ack)
		}
		if ack := r.ask("other.x", `{"n":1}`); ack.Error != nil {
			t.Errorf("another app: %+v", ack)
		}
		r.end()
	}

	fence(`{"lost_tail":{"log":"EFW_a_0","end":3,"results":4}}`)
	r.again(nil, apps...)
	r.state("a", Serving)
}
