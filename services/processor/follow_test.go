package processor

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// leader is a checkpointer with one app, which one processor runs.
type leader struct {
	app      control.App
	mu       sync.Mutex
	attached control.Attached
	nothing  bool // is assigned
	beats    int
	prepared chan checkpoint.Partition
}

func (l *leader) now() control.Attached { l.mu.Lock(); defer l.mu.Unlock(); return l.attached }

func (l *leader) Heartbeat(context.Context, control.HeartbeatRequest) (control.Heartbeat, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.beats++
	if l.nothing {
		return control.Heartbeat{}, nil
	}
	return control.Heartbeat{Assigned: []control.Assigned{{App: l.app.Name, Generation: l.attached.Generation}}}, nil
}

func (l *leader) App(context.Context, control.AppRequest) (control.App, error) { return l.app, nil }

func (l *leader) History(context.Context, control.AppRequest) (control.History, error) {
	return control.History{App: l.app.Name, Current: 1, Versions: []control.Version{{Number: 1, Plan: l.app.Plan}}}, nil
}

func (l *leader) Version(context.Context, control.VersionRequest) (control.Version, error) {
	return control.Version{Number: 1, Plan: l.app.Plan, Text: l.app.Text, Settings: l.app.Settings}, nil
}

func (l *leader) Checkpoints(context.Context, control.AppRequest) (control.CheckpointList, error) {
	list := control.CheckpointList{App: l.app.Name, Generation: l.now().Generation}
	for _, k := range l.now().Checkpoints {
		list.Checkpoints = append(list.Checkpoints, control.CheckpointInfo{State: control.CheckpointCommitted, CheckpointRef: k})
	}
	return list, nil
}

func (l *leader) Digests(context.Context, control.DigestsRequest) (control.DigestsAnswer, error) {
	return control.DigestsAnswer{}, nil
}

func (l *leader) Attach(context.Context, control.AttachRequest) (control.Attached, error) {
	return l.now(), nil
}

func (l *leader) Prepared(_ context.Context, r control.PreparedRequest) (control.Outcome, error) {
	l.prepared <- r.Partition
	return control.Outcome{Epoch: r.Epoch, Committed: true}, nil
}

func (l *leader) Failed(context.Context, control.FailedRequest) (control.Outcome, error) {
	return control.Outcome{}, nil
}

// newLeader returns a leader that runs the rig's app from the start of the log.
func newLeader(r *rig) *leader {
	return &leader{
		app:      control.App{Name: r.plan.Name, Plan: r.plan.Digest, Partitions: 1, Text: sums, Settings: settings},
		attached: control.Attached{Generation: 1, First: true, Assignment: 1}, prepared: make(chan checkpoint.Partition, 1),
	}
}

type appended chan error

func (a appended) Committed(_ uint64, err error) { a <- err }

