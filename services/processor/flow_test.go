package processor

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
)

// The cost of an event is the time that the task spent on it; newer measurements count more.
// The time of ticks and barriers counts for the events that wait after them.
func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	work := func(frames int, each time.Duration, events, bytes int, alone bool) {
		for range frames {
			p.begin(now, alone)
			now = now.Add(each)
			p.end(now, events, bytes, uint64(events))
			now = now.Add(time.Hour) // idle
		}
	}
	look := func() (time.Duration, float64, float64) {
		cost, late, busy := p.look(now)
		events, bytes := late.perFrame()
		if busy != 0 {
			t.Errorf("busy for %s", busy)
		}
		return cost, events, bytes
	}
	if cost, events, bytes := look(); cost != 0 || events != 0 || bytes != 0 {
		t.Errorf("at first an event costs %s, a frame has %v events and %v bytes", cost, events, bytes)
	}
	work(500, 10*time.Millisecond, 10, 100, false)
	if cost, events, bytes := look(); cost != time.Millisecond || events != 10 || bytes != 100 {
		t.Errorf("an event costs %s, a frame has %v events and %v bytes", cost, events, bytes)
	}
	work(100, time.Second, 0, 10, true)
	if cost, events, _ := look(); cost != time.Millisecond || events != 10 {
		t.Errorf("after ticks that nothing waits for: an event costs %s, a frame has %v events", cost, events)
	}
	work(500, 10*time.Millisecond, 10, 100, false)
	for range 100 {
		work(1, 10*time.Millisecond, 10, 100, false)
		work(1, 10*time.Millisecond, 0, 10, false)
	}
	if cost, events, _ := look(); cost < 1500*time.Microsecond || cost > 2500*time.Microsecond || events > 7 {
		t.Errorf("with as many barriers: an event costs %s, a frame has %v events", cost, events)
	}
	work(100, time.Second, 10, 1000, false)
	if cost, _, bytes := look(); cost < 90*time.Millisecond || bytes < 900 {
		t.Errorf("an event costs %s, a frame has %v bytes; want almost 100ms, 1000", cost, bytes)
	}
	p.emitted(1000, time.Second) // less than the task's time
	if cost, _, _ := look(); cost < 90*time.Millisecond {
		t.Errorf("an event costs %s, want almost 100ms", cost)
	}
	p.emitted(1000, 1000*time.Second)
	if cost, _, _ := look(); cost < 400*time.Millisecond {
		t.Errorf("an event costs %s, want the 500ms that its result takes", cost)
	}
	p.begin(now, false)
	if _, _, busy := p.look(now.Add(time.Second)); busy != time.Second {
		t.Errorf("busy for %s, want 1s", busy)
	}
}

// A processor says how far its task is, and that it is over a limit.
func TestFlowIsReported(t *testing.T) {
	r := newRig(t, `@app:name('a') define stream S (v long); from S select v insert into Out;`)
	reports := make(chan control.Flow, 1000)
	sub, err := control.SubscribeFlow(r.nc, func(f control.Flow) { reports <- f })
	must(t, err)
	defer func() { must(t, sub.Unsubscribe()) }()
	must(t, r.nc.Flush())
	s, _ := r.start()
	await := func(what string, is func(control.Flow) bool) {
		t.Helper()
		for ctx := r.within(); ; {
			select {
			case f := <-reports:
				if is(f) {
					return
				}
			case <-ctx.Done():
				t.Fatalf("no report that %s", what)
			}
		}
	}
	seq := r.send("S", 1, "", 7)
	await("the frame is applied", func(f control.Flow) bool {
		return f.App == "a" && f.Partition == 0 && f.Applied >= seq && f.LogEnd >= seq && f.EventTime > 0 && f.FrameEvents > 0 && f.Over == ""
	})
	s.all()[0].status.setOver("it holds too much")
	await("it is over", func(f control.Flow) bool { return f.Over == "it holds too much" })
	s.all()[0].status.setOver("")
	await("it is not over any more", func(f control.Flow) bool { return f.Over == "" })
	// Reports are repeated even without changes, for an ingest that has just started.
	await("it says it again", func(f control.Flow) bool { return f.Applied >= seq })
}

// A message that is not a report changes nothing.
func TestFlowIgnoresWhatIsNoReport(t *testing.T) {
	nc := plainServer(t)
	reports := make(chan control.Flow, 10)
	_, err := control.SubscribeFlow(nc, func(f control.Flow) { reports <- f })
	must(t, err)
	must(t, nc.PublishMsg(&nats.Msg{Subject: control.FlowSubject, Data: []byte("no report")}))
	must(t, control.PublishFlow(nc, control.FlowReport{Tasks: make([]control.Flow, 3)}))
	for range 3 {
		<-reports
	}
}
