package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// origin makes checkpoints of an app with one component.
type origin struct {
	t       *testing.T
	store   store.Store
	entries map[string]string
	runs    []Run
	epoch   state.Epoch
}

// manifest returns the manifest of the newest checkpoint with these runs.
func (l *origin) manifest(runs []Run) *Manifest {
	var entries []state.Entry
	for _, key := range slices.Sorted(maps.Keys(l.entries)) {
		entries = append(entries, state.Entry{Key: []byte(key), Value: []byte(l.entries[key])})
	}
	return &Manifest{App: "A", Generation: 1, Epoch: l.epoch, Term: 1, Partitions: []Partition{{
		Log:        Lineage{Stream: "EFW_A_0", Sequence: uint64(l.epoch), ID: ID{1}},
		Components: []Component{{ID: "c", Type: "t", Version: "1.0.0", Digest: state.DigestOf(entries), Runs: runs}},
	}}}
}

func (l *origin) commit(m *Manifest, swap bool) (name string) {
	l.t.Helper()
	data, err := m.Encode()
	if err != nil {
		l.t.Fatal(err)
	}
	c := store.Commit{App: "A", Term: 1, Epoch: uint64(m.Epoch), Name: ManifestName("A", m.Epoch), Manifest: data}
	if swap {
		c.Replaces, c.Name = c.Name, SwappedName("A", m.Epoch, SHA256(data))
	}
	if err := l.store.Commit(ctx, c); err != nil {
		l.t.Fatal(err)
	}
	return c.Name
}

// checkpoint changes the state and makes a checkpoint; each third one is a base.
func (l *origin) checkpoint() {
	l.t.Helper()
	l.epoch++
	l.entries[fmt.Sprint("k", l.epoch)] = strings.Repeat("v", int(l.epoch))
	if l.epoch%3 == 1 {
		var all []state.Change
		for _, key := range slices.Sorted(maps.Keys(l.entries)) {
			all = append(all, put(key, l.entries[key]))
		}
		l.runs = []Run{mustRun(l.t, l.store, Base, l.epoch, all...)}
	} else {
		key := fmt.Sprint("k", l.epoch)
		l.runs = append(slices.Clone(l.runs), mustRun(l.t, l.store, Delta, l.epoch, put(key, l.entries[key])))
	}
	l.commit(l.manifest(l.runs), false)
}

// merge replaces the newest checkpoint by one with a single run, and deletes what it replaced.
func (l *origin) merge() {
	l.t.Helper()
	var all []state.Change
	for _, key := range slices.Sorted(maps.Keys(l.entries)) {
		all = append(all, put(key, l.entries[key]))
	}
	l.runs = []Run{mustRun(l.t, l.store, Base, l.epoch, all...)}
	l.commit(l.manifest(l.runs), true)
	if err := l.store.Delete(ctx, ManifestName("A", l.epoch), time.Time{}); err != nil {
		l.t.Fatal(err)
	}
}

func newOrigin(t *testing.T) *origin {
	return &origin{t: t, store: memory.New(), entries: map[string]string{}}
}

// wantCopy checks that the other store has all checkpoints of this one, and that they are sound.
func (l *origin) wantCopy(to store.Store) {
	l.t.Helper()
	head, err := l.store.Head(ctx, "A")
	if err != nil {
		l.t.Fatal(err)
	}
	if there, err := to.Head(ctx, "A"); err != nil || there != head {
		l.t.Fatalf("the head is %+v (%v), want %+v", there, err, head)
	}
	source, err := manifestsOf(ctx, l.store, "A")
	if err != nil {
		l.t.Fatal(err)
	}
	for _, m := range source {
		manifest, err := ReadManifest(ctx, to, m.name, "")
		if err != nil {
			l.t.Fatal(err)
		}
		if r, err := Verify(ctx, to, manifest, 1); err != nil || len(r.Problems) > 0 {
			l.t.Errorf("%s: %+v, %v", m.name, r.Problems, err)
		}
	}
}

