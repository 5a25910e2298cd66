package processor

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// A process reads which frames the last one was applying when it died. A process that ends
// normally removes its file.
func TestNextProcessKnowsWhatTheLastWasAt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "processor", "p.work")
	w, err := openWork(path, "first")
	must(t, err)
	for p := range uint32(3) {
		must(t, w.add(control.Assigned{App: "a", Index: 7, Partition: p}))
		must(t, w.set(slot{"a", p}, 100+uint64(p)))
	}
	must(t, w.set(slot{"a", 1}, 0))
	must(t, w.remove(slot{"a", 2}))
	must(t, w.add(control.Assigned{App: "b", Index: 9}))
	must(t, w.set(slot{"b", 0}, 5))
	want := []control.AtWork{{App: "a", Index: 7, Sequence: 100}, {App: "b", Index: 9, Sequence: 5}}
	died, err := readWork(path)
	must(t, err)
	if died == nil || died.Incarnation != "first" || !slices.Equal(died.Frames, want) {
		t.Errorf("%+v, want %+v", died, want)
	}

	data, err := os.ReadFile(path)
	must(t, err)
	for at := range data { // an incomplete slot is ignored
		data[at] ^= 1
		must(t, os.WriteFile(path, data, 0o600))
		died, err := readWork(path)
		must(t, err)
		if died != nil && len(died.Frames) == 2 && (at < 2*workSlot || at/workSlot == 3) {
			t.Fatalf("byte %d is another, and everything counts: %+v", at, died)
		}
		data[at] ^= 1
	}

	must(t, w.close())
	if died, err := readWork(path); died != nil || err != nil {
		t.Errorf("%+v, %v", died, err)
	}
}

// deathsHeard is a leader that keeps what heartbeats say of deaths.
type deathsHeard struct {
	*leader
	died chan *control.Died
}

func (l *deathsHeard) Heartbeat(ctx context.Context, r control.HeartbeatRequest) (control.Heartbeat, error) {
	select {
	case l.died <- r.Died:
	default:
	}
	return l.leader.Heartbeat(ctx, r)
}

// A processor reports in its first heartbeat which frames the last process under its name was
// applying when it died, and only then runs tasks.
func TestDeathIsTold(t *testing.T) {
	r := newRig(t, sums)
	path := filepath.Join(t.TempDir(), "p.work")
	w, err := openWork(path, "first")
	must(t, err)
	must(t, w.add(control.Assigned{App: r.plan.Name}))
	must(t, w.set(slot{r.plan.Name, 0}, 3))
	must(t, w.file.Close()) // a death leaves the file

	l := &deathsHeard{newLeader(r), make(chan *control.Died, 1)}
	s, err := New(Config{Conn: r.nc, ID: "p", Version: "0.0.1", Log: quiet, Control: l, Store: memory.New(), Work: path})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	select {
	case died := <-l.died:
		if died == nil || died.Incarnation != "first" || len(died.Frames) != 1 || died.Frames[0].Sequence != 3 {
			t.Errorf("%+v", died)
		}
	case <-time.After(time.Minute):
		t.Error("no heartbeat")
	}
	r.send("S", 1000, "", "a", 1)
	r.eventually("the event is applied", func() bool { all := s.Tasks(); return len(all) == 1 && all[0].Applied > 0 })
	cancel()
	must(t, <-ended)
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("a process that ended by itself leaves its file: %v", err)
	}
}

// A suspected frame waits until no other frame is applied, and then no other one starts.
func TestSuspectIsAppliedAlone(t *testing.T) {
	r := newRig(t, sums)
	s, err := New(Config{Conn: r.nc, ID: "p", Version: "0.0.1", Log: quiet, Control: newLeader(r), Store: memory.New()})
	must(t, err)
	suspect := &task{service: s, plan: r.plan, partition: 0}
	suspect.suspect.Store(5)
	other := &task{service: s, plan: r.plan, partition: 1}
	done := s.working(other, 5)
	s.working(suspect, 4)() // another frame of that task does not wait
	if s.frames.TryLock() {
		t.Fatal("a frame is applied, and the lock is free")
	}
	done()
	done = s.working(suspect, 5)
	if s.frames.TryRLock() {
		t.Error("another frame may be applied beside a suspected one")
	}
	done()
}
