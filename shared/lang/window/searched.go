package window

import (
	"cmp"
	"slices"
)

// Each implements Searched.
func (k *Retained) Each(visit func(id uint64, r Row) bool) {
	q := k.queue
	for n := q.head; n < q.found(); n++ {
		if !visit(n<<q.shiftID, q.Row(n, Current)) {
			return
		}
	}
}

// Found implements Searched.
func (k *Retained) Found(id uint64) Row { return k.queue.Row(id>>k.queue.shiftID, Current) }

// Before implements Searched.
func (k *Retained) Before(a, b uint64) bool { return a < b }

// Follow implements Searched.
func (k *Retained) Follow(f Follower) { k.queue.follow(f) }

// lateID is the bit of an id that tells late rows of a time window from those in its queue.
const lateID = 1

// Each implements Searched: the rows by their timestamps; of equal ones, those in the queue
// come first.
func (w *timeWindow) Each(visit func(id uint64, r Row) bool) {
	late := slices.Clone(w.late.heap)
	slices.SortFunc(late, func(a, b lateTime) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.number, b.number))
	})
	more := true
	w.Retained.Each(func(id uint64, r Row) bool {
		for more && len(late) > 0 && late[0].at < w.due(r.TS) {
			more = visit(late[0].number<<1|lateID, w.late.row(late[0].number))
			late = late[1:]
		}
		more = more && visit(id, r)
		return more
	})
	for ; more && len(late) > 0; late = late[1:] {
		more = visit(late[0].number<<1|lateID, w.late.row(late[0].number))
	}
}

// Found implements Searched.
func (w *timeWindow) Found(id uint64) Row {
	if id&lateID != 0 {
		return w.late.row(id >> 1)
	}
	return w.Retained.Found(id)
}

// Before implements Searched.
func (w *timeWindow) Before(a, b uint64) bool {
	if x, y := w.due(w.Found(a).TS), w.due(w.Found(b).TS); x != y {
		return x < y
	}
	if a&lateID != b&lateID {
		return a&lateID == 0
	}
	return a < b
}

// Follow implements Searched.
func (w *timeWindow) Follow(f Follower) {
	w.Retained.Follow(f)
	w.late.follower = f
}

// Each implements Searched.
func (w *sorted) Each(visit func(id uint64, r Row) bool) {
	for _, seat := range w.order {
		if !visit(uint64(seat), w.Found(uint64(seat))) {
			return
		}
	}
}

// Found implements Searched. The id of a row is its seat.
func (w *sorted) Found(id uint64) Row { return w.pool.row(w.seats[id].place, Current) }

// Before implements Searched.
func (w *sorted) Before(a, b uint64) bool {
	x, y := w.seats[a], w.seats[b]
	return cmp.Or(w.compare(x.place, y.place), cmp.Compare(x.came, y.came)) < 0
}

// Follow implements Searched.
func (w *sorted) Follow(f Follower) { w.follower = f }