// A copy follows checkpoints, merges and retention, and copies nothing twice.
func TestCopyFollows(t *testing.T) {
	l, to := newOrigin(t), memory.New()
	c := &Copier{From: l.store, To: to, App: "A", Workers: 2}
	if _, err := c.Copy(ctx); !errors.Is(err, ErrNoCheckpoint) {
		t.Errorf("nothing is there: %v", err)
	}
	for step, do := range []func(){
		func() { l.checkpoint(); l.checkpoint(); l.checkpoint() },
		func() {},
		l.checkpoint,
		l.merge,
		func() { l.checkpoint(); l.merge(); l.checkpoint() },
		func() { l.merge() },
		func() {
			if err := l.store.Delete(ctx, ManifestName("A", 1), time.Time{}); err != nil {
				t.Fatal(err)
			}
			l.checkpoint()
		},
	} {
		do()
		done, err := c.Copy(ctx)
		if err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		l.wantCopy(to)
		if step == 1 && done.Objects+done.Checkpoints > 0 {
			t.Errorf("copied again: %+v", done)
		}
		if step == 2 && done.Objects != 1 {
			t.Errorf("one run is new, and copied were %+v", done)
		}
		if done.Newest != l.epoch {
			t.Errorf("step %d: newest %d, want %d", step, done.Newest, l.epoch)
		}
	}
}

// stopping fails after some puts and commits.
type stopping struct {
	store.Store
	left int
}

var errStopped = errors.New("stopped")

func (s *stopping) Put(ctx context.Context, name string, data []byte) error {
	if s.left--; s.left < 0 {
		return errStopped
	}
	return s.Store.Put(ctx, name, data)
}

func (s *stopping) Commit(ctx context.Context, c store.Commit) error {
	if s.left--; s.left < 0 {
		return errStopped
	}
	return s.Store.Commit(ctx, c)
}

// A copy that stops anywhere leaves only whole checkpoints, and the next one goes on.
func TestCopyGoesOn(t *testing.T) {
	l := newOrigin(t)
	for range 5 {
		l.checkpoint()
	}
	for at := 0; ; at++ {
		to := memory.New()
		_, err := (&Copier{From: l.store, To: &stopping{to, at}, App: "A"}).Copy(ctx)
		if err == nil {
			if at < 10 {
				t.Errorf("it took %d operations", at)
			}
			break
		}
		if !errors.Is(err, errStopped) {
			t.Fatal(err)
		}
		there, err := to.Head(ctx, "A")
		if err != nil || there.Epoch > 0 && there.Name != ManifestName("A", state.Epoch(there.Epoch)) {
			t.Fatalf("after %d operations: %+v, %v", at, there, err)
		}
		if _, err := (&Copier{From: l.store, To: to, App: "A"}).Copy(ctx); err != nil {
			t.Fatalf("after %d operations: %v", at, err)
		}
		l.wantCopy(to)
	}
}

// A store with another app of that name is refused, and a damaged original is not committed.
func TestCopyRefuses(t *testing.T) {
	l, other := newOrigin(t), newOrigin(t)
	for range 3 {
		l.checkpoint()
	}
	other.checkpoint()
	other.entries["k0"] = "another"
	other.checkpoint()
	_, err := (&Copier{From: l.store, To: other.store, App: "A"}).Copy(ctx)
	if err == nil || !strings.Contains(err.Error(), "which this one does not have") {
		t.Errorf("the store of another: %v", err)
	}
	if there, err := other.store.Head(ctx, "A"); err != nil || there.Epoch != 2 {
		t.Errorf("its head is %+v, %v", there, err)
	}
	run := l.runs[len(l.runs)-1]
	if err := l.store.Delete(ctx, runName(run.Name), time.Time{}); err != nil {
		t.Fatal(err)
	}
	to := memory.New()
	if _, err = (&Copier{From: l.store, To: to, App: "A"}).Copy(ctx); err == nil {
		t.Error("a checkpoint without one of its runs was copied")
	}
	if there, _ := to.Head(ctx, "A"); there.Epoch != 2 {
		t.Errorf("the newest sound one is 2, and the head is %+v", there)
	}
}
