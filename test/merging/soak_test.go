package merging

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud/s3"
	"github.com/eventflux/eventflux/shared/state/store/file"
	"github.com/eventflux/eventflux/shared/state/store/memory"
	"github.com/eventflux/eventflux/shared/state/store/redis"
	"github.com/eventflux/eventflux/shared/testing/redistest"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// TestSoak makes checkpoints while a merger works. Every retained checkpoint can be restored at any
// time, and the store holds only what they need and objects younger than the grace. In the end it
// holds nothing else.
func TestSoak(t *testing.T) {
	for _, backend := range []struct {
		name        string
		checkpoints int
		open        func(t *testing.T) store.Store
	}{
		{"memory", *checkpoints, func(*testing.T) store.Store { return memory.New() }},
		{"file", *checkpoints / 8, func(t *testing.T) store.Store { // it syncs
			s, err := file.Open(t.TempDir(), quiet)
			must(t, err)
			return s
		}},
		{"redis", *checkpoints / 4, func(t *testing.T) store.Store {
			s, err := redis.Open(t.Context(), redistest.Start(t).URL(), quiet)
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			return s
		}},
		{"s3", *checkpoints / 8, func(t *testing.T) store.Store {
			s, err := s3.Open(t.Context(), s3test.Start(t).URL("soak"), quiet)
			must(t, err)
			t.Cleanup(func() { must(t, s.Close()) })
			return s
		}},
	} {
		t.Run(backend.name, func(t *testing.T) {
			const grace = 100 * time.Millisecond
			r := newRig(t, options{store: backend.open(t), grace: grace, retain: 4})
			m := r.merger(r.store)
			most, longest := 0, 0
			var before, begun time.Time
			for i := range backend.checkpoints {
				before, begun = begun, time.Now()
				f := heard
				switch r.random.IntN(20) {
				case 0:
					f = failed
				case 1, 2:
					f = missed
				}
				r.checkpoint(f, nil)
				must(t, m.Work(r.within()))
				if r.random.IntN(50) == 0 {
					r.attach()
				}
				longest = max(longest, len(r.task.chain))
				if i%25 == 0 {
					r.verify()
					// An open epoch is at most one round old.
					most = max(most, r.old(before.Add(-2*grace)))
				}
			}
			r.verify()
			if most > 0 {
				t.Errorf("%d objects without a reference were older than the grace, and stayed", most)
			}
			if longest > 12 {
				t.Errorf("a chain of %d runs", longest)
			}
			r.clean(m)
			r.verify()
			done := m.Status()
			if done.Swaps == 0 || done.SweptObjects == 0 {
				t.Errorf("the merger has done nothing: %+v", done)
			}
			t.Logf("longest chain %d runs, written as a whole %d times, %+v", longest, r.task.wholes, done)
		})
	}
}

// old counts the unreferenced objects that were last used before since.
func (r *rig) old(since time.Time) (n int) {
	r.t.Helper()
	referred := r.referred()
	must(r.t, r.store.List(r.within(), "", func(o store.Object) error {
		if !referred[o.Name] && o.Used.Before(since) {
			n++
		}
		return nil
	}))
	return n
}
