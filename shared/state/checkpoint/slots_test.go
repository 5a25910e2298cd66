package checkpoint

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
)

// Who waits for a slot gets it by rank, and among equals in turn. One that waits no longer
// takes none.
func TestSlotsGoByRank(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		if err := s.acquire(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		var got []int
		wait := func(ctx context.Context, rank, number int) {
			go func() {
				err := s.do(ctx, rank, func() error {
					got = append(got, number)
					return nil
				})
				if err != nil && !errors.Is(err, context.Canceled) {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		gone, leave := context.WithCancel(t.Context())
		wait(t.Context(), 7, 4)
		wait(t.Context(), 3, 2)
		wait(gone, 0, 0)
		wait(t.Context(), 3, 3)
		wait(t.Context(), 1, 1)
		leave()
		synctest.Wait()
		s.release()
		synctest.Wait()
		if want := []int{1, 2, 3, 4}; !slices.Equal(got, want) {
			t.Errorf("slots went to %v, want %v", got, want)
		}
		if s.taken != 0 || len(s.waiting) != 0 {
			t.Errorf("%d slots are taken, and %d wait", s.taken, len(s.waiting))
		}
	})
}