// If a promoted standby cannot take over at once because NATS is unavailable, it drops its
// state and loads a checkpoint, like any task that starts. It publishes nothing from before
// the start of its generation.
func TestPromotedWithoutState(t *testing.T) {
	r := newRig(t, sums)
	l := newLeader(r)
	cfg := Config{Conn: r.nc, ID: "p", Version: "1.0.0", Log: quiet, Control: l, Store: memory.New()}
	s, err := New(cfg)
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r.send("S", 1000, "", "a", 1)
	done := make(appended, 1)
	must(t, r.log.AppendBarrier(1001, frame.Cut{Epoch: 1, Term: 1, ID: [16]byte{1}}, done))
	must(t, <-done)
	part := <-l.prepared
	const before = 100 // more frames than are read ahead
	start := uint64(0)
	for i := range before {
		start = r.send("S", int64(1002+i), "", "b", 2)
	}
	last := r.send("S", 2000, "", "c", 3)
	r.eventually("all results are out", func() bool { return len(r.results()) == before+2 })
	cancel()
	must(t, <-ended)

	// The app is restored to the position before the last event.
	part.Start, part.Output.Positions = &checkpoint.Start{Sequence: start}, map[string]string{}
	m := checkpoint.Manifest{
		App: l.app.Name, Plan: l.app.Plan, Generation: 2, Epoch: 2, Term: 1, Time: time.UnixMilli(2000).UTC(),
		Partitions: []checkpoint.Partition{part},
	}
	data, err := m.Encode()
	must(t, err)
	ref := control.CheckpointRef{Generation: 2, Epoch: 2, Term: 1, Time: m.Time, Manifest: checkpoint.ManifestName(m.App, 2), Digest: checkpoint.SHA256(data)}
	must(t, cfg.Store.Put(r.within(), ref.Manifest, data))
	l.mu.Lock()
	l.attached = control.Attached{Generation: 2, Assignment: 2, Decided: 2, Checkpoints: []control.CheckpointRef{ref}}
	l.mu.Unlock()
	s, err = New(cfg)
	must(t, err)
	again := newTask(s, app{plan: r.plan, settings: settings, number: 1, first: r.plan.Digest}, 0)
	again.standby = newStandby()
	again.standby.promote()
	ctx, cancel = context.WithCancel(context.Background())
	go func() { ended <- again.try(ctx) }()
	of := func() (places []string) {
		stream, err := r.js.Stream(r.within(), natsconn.OutStream(r.plan.Name, 0))
		must(t, err)
		for seq := uint64(1); seq <= stream.CachedInfo().State.LastSeq; seq++ {
			m, err := stream.GetMsg(r.within(), seq)
			must(t, err)
			if m.Header.Get(headerGeneration) == "2" {
				places = append(places, m.Header.Get(headerPosition))
			}
		}
		return places
	}
	want := []string{position{last, 0}.String()}
	r.eventually("it has given up, or the result after the start is out", func() bool {
		return len(ended) > 0 || slices.Contains(of(), want[0])
	})
	if got := of(); len(got) > 0 && !slices.Equal(got, want) {
		t.Errorf("generation 2 has results of %q, want %q or none", got, want)
	}
	cancel()
	if err := <-ended; err != nil && !errors.Is(err, errStandbyStale) && !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// stuck is a store whose Put blocks until the test releases it, even if the context ends.
type stuck struct {
	store.Store
	reached, pass chan struct{}
	once          sync.Once
}

func (s *stuck) Put(ctx context.Context, name string, data []byte) error {
	s.once.Do(func() { close(s.reached) })
	<-s.pass
	return s.Store.Put(ctx, name, data)
}

// A task that does not end because its disk is stuck does not stop the heartbeats: otherwise
// other processors would get the other tasks of this one.
func TestTaskThatDoesNotEnd(t *testing.T) {
	r := newRig(t, sums)
	l := newLeader(r)
	disk := &stuck{Store: memory.New(), reached: make(chan struct{}), pass: make(chan struct{})}
	s, err := New(Config{Conn: r.nc, ID: "p", Version: "1.0.0", Log: quiet, Control: l, Store: disk})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	r.send("S", 1000, "", "a", 1)
	done := make(appended, 1)
	must(t, r.log.AppendBarrier(1001, frame.Cut{Epoch: 1, Term: 1, ID: [16]byte{1}}, done))
	must(t, <-done)
	<-disk.reached
	l.mu.Lock()
	l.nothing, l.beats = true, 0
	l.mu.Unlock()
	r.eventually("it was heard of again and again", func() bool { l.mu.Lock(); defer l.mu.Unlock(); return l.beats > 3 })
	if len(s.Tasks()) != 1 {
		t.Error("the task has ended")
	}
	close(disk.pass)
	r.eventually("the task has ended", func() bool { return len(s.Tasks()) == 0 })
	cancel()
	must(t, <-ended)
}

// A task that is unassigned, and assigned again before it has ended, ends, and a new one
// replaces it. This happens to a processor that was frozen for longer than the heartbeat
// timeout.
func TestGivenBackBeforeItHasEnded(t *testing.T) {
	r := newRig(t, sums)
	s, err := New(Config{Conn: r.nc, ID: "p", Version: "1.0.0", Log: quiet, Control: newLeader(r), Store: memory.New()})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	as := control.Assigned{App: r.plan.Name, Generation: 1}
	at := slot{as.App, as.Partition}
	cancelled := 0
	slow := &assignedTask{task: newTask(s, app{plan: r.plan, settings: settings, number: 1, first: r.plan.Digest}, 0), as: as, cancel: func() { cancelled++ }, ended: make(chan struct{})}
	s.tasks[at] = slow
	s.reconcile(ctx, nil)
	s.reconcile(ctx, []control.Assigned{as})
	if s.tasks[at] != slow || cancelled == 0 {
		t.Fatalf("a task that has not ended was cancelled %d times, and is listed: %v", cancelled, s.tasks[at] == slow)
	}
	close(slow.ended)
	s.reconcile(ctx, []control.Assigned{as})
	next := s.tasks[at]
	if next == nil || next == slow {
		t.Error("no new task has started")
	}
	cancel()
	if next != nil {
		<-next.ended
	}
}
