package checkpoint

import (
	"bytes"
	"cmp"
	"context"
	"slices"
	"sync"

	"github.com/eventflux/eventflux/shared/state/store"
)

const (
	// packGapMax is how many bytes between two runs are read along: they take less time than
	// another request.
	packGapMax = 256 << 10
	// stretchBytesMax bounds the bytes that one request reads.
	stretchBytesMax = packBytesMax
	// sharedBytesMax bounds the bytes that were read and that not all runs have taken yet.
	sharedBytesMax = 64 << 20
)

// SharedReads returns a store to read chains from. What several of their runs need of a pack, it
// reads at once. Other reads go to s.
func SharedReads(s store.Store, chains ...[]Run) store.Store {
	wanted := map[string][]*Run{} // by pack
	for _, chain := range chains {
		for i := range chain {
			if r := &chain[i]; r.Pack != "" {
				wanted[r.Object()] = append(wanted[r.Object()], r)
			}
		}
	}
	if len(wanted) == 0 {
		return s
	}
	shared := &sharedReads{Store: s, packs: map[string][]*stretch{}}
	for object, runs := range wanted {
		shared.packs[object] = stretches(runs)
	}
	return shared
}

// sharedReads is the store that SharedReads returns.
type sharedReads struct {
	store.Store
	mu    sync.Mutex
	bytes int64                 // of the stretches that are in memory
	packs map[string][]*stretch // in the order of their offsets
}

// stretch is a part of a pack that one request reads.
type stretch struct {
	from, to int64
	left     int           // runs that have not asked for their bytes yet
	users    int           // of data
	done     chan struct{} // closed: it was read; nil: its read has not started
	data     []byte
	err      error
}

// stretches divides what runs need of a pack.
func stretches(runs []*Run) (all []*stretch) {
	slices.SortFunc(runs, func(a, b *Run) int { return cmp.Compare(a.Offset, b.Offset) })
	var last *stretch
	for _, r := range runs {
		end := r.Offset + r.Bytes
		if last == nil || r.Offset > last.to+packGapMax || end-last.from > stretchBytesMax {
			last = &stretch{from: r.Offset}
			all = append(all, last)
		}
		last.to = max(last.to, end)
		last.left++
	}
	return all
}

// GetRange implements store.Ranger.
func (s *sharedReads) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	k, mine := s.join(name, offset, n)
	if k == nil {
		return store.GetRange(ctx, s.Store, name, offset, n)
	}
	if mine {
		k.data, k.err = store.GetRange(ctx, s.Store, name, k.from, k.to-k.from)
		close(k.done)
	}
	defer s.leave(k)
	select {
	case <-k.done:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	if k.err != nil {
		return nil, k.err
	}
	return bytes.Clone(store.Part(k.data, offset-k.from, n)), nil // a copy does not keep the rest in memory
}

// join returns the stretch of a range, and whether the caller has to read it. It returns none if the
// range is in no stretch, or there is too much in memory.
func (s *sharedReads) join(name string, offset, n int64) (k *stretch, mine bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.packs[name] {
		if offset < k.from || offset+n > k.to || k.left == 0 {
			continue
		}
		k.left--
		switch {
		case k.done != nil:
			k.users++
			return k, false
		case k.left == 0 || s.bytes > 0 && s.bytes+k.to-k.from > sharedBytesMax:
			return nil, false
		}
		k.users++
		k.done = make(chan struct{})
		s.bytes += k.to - k.from
		return k, true
	}
	return nil, false
}

// leave gives up the stretch after the last run has taken its bytes.
func (s *sharedReads) leave(k *stretch) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if k.users--; k.users == 0 && k.left == 0 {
		s.bytes -= k.to - k.from
		k.data = nil
	}
}
