package merging

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventflux/eventflux/services/merger"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// gate is a merger's store. It does one operation per token.
type gate struct {
	store.Store
	tokens chan struct{}
	open   chan struct{} // closed: no more tokens are needed
}

func newGate(s store.Store) *gate {
	return &gate{s, make(chan struct{}), make(chan struct{})}
}

func (g *gate) pass() {
	select {
	case <-g.tokens:
	case <-g.open:
	}
}

func (g *gate) Put(ctx context.Context, name string, data []byte) error {
	g.pass()
	return g.Store.Put(ctx, name, data)
}

func (g *gate) Get(ctx context.Context, name string) ([]byte, error) {
	g.pass()
	return g.Store.Get(ctx, name)
}

func (g *gate) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	g.pass()
	return g.Store.List(ctx, prefix, visit)
}

func (g *gate) Delete(ctx context.Context, name string, since time.Time) error {
	g.pass()
	return g.Store.Delete(ctx, name, since)
}

// slowMerger is a merger that advances step by step.
type slowMerger struct {
	*merger.Service
	gate *gate
	done chan error // nil: it is idle
}

// step starts the merger if it is idle, and lets it do n operations.
func (m *slowMerger) step(r *rig, n int) {
	r.t.Helper()
	if m.done == nil {
		m.done = make(chan error, 1)
		ctx, done := r.within(), m.done
		go func() { done <- m.Work(ctx) }()
	}
	for range n {
		select {
		case m.gate.tokens <- struct{}{}:
		case err := <-m.done:
			m.ended(r, err)
			return
		}
	}
}

// ended checks why the merger stopped. The other merger may have swept what it wanted to read, or
// may have merged first.
func (m *slowMerger) ended(r *rig, err error) {
	r.t.Helper()
	m.done = nil
	if err != nil && !overtaken(err) {
		r.t.Fatal(err)
	}
}

// overtaken reports whether a merger failed because its input was swept.
func overtaken(err error) bool {
	return errors.Is(err, checkpoint.ErrCorrupt) || control.Code(err) == control.CodeInvalid
}

// TestStaleSweepsAndSwaps interleaves single operations of two mergers with a task that misses
// outcomes, folds its own chains, fails and restarts. There is practically no grace, so only the
// rules of sweeps protect objects.
func TestStaleSweepsAndSwaps(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Microsecond, retain: 1})
	var mergers [2]*slowMerger
	for i := range mergers {
		g := newGate(s)
		mergers[i] = &slowMerger{Service: r.merger(g), gate: g}
	}
	some := func() {
		m := mergers[r.random.IntN(2)]
		m.step(r, []int{1, 3, 10, 50}[r.random.IntN(4)])
	}
	gone, committed := 0, 0
	for range *checkpoints / 2 {
		for range r.random.IntN(4) {
			some()
		}
		f := []fate{heard, heard, missed, failed}[r.random.IntN(4)]
		o := r.checkpoint(f, func() {
			for range r.random.IntN(4) {
				some()
			}
		})
		if o.Committed {
			committed++
		}
		if o.Whole {
			gone++
		}
		r.verify()
		if r.random.IntN(20) == 0 {
			r.attach()
		}
	}
	for _, m := range mergers {
		close(m.gate.open)
		if m.done != nil {
			m.ended(r, <-m.done)
		}
	}
	r.verify()
	r.clean(mergers[0].Service)
	r.verify()
	status := []control.MergerStatus{mergers[0].Status(), mergers[1].Status()}
	if status[0].Swaps+status[1].Swaps == 0 || status[0].SweptObjects == 0 || status[1].SweptObjects == 0 || committed == 0 {
		t.Errorf("%d commits, mergers %+v", committed, status)
	}
	t.Logf("%d commits, %d times what a task stood on was gone; %+v", committed, gone, status)
}

// TestTwoMergersAtOnce makes two mergers do the same work at the same time. They produce the same
// manifest, and the second swap finds it already in place.
func TestTwoMergersAtOnce(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: 50 * time.Millisecond, retain: 3})
	mergers := []*merger.Service{r.merger(s), r.merger(s)}
	for range *checkpoints / 4 {
		r.checkpoint(heard, nil)
		var group sync.WaitGroup
		errs := make([]error, len(mergers))
		for i, m := range mergers {
			group.Go(func() { errs[i] = m.Work(r.within()) })
		}
		group.Wait()
		for _, err := range errs {
			if err != nil && !overtaken(err) {
				t.Fatal(err)
			}
		}
		r.verify()
	}
	r.clean(mergers[0])
	r.verify()
	if a, b := mergers[0].Status(), mergers[1].Status(); a.Swaps == 0 || b.Swaps == 0 {
		t.Errorf("%+v\n%+v", a, b)
	}
}

// stopping is a store that stops before it deletes the first object of a checkpoint.
type stopping struct {
	store.Store
	stop func()
}

func (s *stopping) Delete(ctx context.Context, name string, since time.Time) error {
	if !strings.HasPrefix(name, "sweeps/") {
		s.stop()
	}
	return s.Store.Delete(ctx, name, since)
}

// A new object stays even if the checkpointer's clock is an hour ahead of the store's. If that
// clock is an hour late, everything looks young and stays as well.
func TestSweepByWrongClocks(t *testing.T) {
	for _, ahead := range []time.Duration{time.Hour, -time.Hour} {
		s := memory.New()
		r := newRig(t, options{store: s, retain: 1, now: func() time.Time { return time.Now().Add(ahead) }})
		must(t, s.Put(r.within(), "blocks/new", []byte("of a checkpoint that is under way")))
		must(t, r.merger(s).Work(r.within()))
		if _, err := s.Get(r.within(), "blocks/new"); err != nil {
			t.Errorf("ahead by %s: %v", ahead, err)
		}
	}
}

