package merging

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

var errKilled = errors.New("killed")

// mortal is the store of a process that is killed at one of its operations: either before it, or
// after it but before the answer. All later operations fail.
type mortal struct {
	store.Store
	mu    sync.Mutex
	left  int // operations until then; negative: not armed
	after bool
}

// arm kills the process at operation n from now, counted from 1; 0 disarms. It returns whether the
// process was killed since the last call.
func (m *mortal) arm(n int, after bool) (killed bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	killed = m.left == 0
	if m.left, m.after = n, after; n == 0 {
		m.left = -1
	}
	return killed
}

func (m *mortal) do(op func() error) error {
	m.mu.Lock()
	if m.left > 0 {
		m.left--
		if m.left == 0 && m.after {
			m.mu.Unlock()
			_ = op()
			return errKilled
		}
	}
	dead := m.left == 0
	m.mu.Unlock()
	if dead {
		return errKilled
	}
	return op()
}

func (m *mortal) Put(ctx context.Context, name string, data []byte) error {
	return m.do(func() error { return m.Store.Put(ctx, name, data) })
}

func (m *mortal) Get(ctx context.Context, name string) (data []byte, err error) {
	err = m.do(func() (err error) { data, err = m.Store.Get(ctx, name); return err })
	return data, err
}

func (m *mortal) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	return m.do(func() error { return m.Store.List(ctx, prefix, visit) })
}

func (m *mortal) Delete(ctx context.Context, name string, since time.Time) error {
	return m.do(func() error { return m.Store.Delete(ctx, name, since) })
}

func (m *mortal) Commit(ctx context.Context, c store.Commit) error {
	return m.do(func() error { return m.Store.Commit(ctx, c) })
}

func (m *mortal) Head(ctx context.Context, app string) (h store.Head, err error) {
	err = m.do(func() (err error) { h, err = m.Store.Head(ctx, app); return err })
	return h, err
}

// The merger or the checkpointer is killed at any operation of a merge, a swap or a sweep. Every
// checkpoint can be restored, the next merger continues, and no garbage stays forever.
func TestKilledAtEveryOperation(t *testing.T) {
	for _, who := range []string{"merger", "checkpointer"} {
		for _, after := range []bool{false, true} {
			name := who + " before"
			if after {
				name = who + " after"
			}
			t.Run(name, func(t *testing.T) {
				s := memory.New()
				victims := map[string]*mortal{"merger": {Store: s, left: -1}, "checkpointer": {Store: s, left: -1}}
				r := newRig(t, options{store: s, leader: victims["checkpointer"], grace: time.Millisecond, retain: 2})
				victim := victims[who]
				kills := 0
				for n := 1; ; n++ {
					for len(r.task.chain) < 5 {
						r.checkpoint(heard, nil)
					}
					m := r.merger(victims["merger"])
					victim.arm(n, after)
					err := m.Work(r.within())
					killed := victim.arm(0, false)
					r.verify()
					if !killed {
						must(t, err)
						break
					}
					kills++
					r.attach() // and everything a task reads for it is there
					r.checkpoint(heard, nil)
				}
				m := r.merger(s)
				must(t, m.Work(r.within()))
				r.verify()
				r.clean(m)
				r.verify()
				if least := map[string]int{"merger": 15, "checkpointer": 3}[who]; kills < least {
					t.Errorf("%d kills; a merge has more operations than that", kills)
				}
				t.Logf("%d kills", kills)
			})
		}
	}
}
