package window

import (
	"cmp"
	"slices"
)

// foundRows are the rows of sessions that a follower knows, by id. An id is used again once
// its row has left.
type foundRows struct {
	follower Follower
	rows     []foundRow
	free     []uint64
}

// foundRow is where a row is: a run, and the index in its rows. The run is nil if no row has
// the id.
type foundRow struct {
	run   *run
	index int
}

// Follow implements Searched.
func (w *sessions) Follow(f Follower) {
	w.found = foundRows{}
	for s := range w.each {
		for _, r := range s.runs() {
			r.ids = nil
			for i := range r.rows {
				if f != nil {
					r.ids = append(r.ids, w.found.add(r, i))
				}
			}
		}
	}
	w.found.follower = f
}

func (f *foundRows) add(r *run, index int) uint64 {
	id := uint64(len(f.rows))
	if last := len(f.free) - 1; last >= 0 {
		id, f.free = f.free[last], f.free[:last]
	} else {
		f.rows = append(f.rows, foundRow{})
	}
	f.rows[id] = foundRow{r, index}
	return id
}

// enter tells the follower of the rows of a run from index on.
func (w *sessions) enter(r *run, from int) {
	if w.found.follower == nil {
		return
	}
	for i := from; i < len(r.rows); i++ {
		id := w.found.add(r, i)
		r.ids = append(r.ids, id)
		w.found.follower.Enter(id, w.Found(id))
	}
}

// leaves tells the follower that the rows of a run are found no longer.
func (w *sessions) leaves(r *run) {
	for _, id := range r.ids {
		w.found.follower.Leave(id, w.Found(id))
		w.found.rows[id] = foundRow{}
		w.found.free = append(w.found.free, id)
	}
	r.ids = nil
}

// Found implements Searched.
func (w *sessions) Found(id uint64) Row {
	r := w.found.rows[id]
	return w.pool.row(r.run.rows[r.index], Current)
}

// Before implements Searched: sessions in the order they were opened, and the rows of a session
// in the order of their expiry.
func (w *sessions) Before(a, b uint64) bool {
	x, y := w.found.rows[a], w.found.rows[b]
	return cmp.Or(
		cmp.Compare(x.run.of.opened, y.run.of.opened),
		cmp.Compare(x.run.at(), y.run.at()),
		cmp.Compare(x.index, y.index),
	) < 0
}

// Each implements Searched.
func (w *sessions) Each(visit func(id uint64, r Row) bool) {
	var open []*session
	for s := range w.each {
		open = append(open, s)
	}
	slices.SortFunc(open, func(a, b *session) int { return cmp.Compare(a.opened, b.opened) })
	for _, s := range open {
		for _, r := range s.runs() {
			for i, place := range r.rows {
				var id uint64
				if r.ids != nil {
					id = r.ids[i]
				}
				if !visit(id, w.pool.row(place, Current)) {
					return
				}
			}
		}
	}
}

// runs returns the runs of a session in the order of their expiry.
func (s *session) runs() []*run {
	return append(s.merged[:len(s.merged):len(s.merged)], &s.onTime)
}
