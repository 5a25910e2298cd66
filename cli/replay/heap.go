package replay

import (
	"context"
	"fmt"
	"runtime"
	"runtime/metrics"

	"github.com/eventflux/eventflux/shared/state/store"
)

// MemoryMaxDefault is the memory limit for replaying an export, in bytes.
const MemoryMaxDefault = 1 << 30

// heapLimit bounds the memory for a file from elsewhere: a frame of a hundred bytes may hold a
// million rows, and a window keeps them all. It checks the heap before each frame and each object,
// so a file exceeds the limit by at most one of those.
type heapLimit struct {
	max    uint64
	sample []metrics.Sample
}

func newHeapLimit(limit uint64) *heapLimit {
	return &heapLimit{max: limit, sample: []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}}
}

func (m *heapLimit) used() uint64 {
	metrics.Read(m.sample)
	return m.sample[0].Value.Uint64()
}

// check returns an error if the live heap exceeds the limit.
func (m *heapLimit) check() error {
	if m.used() <= m.max {
		return nil
	}
	runtime.GC()
	if used := m.used(); used > m.max {
		return fmt.Errorf("it needs more than %d MiB of memory; if you trust where it comes from, allow more with --memory-max", m.max>>20)
	}
	return nil
}

// bounded is a store that refuses reads once the limit is exceeded.
type bounded struct {
	store.Store
	limit *heapLimit
}

// Get implements store.Store.
func (b bounded) Get(ctx context.Context, name string) ([]byte, error) {
	if err := b.limit.check(); err != nil {
		return nil, err
	}
	return b.Store.Get(ctx, name)
}
