package processor

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
)

// A frame costs what it took the task; the pace of late counts more than that of before.
func TestPace(t *testing.T) {
	var p pace
	now := time.Unix(0, 0)
	work := func(frames int, each time.Duration, bytes int) {
		for range frames {
			p.begin(now)
			now = now.Add(each)
			p.end(now, bytes)
			now = now.Add(time.Hour) // idle
		}
	}
	work(1000, time.Millisecond, 100)
	if cost, bytes, busy := p.look(now); cost != time.Millisecond || bytes != 100 || busy != 0 {
		t.Errorf("a frame costs %s, has %v bytes, busy for %s", cost, bytes, busy)
	}
	work(100, 100*time.Millisecond, 1000)
	if cost, bytes, _ := p.look(now); cost < 90*time.Millisecond || bytes < 900 {
		t.Errorf("a frame costs %s, has %v bytes; want almost 100ms, 1000", cost, bytes)
	}
	p.begin(now)
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
		return f.App == "a" && f.Partition == 0 && f.Applied >= seq && f.LogEnd >= seq && f.FrameTime > 0 && f.Over == ""
	})
	s.all()[0].status.setOver("it holds too much")
	await("it is over", func(f control.Flow) bool { return f.Over == "it holds too much" })
	s.all()[0].status.setOver("")
	await("it is not over any more", func(f control.Flow) bool { return f.Over == "" })
	// What is unchanged is repeated, for an ingest that has just begun.
	await("it says it again", func(f control.Flow) bool { return f.Applied >= seq })
}

// Nobody but a client of this package publishes there, and what is no report changes nothing.
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
