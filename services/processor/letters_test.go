package processor

import (
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

const lateApp = `@app:name('late') @app:playback(lateness='5 sec') define stream S (k string, v int);
from S select k, v insert into Out;`

// TestLateEventsAreDeadLetters sends events that come too late: each is a dead letter with
// an id that is the same after a replay, and the others are applied in order.
func TestLateEventsAreDeadLetters(t *testing.T) {
	r := newRig(t, lateApp)
	for i, at := range []int64{100_000, 97_000, 94_999, 101_000, 20_000, 200_000} {
		r.send("S", at, "", "a", i)
	}
	wantLate := []string{
		`dlq.late.S late.0:1:4.1 94999 "late: the event's time 94999 is before the app's clock 95000" {"k":"a","v":2}`,
		`dlq.late.S late.0:1:6.1 20000 "late: the event's time 20000 is before the app's clock 96000" {"k":"a","v":4}`,
	}
	wantResults := []string{
		`out.late.Out.0 7.0 current 97000 {"k":"a","v":1}`,
		`out.late.Out.0 7.1 current 100000 {"k":"a","v":0}`,
		`out.late.Out.0 7.2 current 101000 {"k":"a","v":3}`,
	}
	for range 2 { // the second time from the beginning of the log again
		info := r.drained()
		if info.Late != 2 || info.DeadLetters != 2 || info.Waiting != 1 || info.OutOfOrder != 0 {
			t.Errorf("late %d, dead letters %d, waiting %d, out of order %d", info.Late, info.DeadLetters, info.Waiting, info.OutOfOrder)
		}
		// JetStream drops a repeated one only while it remembers the id.
		got := slices.Sorted(slices.Values(r.deadLetters()))
		if got = slices.Compact(got); !slices.Equal(got, wantLate) {
			t.Errorf("dead letters %q, want %q", got, wantLate)
		}
		if got := r.results(); !slices.Equal(got, wantResults) {
			t.Errorf("results %q, want %q", got, wantResults)
		}
	}
}

// TestDeadLettersWaitForTheirStream has no stream for dead letters at first: none is lost.
func TestDeadLettersWaitForTheirStream(t *testing.T) {
	r := newRig(t, lateApp)
	must(t, r.js.DeleteStream(r.within(), natsconn.DLQStream("late")))
	r.send("S", 100_000, "", "a", 1)
	r.send("S", 10_000, "", "a", 2)
	s, stop := r.start()
	defer stop()
	r.eventually("the late event is applied", func() bool { return r.info(s).DeadLetters == 1 })
	r.ensure()
	r.eventually("the dead letter is stored", func() bool { return len(r.deadLetters()) == 1 })
}

// deadLetters returns the dead letters as lines: "subject id ts reason payload".
func (r *rig) deadLetters() (lines []string) {
	r.t.Helper()
	stream, err := r.js.Stream(r.within(), natsconn.DLQStream(r.plan.Name))
	must(r.t, err)
	info, err := stream.Info(r.within())
	must(r.t, err)
	for seq := info.State.FirstSeq; info.State.Msgs > 0 && seq <= info.State.LastSeq; seq++ {
		m, err := stream.GetMsg(r.within(), seq)
		must(r.t, err)
		lines = append(lines, fmt.Sprintf("%s %s %s %q %s", m.Subject, m.Header.Get(jetstream.MsgIDHeader),
			m.Header.Get(headerTimestamp), m.Header.Get(headerReason), m.Data))
	}
	return lines
}

// TestIdleTimeMovesTheClock lets no event come: after idle.time the clock moves on, event
// or no event that waits, and never before the first event.
func TestIdleTimeMovesTheClock(t *testing.T) {
	for name, lateness := range map[string]string{"lateness": "lateness='5 sec', ", "no lateness": ""} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, `@app:name('idle') @app:playback(`+lateness+`idle.time='20 millisec', increment='3 sec') define stream S (k string, v int);
from S#window.time(10 sec) select v insert all events into Out;`)
			s, stop := r.start()
			defer stop()
			r.eventually("the task runs", func() bool { return r.info(s).State == control.TaskRunning })
			before := r.info(s).LogEnd
			r.send("S", 100_000, "", "a", 1)
			r.eventually("the event came and went", func() bool { return len(r.results()) == 2 })
			want := []string{`out.idle.Out.0 current 100000`, `out.idle.Out.0 expired 110000`}
			for i, line := range r.results() {
				f := strings.Fields(line)
				if got := strings.Join([]string{f[0], f[2], f[3]}, " "); got != want[i] {
					t.Errorf("result %d: %s, want %s", i, got, want[i])
				}
			}
			if seq := r.first(); seq != before+1 {
				t.Errorf("the first event is frame %d, behind %d: the clock moved before it", seq, before)
			}
		})
	}
}

// first returns the sequence of the first frame with events.
func (r *rig) first() uint64 {
	r.t.Helper()
	stream, err := r.js.Stream(r.within(), natsconn.WALStream(r.plan.Name, 0))
	must(r.t, err)
	for seq := uint64(1); ; seq++ {
		m, err := stream.GetMsg(r.within(), seq)
		must(r.t, err)
		f, err := new(frame.Decoder).Decode(m.Data)
		must(r.t, err)
		if f.Kind == frame.Events {
			return seq
		}
	}
}

// While NATS is away, a task appends one idle tick, and not one after each idle.time.
func TestIdleTicksDoNotPileUp(t *testing.T) {
	r := newRig(t, `@app:name('idle') @app:playback(idle.time='1 millisec', increment='3 sec') define stream S (k string);
		from S select k insert into Out;`)
	core, err := engine.NewTask(r.plan, 0, settings)
	must(t, err)
	core.Advance(100)
	away, err := wal.NewWriter(wal.WriterConfig{Conn: r.nc, App: "idle", Log: quiet}) // it does not run
	must(t, err)
	one, of := &ticker{writer: away}, &program{live: r.plan, core: core}
	tick := func() int {
		_, err := one.idle(of)
		must(t, err)
		return away.Stats().Pending
	}
	r.eventually("a tick waits", func() bool { return tick() > 0 })
	pending := tick()
	for range 20 {
		<-time.After(time.Millisecond)
		if now := tick(); now != pending {
			t.Fatalf("%d bytes wait, want those of one tick, %d", now, pending)
		}
	}
	core.Advance(3100) // the tick was applied
	r.eventually("the next tick waits", func() bool { return tick() > pending })
}
