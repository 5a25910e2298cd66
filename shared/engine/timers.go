package engine

import "eventflux/shared/window"

// pending is a timer of a window. The heap holds at most one live timer of each
// state; one that the state no longer waits for is passed over when it comes up.
type pending struct {
	at     int64
	query  int32
	seq    uint64
	memory *memory
}

// Before orders timers by due time, then by the order of queries, then by the
// order in which they were asked for.
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
	s := p.memory
	return s.timed && s.due == p.at && s.seq == p.seq
}

// timerHeap has the timer that is due first in front.
type timerHeap struct {
	window.Heap[pending, *pending]
}

// next returns the next live timer without taking it out, or nil.
func (h *timerHeap) next() *pending {
	for len(h.Heap) > 0 {
		if first := &h.Heap[0]; first.live() {
			return first
		}
		h.Pop()
	}
	return nil
}
