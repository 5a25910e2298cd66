package engine

import (
	"math"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// pending is a timer of a window or of a partition key. The heap holds at most one live
// timer of each memory and key; a timer that is no longer wanted is skipped when it comes
// up.
type pending struct {
	at     int64
	query  int32
	seq    uint64
	memory *memory
	key    *instance // that @purge forgets; nil: it is a window's
}

// behindQueries orders the timers of partition keys after all others of the same ms.
const behindQueries = math.MaxInt32

// Before orders timers by due time, then by query, then by the order of the requests.
func (p *pending) Before(o *pending) bool {
	switch {
	case p.at != o.at:
		return p.at < o.at
	case p.query != o.query:
		return p.query < o.query
	default:
		return p.seq < o.seq
	}
}

func (p *pending) live() bool {
	if p.key != nil {
		at, ok := p.key.forgetAt()
		return ok && !p.key.gone && at == p.at
	}
	s := p.memory
	return s.timed && s.due == p.at && s.seq == p.seq
}

// timerHeap has the timer that is due first at the front.
type timerHeap struct {
	window.Heap[pending, *pending]
	ended int // about how many timers belong to memories that have ended
}

// next returns the next live timer without taking it out, or nil.
func (h *timerHeap) next() *pending {
	for len(h.Heap) > 0 {
		first := &h.Heap[0]
		if first.live() {
			return first
		}
		old := h.Pop()
		if old.key != nil && !old.key.gone {
			old.key.awaited = false
			old.key.block.await(old.key) // its event came later
		}
	}
	return nil
}

// end notes that n timers belong to memories that have ended. Once there are many, it
// removes them: otherwise they would keep the memories until they are due.
func (h *timerHeap) end(n int) {
	const few = 64
	h.ended += n
	if h.ended <= len(h.Heap)/2+few {
		return
	}
	h.ended = 0
	old := h.Heap
	h.Heap = h.Heap[:0]
	for i := range old { // a push overwrites only timers that the loop has read
		if p := old[i]; p.key != nil && !p.key.gone || p.key == nil && p.live() {
			h.Push(p)
		}
	}
	clear(old[len(h.Heap):])
}
