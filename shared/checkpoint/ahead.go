package checkpoint

import (
	"context"
	"sync"

	"golang.org/x/sync/semaphore"

	"eventflux/shared/state"
	"eventflux/shared/store"
)

// aheadBytesMax bounds the uncompressed bytes that were fetched and wait to be loaded.
// One component alone may have more.
const aheadBytesMax = 256 << 20

// ahead fetches the chains of components before they are asked for.
type ahead struct {
	cancel  context.CancelFunc
	ordered chan chan fetchedChain
	memory  *semaphore.Weighted
	held    int64 // of memory, by what next returned last
	group   sync.WaitGroup
}

type fetchedChain struct {
	entries []state.Entry
	weight  int64
	err     error
}

// fetchAhead begins to fetch the chains of components, in their order.
func fetchAhead(ctx context.Context, s store.Store, wanted []*Component, workers int) *ahead {
	ctx, cancel := context.WithCancel(ctx)
	a := &ahead{cancel: cancel, ordered: make(chan chan fetchedChain, len(wanted)), memory: semaphore.NewWeighted(aheadBytesMax)}
	slots := make(slots, max(workers, 1))
	a.group.Go(func() {
		for _, c := range wanted {
			one := make(chan fetchedChain, 1)
			a.ordered <- one
			weight := weightOf(c)
			if err := a.memory.Acquire(ctx, weight); err != nil {
				one <- fetchedChain{err: err}
				return
			}
			a.group.Go(func() {
				entries, err := loadChain(ctx, s, c.Runs, slots)
				one <- fetchedChain{entries, weight, err}
			})
		}
	})
	return a
}

// weightOf estimates the memory that a component's entries take.
func weightOf(c *Component) (n int64) {
	for i := range c.Runs {
		n += c.Runs[i].RawBytes
	}
	return min(n, aheadBytesMax)
}

// next returns the entries of the next component. What it returned before is given up:
// whoever loaded it has copied what it keeps.
func (a *ahead) next() ([]state.Entry, error) {
	a.memory.Release(a.held)
	a.held = 0
	got := <-<-a.ordered
	a.held = got.weight
	return got.entries, got.err
}

// close ends what is under way.
func (a *ahead) close() {
	a.cancel()
	a.group.Wait()
}
