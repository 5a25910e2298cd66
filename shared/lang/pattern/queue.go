package pattern

import "github.com/eventflux/eventflux/shared/lang/window"

// moment is a time that a match requested, perhaps before it moved on.
type moment struct {
	at   int64
	seq  uint64
	wish wish
	gen  uint32 // of the wish
}

// wish is a kind of time that a match can request: its expiry, or the deadline of a side. The
// wishes of a match are consecutive in Machine.wishes, which holds a number for each that changes
// with the requested time. So the queue can tell whether a moment is current without reading the
// match.
type wish uint32

const (
	wishExpiry = iota
	wishSide
	wishesPerMatch = wishSide + 2
)

// wish returns one of the match's wishes.
func (m *Match) wish(kind int) wish { return wish(m.id*wishesPerMatch + uint32(kind)) }

func (w wish) match() uint32 { return uint32(w) / wishesPerMatch }

func (w wish) kind() int { return int(w % wishesPerMatch) }

// Before orders moments by time, then by the order of the requests.
func (t *moment) Before(o *moment) bool {
	switch {
	case t.at != o.at:
		return t.at < o.at
	case t.seq != o.seq:
		return t.seq < o.seq
	}
	return t.wish < o.wish
}

// timeQueue holds moments in order. Moments that arrive in order, as almost all do, cost the same
// however many there are; the others go into a heap. Moments that are no longer wanted are skipped,
// and are removed once they are most of the queue.
type timeQueue struct {
	inOrder []moment
	head    int
	others  window.Heap[moment, *moment]
	stale   int
}

func (q *timeQueue) push(t moment) {
	if n := len(q.inOrder); n > q.head && t.Before(&q.inOrder[n-1]) {
		q.others.Push(t)
		return
	}
	if q.head > 64 && q.head > len(q.inOrder)/2 && len(q.inOrder) == cap(q.inOrder) {
		n := copy(q.inOrder, q.inOrder[q.head:])
		q.inOrder, q.head = q.inOrder[:n], 0
	}
	q.inOrder = append(q.inOrder, t)
}

// next returns the first wanted moment, or nil.
func (q *timeQueue) next(wishes []uint32) *moment {
	for {
		first := q.front()
		if first == nil || wishes[first.wish] == first.gen {
			return first
		}
		q.pop()
		q.stale = max(q.stale-1, 0)
	}
}

func (q *timeQueue) front() *moment {
	inOrder := q.head < len(q.inOrder)
	switch {
	case len(q.others) > 0 && (!inOrder || q.others[0].Before(&q.inOrder[q.head])):
		return &q.others[0]
	case inOrder:
		return &q.inOrder[q.head]
	}
	return nil
}

// pop removes the first moment.
func (q *timeQueue) pop() moment {
	if len(q.others) > 0 && q.front() == &q.others[0] {
		return q.others.Pop()
	}
	first := q.inOrder[q.head]
	if q.head++; q.head == len(q.inOrder) {
		q.inOrder, q.head = q.inOrder[:0], 0
	}
	return first
}

// unwanted records that a moment is no longer wanted. It removes such moments once they are the
// majority.
func (q *timeQueue) unwanted(wishes []uint32) {
	const few = 64
	size := len(q.inOrder) - q.head + len(q.others)
	if q.stale++; q.stale <= size/2+few {
		return
	}
	q.stale = 0
	kept := q.inOrder[:0]
	for i := q.head; i < len(q.inOrder); i++ {
		if t := &q.inOrder[i]; wishes[t.wish] == t.gen {
			kept = append(kept, *t)
		}
	}
	q.inOrder, q.head = kept, 0
	old := q.others
	q.others = q.others[:0]
	for i := range old { // a push overwrites only what the loop has read
		if t := old[i]; wishes[t.wish] == t.gen {
			q.others.Push(t)
		}
	}
}

func (q *timeQueue) reset() { *q = timeQueue{} }
