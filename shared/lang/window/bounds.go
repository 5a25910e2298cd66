package window

import "math"

// bounds has the times of the batch that is being emitted. It is no state: a window sets it
// before it emits.
type bounds struct{ start, end int64 }

// set makes it the batch of a span that ends at end.
func (b *bounds) set(end, span int64) {
	b.start, b.end = end-span, end
	if b.start > end {
		b.start = math.MinInt64
	}
}

// Bounds implements Bounded.
func (b *bounds) Bounds() (start, end int64, begun bool) { return b.start, b.end, true }
