package processor

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// owned runs a processor that applies the log of a rig to its end and makes a checkpoint there.
// It returns the configuration of another processor, its leader, and the checkpoint, which the
// leader does not know yet.
func owned(r *rig) (Config, *leader, control.CheckpointRef) {
	r.t.Helper()
	l := newLeader(r)
	l.app.Text = r.text
	cfg := Config{Conn: r.nc, ID: "p", Version: "1.0.0", Log: quiet, Control: l, Store: memory.New()}
	s, err := New(cfg)
	must(r.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	done := make(appended, 1)
	must(r.t, r.log.AppendBarrier(2_000_000, frame.Cut{Epoch: 1, Term: 1, ID: [16]byte{1}}, done))
	must(r.t, <-done)
	m := checkpoint.Manifest{
		App: l.app.Name, Plan: l.app.Plan, Generation: 1, Epoch: 1, Term: 1, Time: time.UnixMilli(2000).UTC(),
		Partitions: []checkpoint.Partition{<-l.prepared},
	}
	cancel()
	must(r.t, <-ended)
	data, err := m.Encode()
	must(r.t, err)
	ref := control.CheckpointRef{Generation: 1, Epoch: 1, Term: 1, Time: m.Time, Manifest: checkpoint.ManifestName(m.App, 1), Digest: checkpoint.SHA256(data)}
	must(r.t, cfg.Store.Put(r.within(), ref.Manifest, data))
	return cfg, l, ref
}

// commit makes a checkpoint the newest one that the leader reports.
func (l *leader) commit(ref control.CheckpointRef) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.attached.Checkpoints, l.attached.Decided = []control.CheckpointRef{ref}, ref.Epoch
}

// Between two checkpoints there may be more dead letters than a standby can keep. It does not
// wait forever: it restarts from the newer checkpoint.
func TestStandbyKeepsTooManyDeadLetters(t *testing.T) {
	defer func(most int) { keptMessagesMax = most }(keptMessagesMax)
	keptMessagesMax = 100
	r := newRig(t, lateApp)
	r.send("S", 1_000_000, "", "a", 1)
	b := event.NewBatch(r.plan.Stream("S").Schema)
	for range keptMessagesMax + 1 {
		b.Cols[0].AppendText("k")
		b.Cols[1].AppendInt(1)
		b.TS = append(b.TS, 1)
	}
	f, err := r.log.AppendFuture(&wal.Message{Batch: b, To: b.Len(), Arrived: 1})
	must(t, err)
	full, err := f.Wait(r.within())
	must(t, err)
	cfg, l, ref := owned(r)

	s, err := New(cfg)
	must(t, err)
	waits := newTask(s, app{plan: r.plan, settings: settings, number: 1, first: r.plan.Digest}, 0)
	waits.standby = newStandby()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); waits.run(ctx) }()
	defer func() { cancel(); <-ended }()
	r.eventually("it keeps too much", func() bool { return waits.status.applied.Load() == full })
	l.commit(ref)
	r.eventually("it stands by again", func() bool { return waits.status.is() == control.TaskStandby })
}

// trimming trims a log when a task takes its partition over.
type trimming struct {
	*leader
	trim func()
}

func (c *trimming) Attach(ctx context.Context, r control.AttachRequest) (control.Attached, error) {
	if c.trim != nil {
		c.trim()
		c.trim = nil
	}
	return c.leader.Attach(ctx, r)
}