// Merges continue after the checkpointer's clock is set back to before the limit of earlier sweeps.
func TestMergeAfterClockWasSetBack(t *testing.T) {
	s := memory.New()
	var ahead atomic.Int64
	r := newRig(t, options{store: s, grace: time.Second, retain: 4, now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	m := r.merger(s)
	// The number of checkpoints until a chain is due depends on what changes.
	untilSwap := func(when string) {
		for before, n := m.Status().Swaps, 0; m.Status().Swaps == before; n++ {
			if n == 200 {
				t.Fatalf("%d checkpoints %s, and no swap", n, when)
			}
			r.checkpoint(heard, nil)
			must(t, m.Work(r.within()))
		}
	}
	untilSwap("before")
	ahead.Store(int64(-time.Hour))
	untilSwap("after the clock was set back")
}

// An object that a task puts while a sweep is about to delete it stays.
func TestSweepSparesWhatIsPutMeanwhile(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Microsecond, retain: 1})
	ctx := r.within()
	for _, name := range []string{"blocks/again", "blocks/never"} {
		must(t, s.Put(ctx, name, []byte("nothing refers to it")))
	}
	r.checkpoint(heard, nil)
	at, on := make(chan struct{}), make(chan struct{})
	m := r.merger(&stopping{s, sync.OnceFunc(func() { close(at); <-on })})
	done := make(chan error, 1)
	go func() { done <- m.Work(ctx) }()
	select {
	case <-at: // it has listed the objects, and is about to delete
	case err := <-done:
		t.Fatal("the sweep is over, and has deleted nothing", err)
	}
	if err := s.Put(ctx, "blocks/again", []byte("nothing refers to it")); !errors.Is(err, store.ErrExists) {
		t.Fatal(err)
	}
	close(on)
	must(t, <-done)
	if _, err := s.Get(ctx, "blocks/again"); err != nil {
		t.Errorf("an object that was used again is gone: %v", err)
	}
	if _, err := s.Get(ctx, "blocks/never"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("an unused object is still there: %v", err)
	}
}

// A restore may use an object that belongs to no checkpoint, such as a component that was stored
// for it. That object stays even if a sweep is about to delete it.
func TestRestoreKeepsWhatASweepIsAboutToDelete(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Microsecond, retain: 4})
	ctx := r.within()
	for len(r.task.chain) < 2 {
		r.checkpoint(heard, nil)
	}
	ref := r.live().Checkpoints[0]
	m, err := checkpoint.ReadManifest(ctx, s, ref.Manifest, ref.Digest)
	must(t, err)
	c := m.Partitions[0].Components[0]
	run, err := checkpoint.MergeRuns(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: ref.Epoch}, c.Runs)
	must(t, err)
	c.Runs = []checkpoint.Run{run}

	at, on := make(chan struct{}), make(chan struct{})
	sweeper := r.merger(&stopping{s, sync.OnceFunc(func() { close(at); <-on })})
	done := make(chan error, 1)
	go func() { done <- sweeper.Work(ctx) }()
	select {
	case <-at:
	case err := <-done:
		t.Fatal("the sweep is over, and has deleted nothing", err)
	}
	var restored control.Restored
	must(t, r.client.Do(ctx, control.VerbRestore, control.RestoreRequest{
		App: app, Epoch: ref.Epoch, Components: map[uint32][]checkpoint.Component{0: {c}},
	}, &restored))
	close(on)
	must(t, <-done)
	r.want[restored.Epoch] = r.want[ref.Epoch]
	r.verify()
	r.attach()
	r.checkpoint(heard, nil)
	r.verify()
	r.clean(sweeper)
	r.verify()
}

// The checkpoints of a lost cluster stay. The new group on its store does not know its apps, but no
// one has removed them.
func TestSweepSparesAppsThatAreNotDeployed(t *testing.T) {
	s := memory.New()
	r := newRig(t, options{store: s, grace: time.Microsecond, retain: 1})
	ctx := r.within()
	r.checkpoint(heard, nil)
	ref := r.live().Checkpoints[0]
	m, err := checkpoint.ReadManifest(ctx, s, ref.Manifest, ref.Digest)
	must(t, err)
	run, err := checkpoint.WriteRun(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: 7},
		[]state.Change{{Key: []byte("k"), Value: []byte("of another cluster")}})
	must(t, err)
	m.App, m.Epoch, m.Term = "lost", 7, 1
	m.Partitions[0].Components[0].Runs = []checkpoint.Run{run}
	data, err := m.Encode()
	must(t, err)
	name := checkpoint.ManifestName("lost", 7)
	must(t, s.Commit(ctx, store.Commit{App: "lost", Term: 1, Epoch: 7, Name: name, Manifest: data}))
	must(t, s.Put(ctx, "blocks/never", []byte("nothing refers to it")))
	merging := r.merger(s)
	must(t, merging.Work(ctx))
	if _, err := s.Get(ctx, "blocks/never"); !errors.Is(err, store.ErrNotFound) {
		t.Fatalf("nothing was swept: %v", err)
	}
	kept, err := checkpoint.ReadManifest(ctx, s, name, "")
	must(t, err)
	objects, err := checkpoint.Objects(ctx, s, &kept.Partitions[0].Components[0].Runs[0])
	must(t, err)
	for _, object := range objects {
		if _, err := s.Get(ctx, object); err != nil {
			t.Errorf("%s: %v", object, err)
		}
	}
}
