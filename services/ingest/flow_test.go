package ingest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/control"
)

// Whether a log accepts events depends on the last report of its task, and on the events that
// were accepted since. After a silence nothing is known, and events are accepted.
func TestClosedByFlow(t *testing.T) {
	const lagMax = 10 * time.Second
	report := func(applied, end uint64, event time.Duration) control.Flow {
		return control.Flow{Applied: applied, LogEnd: end, EventTime: event, FrameEvents: 1}
	}
	for name, c := range map[string]struct {
		report  control.Flow
		wrote   map[uint64]int // events by the frames that this process has written
		silence time.Duration
		lagMax  time.Duration
		want    errCode
	}{
		"caught up":                         {report: report(90, 90, time.Second), lagMax: lagMax},
		"a little behind":                   {report: report(80, 90, time.Second), lagMax: lagMax},
		"too far behind":                    {report: report(79, 90, time.Second), lagMax: lagMax, want: lagging},
		"too far by what was written since": {report: report(80, 90, time.Second), wrote: map[uint64]int{91: 1}, lagMax: lagMax, want: lagging},
		"too far by large frames":           {report: report(80, 81, time.Second), wrote: map[uint64]int{79: 50, 80: 7, 81: 11}, lagMax: lagMax, want: lagging},
		"large frames that are applied":     {report: report(80, 81, time.Second), wrote: map[uint64]int{79: 50, 80: 7, 81: 10}, lagMax: lagMax},
		"events that cost little":           {report: report(1, 5000, time.Millisecond), lagMax: lagMax},
		"beyond what a duration holds":      {report: report(1, 1<<40, time.Hour), lagMax: lagMax, want: lagging},
		"at one frame for long":             {report: control.Flow{Applied: 80, LogEnd: 81, Busy: 11 * time.Second}, lagMax: lagMax, want: lagging},
		"results wait for long":             {report: control.Flow{Applied: 80, LogEnd: 80, Results: 11 * time.Second}, lagMax: lagMax, want: lagging},
		"an event waits for longer":         {report: report(80, 81, 1), wrote: map[uint64]int{81: 1}, lagMax: time.Nanosecond, want: lagging},
		"no bound":                          {report: report(1, 90, time.Second)},
		"over its limit":                    {report: control.Flow{Applied: 90, LogEnd: 90, Over: "state of 2 GiB, limit 1 GiB"}, want: overLimit},
		"silent for a moment":               {report: report(1, 90, time.Second), silence: control.FlowSilence - time.Second, lagMax: lagMax, want: lagging},
		"silent":                            {report: control.Flow{Applied: 1, LogEnd: 90, EventTime: time.Second, FrameEvents: 1, Over: "x"}, silence: control.FlowSilence + time.Second, lagMax: lagMax},
	} {
		t.Run(name, func(t *testing.T) {
			c.report.App, c.report.Partition = "a", 1
			other, l := &log{app: "a"}, &log{app: "a", part: 1}
			s := &Service{cfg: Config{LagMax: c.lagMax}, units: map[string]*unit{"a": {name: "a", logs: []*log{other, l}}}}
			s.hearFlow(c.report)
			for _, seq := range slices.Sorted(maps.Keys(c.wrote)) {
				l.flow.backlog.wrote(seq, c.wrote[seq])
			}
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

// A backlog has the events that were written after the newest applied frame. If it has too
// many frames, it may be too large, but never too small.
func TestBacklog(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var b backlog
		var seq, applied uint64
		var frames []written // events are the frame's own
		for range 4 {
			for range random.IntN(backlogFramesMax) {
				seq += 1 + random.Uint64N(3)
				frames = append(frames, written{seq: seq, events: 1 + random.Uint64N(9)})
				b.wrote(seq, int(frames[len(frames)-1].events))
			}
			applied += random.Uint64N(seq - applied + 1)
			want, all := uint64(0), uint64(0)
			for _, f := range frames {
				all += f.events
				if f.seq > applied {
					want += f.events
				}
			}
			got, end := b.waiting(applied)
			if end != seq || got < want || got > all || len(frames) < backlogFramesMax && got != want {
				t.Fatalf("%d events wait up to %d, want %d of %d up to %d", got, end, want, all, seq)
			}
			if len(b.frames) > backlogFramesMax {
				t.Fatalf("%d frames are kept", len(b.frames))
			}
		}
	})
}

// After a report that the task lags, ingest refuses events for its log, with or without a
// reply subject, until a later report says otherwise.
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
	report(control.Flow{Applied: 1, LogEnd: 7, EventTime: time.Second, FrameEvents: 1})
	if ack := r.ask("events.Flights", event); ack.Error == nil || ack.Error.ErrCode != lagging || ack.Error.Code != 503 {
		t.Fatalf("behind: %+v", ack)
	}
	if err := r.pub.Publish("events.Flights", []byte(event)); err != nil { // no reply subject
		t.Fatal(err)
	}
	report(control.Flow{Applied: 7, LogEnd: 7, EventTime: time.Second, FrameEvents: 1, Over: "it holds too much"})
	if ack := r.ask("events.Flights", event); ack.Error == nil || ack.Error.ErrCode != overLimit || !strings.Contains(ack.Error.Description, "it holds too much") {
		t.Fatalf("over its limit: %+v", ack)
	}
	if info := r.svc.Info(); info.Slow != 3 || info.Dropped != 1 || len(info.Closed) != 1 || info.Closed[0].Reason != OverLimit {
		t.Errorf("%d refused as slow, %d dropped, closed: %+v", info.Slow, info.Dropped, info.Closed)
	}
	report(control.Flow{Applied: 7, LogEnd: 7, EventTime: time.Second, FrameEvents: 1})
	if ack := r.ask("events.Flights", event); ack.Error != nil {
		t.Fatalf("caught up: %+v", ack)
	}
	equal(t, "log", r.logged("a", 0), []string{`Flights +0 ["a",1]`, `Flights +0 ["a",1]`})
}

// Accepted events that are not written yet count: a log that accepts no frames does not hide
// them.
func TestWhatIsNotWrittenCounts(t *testing.T) {
	r := start(t, func(c *Config) { c.LagMax = 5 * time.Second }, flightsApp)
	r.limitLog("a", 1)
	r.svc.hearFlow(control.Flow{App: "a", EventTime: time.Second, FrameEvents: 1})
	waiting := r.listen()
	for i := range 6 {
		waiting.publish(i)
	}
	for l := r.svc.unit("a").logs[0]; l.stats().PendingRows < 6; {
		if err := r.pub.FlushWithContext(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	const event = `{"origin":"a","delay":1}`
	if ack := r.ask("events.Flights", event); ack.Error == nil || ack.Error.ErrCode != lagging {
		t.Fatalf("6 events wait that cost a second each, and the limit is 5 s: %+v", ack)
	}
	r.limitLog("a", 0)
	for range 6 {
		if _, ack := waiting.next(); ack.Error != nil {
			t.Fatalf("an event that was taken: %+v", ack.Error)
		}
	}
	for l := r.svc.unit("a").logs[0]; l.stats().PendingRows > 0; { // an answer is out before its event counts as written
		if err := r.pub.FlushWithContext(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if l := r.svc.unit("a").logs[0]; l.closed(5*time.Second) == nil {
		t.Error("what was written since the task has told of itself does not count")
	}
	r.svc.hearFlow(control.Flow{App: "a", Applied: 9, LogEnd: 9, EventTime: time.Second, FrameEvents: 1})
	if ack := r.ask("events.Flights", event); ack.Error != nil {
		t.Fatalf("caught up: %+v", ack.Error)
	}
}