// A standby that is far behind when it is promoted may find the log trimmed. Like an owner, it
// then restarts from the checkpoint that the log was trimmed for, and does not halt.
func TestPromotedBehindATrimmedLog(t *testing.T) {
	r := newRig(t, `@app:name('behind') define stream S (k string, v int); from S select v insert into Out;`)
	random := rand.New(rand.NewPCG(1, 2))
	const frames = 24 // of more bytes than are read ahead
	for i := range frames {
		text := make([]byte, 1<<20)
		for n := range text {
			text[n] = byte(' ' + 1 + random.IntN(90))
		}
		r.send("S", int64(1000+i), "", string(text), 1)
	}
	cfg, l, ref := owned(r)
	c := &trimming{leader: l}
	cfg.Control = c
	s, err := New(cfg)
	must(t, err)
	again := newTask(s, app{plan: r.plan, settings: settings, number: 1, first: r.plan.Digest}, 0)
	again.standby = newStandby()
	again.standby.promote() // before it has applied much
	c.trim = func() {
		stream, err := r.js.Stream(r.within(), natsconn.WALStream(r.plan.Name, 0))
		must(t, err)
		must(t, stream.Purge(r.within(), jetstream.WithPurgeSequence(frames+2))) // the barrier stays
		l.commit(ref)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); again.run(ctx) }()
	defer func() { cancel(); <-ended }()
	last := r.send("S", 3_000_000, "", "z", 7)
	want := fmt.Sprintf("out.behind.Out.0 %d.0 ", last)
	r.eventually("the last result is out, or the task has halted", func() bool {
		lines := r.results()
		return again.status.is() == control.TaskHalted || strings.HasPrefix(lines[len(lines)-1], want)
	})
	if again.status.is() == control.TaskHalted {
		t.Error(again.info().Error)
	}
}

// A standby that is promoted when the app has been restored in the meantime has the state of
// the former generation. It publishes nothing, and the task starts again.
func TestPromotedInAnotherGeneration(t *testing.T) {
	r := newRig(t, sums)
	r.send("S", 1000, "", "a", 1)
	l := newLeader(r)
	c := &trimming{leader: l, trim: func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.attached.Generation = 2
	}}
	s, err := New(Config{Conn: r.nc, ID: "p", Version: "1.0.0", Log: quiet, Control: c, Store: memory.New()})
	must(t, err)
	stale := newTask(s, app{plan: r.plan, settings: settings, number: 1, first: r.plan.Digest}, 0)
	stale.standby = newStandby()
	stale.standby.promote()
	stale.run(r.within())
	if state := stale.status.is(); state != control.TaskFenced || len(r.results()) > 0 {
		t.Errorf("the task is %s, and has published %q", state, r.results())
	}
}

// A tick that a task was about to append when NATS went away may be lost. When the task
// restarts, it appends another.
func TestLostTickComesAgain(t *testing.T) {
	r := newRig(t, `@app:name('ticks') define stream S (v int);
from S#window.timeBatch(1 millisec) select v insert into Out;`)
	r.send("S", 1000, "", 1)
	s, err := New(Config{Conn: r.nc, Apps: []*siddhiql.Plan{r.plan}, Settings: settings, Version: "1.0.0", Log: quiet})
	must(t, err)
	again := newTask(s, app{plan: r.plan, settings: settings, number: 1, first: r.plan.Digest}, 0)
	again.ticker.ticked = time.Now().UnixMilli() // by the run before
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { defer close(ended); again.run(ctx) }()
	defer func() { cancel(); <-ended }()
	r.eventually("the window's result is out", func() bool { return again.info().Results == 1 })
}

// A hole in the log does not end a standby: the owner is past it, so a later checkpoint covers
// it, and the standby restarts from that one. An owner halts.
func TestStandbyPassesAHole(t *testing.T) {
	r := newRig(t, sums)
	const name = "holed"
	stream, err := r.js.CreateStream(r.within(), jetstream.StreamConfig{Name: name, Subjects: []string{name}})
	must(t, err)
	for range 5 {
		_, err := r.js.Publish(r.within(), name, []byte("frame"))
		must(t, err)
	}
	must(t, stream.DeleteMsg(r.within(), 3))
	for _, x := range []struct {
		standsBy bool
		again    bool
	}{{false, false}, {true, true}} {
		reader, err := wal.OpenReader(r.within(), wal.ReaderConfig{JS: r.js, Stream: name, From: 1, Log: quiet})
		must(t, err)
		one := &replica{reader: reader, standsBy: x.standsBy}
		for err == nil {
			_, err = one.read(r.within())
		}
		reader.Close()
		var gap *wal.GapError
		if !errors.As(err, &gap) || unavailable(err) != x.again {
			t.Errorf("standby %t: %v", x.again, err)
		}
	}
}
