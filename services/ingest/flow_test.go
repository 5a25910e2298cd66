package ingest

import (
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// Whether a log takes events is what its task last said, and what was appended since. After
// a silence nothing is known, and events are taken.
func TestClosedByFlow(t *testing.T) {
	const lagMax = 10 * time.Second
	for name, c := range map[string]struct {
		report  control.Flow
		end     uint64 // that this process has written
		silence time.Duration
		lagMax  time.Duration
		want    errCode
	}{
		"caught up":                         {report: control.Flow{Applied: 90, LogEnd: 90, FrameTime: time.Second}, lagMax: lagMax},
		"a little behind":                   {report: control.Flow{Applied: 80, LogEnd: 90, FrameTime: time.Second}, lagMax: lagMax},
		"too far behind":                    {report: control.Flow{Applied: 79, LogEnd: 90, FrameTime: time.Second}, lagMax: lagMax, want: lagging},
		"too far by what was written since": {report: control.Flow{Applied: 80, LogEnd: 90, FrameTime: time.Second}, end: 91, lagMax: lagMax, want: lagging},
		"many frames that cost little":      {report: control.Flow{Applied: 1, LogEnd: 5000, FrameTime: time.Millisecond}, lagMax: lagMax},
		"at one frame for long":             {report: control.Flow{Applied: 80, LogEnd: 81, Busy: 11 * time.Second}, lagMax: lagMax, want: lagging},
		"no bound":                          {report: control.Flow{Applied: 1, LogEnd: 90, FrameTime: time.Second}},
		"over its limit":                    {report: control.Flow{Applied: 90, LogEnd: 90, Over: "state of 2 GiB, limit 1 GiB"}, want: overLimit},
		"silent for a moment":               {report: control.Flow{Applied: 1, LogEnd: 90, FrameTime: time.Second}, silence: control.FlowSilence - time.Second, lagMax: lagMax, want: lagging},
		"silent":                            {report: control.Flow{Applied: 1, LogEnd: 90, FrameTime: time.Second, Over: "x"}, silence: control.FlowSilence + time.Second, lagMax: lagMax},
	} {
		t.Run(name, func(t *testing.T) {
			c.report.App, c.report.Partition = "a", 1
			other, l := &log{app: "a"}, &log{app: "a", part: 1}
			s := &Service{cfg: Config{LagMax: c.lagMax}, units: map[string]*unit{"a": {name: "a", logs: []*log{other, l}}}}
			s.hearFlow(c.report)
			l.flow.end.Store(c.end)
			s.forgetFlow(time.Now().Add(c.silence))
			var got errCode
			if p := l.closed(c.lagMax); p != nil {
				if got = p.code; !strings.Contains(p.text, "app a, partition 1") || p.code.code() != 503 {
					t.Errorf("%d: %s", p.code.code(), p.text)
				}
			}
			if got != c.want {
				t.Errorf("error %d, want %d", got, c.want)
			}
			if p := other.closed(c.lagMax); p != nil {
				t.Errorf("another partition is refused: %s", p.text)
			}
		})
	}
}

// A report that the task is behind refuses events for its log, answered or not, and the next
// one takes them again.
func TestBackpressure(t *testing.T) {
	r := start(t, func(c *Config) { c.LagMax = 5 * time.Second }, flightsApp)
	report := func(f control.Flow) {
		t.Helper()
		f.App = "a"
		if err := control.PublishFlow(r.pub, control.FlowReport{Tasks: []control.Flow{f}}); err != nil {
			t.Fatal(err)
		}
		l := r.svc.unit("a").logs[0]
		for l.flow.report.Load() == nil || l.flow.report.Load().Flow != f {
			if err := r.pub.FlushWithContext(within(t)); err != nil {
				t.Fatal(err)
			}
		}
	}
	const event = `{"origin":"a","delay":1}`
	if ack := r.ask("events.Flights", event); ack.Error != nil {
		t.Fatalf("before any report: %+v", ack)
	}
	report(control.Flow{Applied: 1, LogEnd: 7, FrameTime: time.Second})
	if ack := r.ask("events.Flights", event); ack.Error == nil || ack.Error.ErrCode != lagging || ack.Error.Code != 503 {
		t.Fatalf("behind: %+v", ack)
	}
	if err := r.pub.Publish("events.Flights", []byte(event)); err != nil { // for nobody to answer
		t.Fatal(err)
	}
	report(control.Flow{Applied: 7, LogEnd: 7, FrameTime: time.Second, Over: "it holds too much"})
	if ack := r.ask("events.Flights", event); ack.Error == nil || ack.Error.ErrCode != overLimit || !strings.Contains(ack.Error.Description, "it holds too much") {
		t.Fatalf("over its limit: %+v", ack)
	}
	if info := r.svc.Info(); info.Slow != 3 || info.Dropped != 1 || len(info.Closed) != 1 {
		t.Errorf("%d refused as slow, %d dropped, closed: %q", info.Slow, info.Dropped, info.Closed)
	}
	report(control.Flow{Applied: 7, LogEnd: 7, FrameTime: time.Second})
	if ack := r.ask("events.Flights", event); ack.Error != nil {
		t.Fatalf("caught up: %+v", ack)
	}
	equal(t, "log", r.logged("a", 0), []string{`Flights +0 ["a",1]`, `Flights +0 ["a",1]`})
}
