package engine

import "testing"

// KeepIdle has blocks keep n idle instances beyond as many as are not idle, while the
// test runs. Negative: none is kept, even of those.
func KeepIdle(tb testing.TB, n int) {
	before := idleKeys
	idleKeys = n
	tb.Cleanup(func() { idleKeys = before })
}

// Instances returns how many keys of partitions have an instance, and how many timers wait.
func (e *Engine) Instances() (keys, timers int) {
	for _, b := range e.blocks {
		keys += len(b.byKey.M)
	}
	return keys, len(e.timers.Heap)
}

// GroupSlots returns how many groups the first query has room for.
func (e *Engine) GroupSlots() int { return cap(e.queries[0].memories[0].groups.keys) }

// CompactFrom has groups move from n slots on, while the test runs.
func CompactFrom(tb testing.TB, n int) {
	before := compactSlots
	compactSlots = n
	tb.Cleanup(func() { compactSlots = before })
}
