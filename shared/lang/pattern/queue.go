package pattern

import "github.com/eventflux/eventflux/shared/lang/window"

// kind is a kind of time that matches wait for.
type kind uint8

const (
	expiries kind = iota // subjects are matches
	waits                // subjects are matches and sides
)

// subject is what a time belongs to: a match, or a side of a match.
type subject uint32

func sideOf(m *match, side int) subject { return subject(m.id*2 + uint32(side)) }

// moment is a time that a match requested, perhaps before it moved on.
type moment struct {
	at      int64
	seq     uint64
	subject subject
	gen     uint32 // of the subject
}

// Before orders moments by time, then by the order of the requests.
func (t *moment) Before(o *moment) bool {
	switch {
	case t.at != o.at:
		return t.at < o.at
	case t.seq != o.seq:
		return t.seq < o.seq
	}
	return t.subject < o.subject
}

// moment returns the time that a subject requested last.
func (mc *Machine) moment(k kind, s subject) moment {
	if k == expiries {
		m := mc.match(uint32(s))
		return moment{m.first, m.number, s, m.gen}
	}
	d, side := mc.deadlines(uint32(s/2)), s%2
	return moment{d.due[side], d.seq[side], s, d.gen[side]}
}

// gen returns the generation of a subject.
func (mc *Machine) gen(k kind, s subject) uint32 {
	if k == expiries {
		return mc.match(uint32(s)).gen
	}
	return mc.deadlines(uint32(s / 2)).gen[s%2]
}

// timeQueue holds moments in order. Moments that arrive in order, as almost all do, cost the same
// however many there are, and little memory: their times stay in the matches. The others go into a
// heap. A moment is no longer wanted once its subject has another generation; it is skipped, and
// removed once such moments are most of the queue.
type timeQueue struct {
	kind    kind
	inOrder []promise
	head    int
	newest  moment // of inOrder
	others  window.Heap[moment, *moment]
	stale   int
}

type promise struct {
	subject subject
	gen     uint32
}

func (q *timeQueue) push(t moment) {
	if len(q.inOrder) > q.head && t.Before(&q.newest) {
		q.others.Push(t)
		return
	}
	if q.head > 64 && q.head > len(q.inOrder)/2 && len(q.inOrder) == cap(q.inOrder) {
		n := copy(q.inOrder, q.inOrder[q.head:])
		q.inOrder, q.head = q.inOrder[:n], 0
	}
	q.inOrder = append(q.inOrder, promise{t.subject, t.gen})
	q.newest = t
}

// next returns the first wanted moment; false if there is none.
func (q *timeQueue) next(mc *Machine) (t moment, ok bool) {
	for ; q.head < len(q.inOrder); q.skip() {
		p := q.inOrder[q.head]
		if t = mc.moment(q.kind, p.subject); t.gen == p.gen {
			ok = true
			break
		}
		q.stale = max(q.stale-1, 0)
	}
	for len(q.others) > 0 && !q.wanted(mc, &q.others[0]) {
		q.others.Pop()
		q.stale = max(q.stale-1, 0)
	}
	if len(q.others) > 0 && (!ok || q.others[0].Before(&t)) {
		return q.others[0], true
	}
	return t, ok
}

func (q *timeQueue) wanted(mc *Machine, t *moment) bool {
	return mc.gen(q.kind, t.subject) == t.gen
}

// skip removes the first moment of those in order.
func (q *timeQueue) skip() {
	if q.head++; q.head == len(q.inOrder) {
		q.inOrder, q.head = q.inOrder[:0], 0
	}
}

// pop removes the moment that next returned.
func (q *timeQueue) pop(t moment) {
	if q.head < len(q.inOrder) && q.inOrder[q.head] == (promise{t.subject, t.gen}) {
		q.skip()
		return
	}
	q.others.Pop()
}

// unwanted records that a moment is no longer wanted. It removes such moments once they are the
// majority.
func (q *timeQueue) unwanted(mc *Machine) {
	const few = 64
	size := len(q.inOrder) - q.head + len(q.others)
	if q.stale++; q.stale <= size/2+few {
		return
	}
	q.stale = 0
	kept := 0
	for _, p := range q.inOrder[q.head:] {
		q.inOrder[kept] = p // no branch, so that the processor reads ahead
		if mc.gen(q.kind, p.subject) == p.gen {
			kept++
		}
	}
	q.inOrder, q.head = q.inOrder[:kept], 0
	old := q.others
	q.others = q.others[:0]
	for i := range old { // a push overwrites only what the loop has read
		if t := old[i]; q.wanted(mc, &t) {
			q.others.Push(t)
		}
	}
}

func (q *timeQueue) reset() { *q = timeQueue{kind: q.kind} }
