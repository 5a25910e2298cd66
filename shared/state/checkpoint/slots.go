package checkpoint

import (
	"context"
	"slices"
	"sync"
)

// slots bounds parallel work. A free slot goes to the waiter with the lowest rank, so that
// work that others wait for comes first.
type slots struct {
	size    int
	mu      sync.Mutex
	taken   int
	waiting []*waiter // in order of arrival
}

type waiter struct {
	rank int
	turn chan struct{} // closed: it has a slot
}

func newSlots(size int) *slots { return &slots{size: size} }

// do waits for a slot, unless ctx ends first.
func (s *slots) do(ctx context.Context, rank int, work func() error) error {
	if err := s.acquire(ctx, rank); err != nil {
		return err
	}
	defer s.release()
	return work()
}

func (s *slots) acquire(ctx context.Context, rank int) error {
	w := &waiter{rank, make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.assign()
	s.mu.Unlock()
	select {
	case <-w.turn:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
	} else { // its turn came just now
		s.taken--
		s.assign()
	}
	return ctx.Err()
}

func (s *slots) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	s.assign()
}

// assign gives free slots to waiters.
func (s *slots) assign() {
	for s.taken < s.size && len(s.waiting) > 0 {
		next := 0
		for i, w := range s.waiting {
			if w.rank < s.waiting[next].rank {
				next = i
			}
		}
		close(s.waiting[next].turn)
		s.waiting = slices.Delete(s.waiting, next, next+1)
		s.taken++
	}
}
