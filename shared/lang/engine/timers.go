package engine

import (
	"math"

	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// pending is a timer of an owner or of a partition key. The heap holds at most one live
// timer of each part of an owner and of each key; a timer that is no longer wanted is skipped when it comes
// up.
type pending struct {
	at       int64
	position int32
	part     uint8 // of the owner
	seq      uint64
	owner    owner
	key      *instance // that @purge forgets; nil: the timer has an owner
}

// owner is what a timer belongs to: a memory, a trigger or a named window.
type owner interface {
	// live reports whether the timer is still wanted.
	live(p *pending) bool
	// fire is called when the clock has reached the timer.
	fire(part int)
}

// Positions order timers of the same ms by what they belong to. The position of a window or
// pattern of a query is the query's number.
const (
	limitersFrom     = -3 << 24      // and the query's number
	triggersFrom     = -2 << 24      // and the trigger's number
	namedWindowsFrom = -1 << 24      // and the window's number
	behindQueries    = math.MaxInt32 // of partition keys
)

// timer is the next timer of a part of a memory.
type timer struct {
	due int64
	seq uint64
	set bool // it is in the engine's heap
}

// Before orders timers by due time, then by position, then by the order of the requests. Only
// partition keys that come from two forks have requests with the same number; they go in the
// order of the keys.
func (p *pending) Before(o *pending) bool {
	switch {
	case p.at != o.at:
		return p.at < o.at
	case p.position != o.position:
		return p.position < o.position
	case p.seq != o.seq:
		return p.seq < o.seq
	default:
		return p.place() < o.place()
	}
}

// place orders the partition keys whose queries have timers; 0 for all else.
func (p *pending) place() uint64 {
	if s, ok := p.owner.(*memory); ok && s.home != nil {
		return s.home.place
	}
	return 0
}

func (p *pending) live() bool {
	if p.key != nil {
		at, ok := p.key.forgetAt()
		return ok && !p.key.gone && at == p.at
	}
	return p.owner.live(p)
}

func (s *memory) live(p *pending) bool {
	t := s.timer(int(p.part))
	return t.set && t.due == p.at && t.seq == p.seq
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
	h.Heap = shrink.Slice(h.Heap)
}
