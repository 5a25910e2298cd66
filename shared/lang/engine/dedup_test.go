package engine

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

// The table of message ids is a source like any other.
func TestDedupState(t *testing.T) {
	statetest.Run(t, func() state.Source { return newDedup(1000) }, func(t *rapid.T, s state.Source) {
		d := s.(*dedup)
		now := int64(0)
		if n := len(d.blocks); n > 0 {
			if last := d.blocks[n-1]; len(last) > 0 {
				now = last[len(last)-1].at
			}
		}
		for range rapid.SampledFrom([]int{1, 2, 300}).Draw(t, "ids") {
			d.forget(now)
			d.seen(fmt.Sprint("id ", d.tail), now)
			now += rapid.Int64Range(0, 5).Draw(t, "ms")
		}
	})
}
