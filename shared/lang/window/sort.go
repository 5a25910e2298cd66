package window

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "sort",
		Version: "1.0.0",
		Usage:   "sort(n int, attribute [, 'asc'|'desc'] [, attribute [, 'asc'|'desc']]…)",
		Adapt:   adaptSort,
		Check:   checkSort,
		New:     newSort,
	})
}

func checkSort(p []Param) error {
	if len(p) < 2 {
		return fmt.Errorf("it takes a size and at least one attribute, found %d parameters", len(p))
	}
	if err := checkSize(p, 0, 1); err != nil {
		return err
	}
	for i := 1; i < len(p); i++ {
		switch {
		case !p[i].Constant():
			if p[i].Type == event.Object {
				return fmt.Errorf("parameter %d: an attribute of type object has no order", i+1)
			}
		case p[i].Type != event.String || !isOrder(p[i].Text):
			return fmt.Errorf("parameter %d: expected an attribute, 'asc' or 'desc', found %s", i+1, p[i].describe())
		case i == 1 || p[i-1].Constant():
			return fmt.Errorf("parameter %d: '%s' must follow an attribute", i+1, p[i].Text)
		}
	}
	return nil
}

func isOrder(text string) bool {
	return strings.EqualFold(text, "asc") || strings.EqualFold(text, "desc")
}

func newSort(c Config) Window {
	w := &sorted{env: c.Env, size: int(c.Params[0].Int), pool: newPool(c)}
	for _, p := range c.Params[1:] {
		if p.Constant() {
			w.by[len(w.by)-1].desc = strings.EqualFold(p.Text, "desc")
		} else {
			w.by = append(w.by, sortKey{attr: p.Attr})
		}
	}
	w.visit = func(visit func(*int32)) {
		for i := range w.seats {
			visit(&w.seats[i].place)
		}
	}
	return w
}

// sorted keeps the first size rows in the order of some attributes; among equals, those
// that came first. A row too many expires right after the row that displaced it, and may be
// that row itself.
type sorted struct {
	untimed
	env    *Env
	size   int
	by     []sortKey
	pool   pool
	seats  []seat
	order  []int32 // seats, in the order of their rows
	came   uint64  // rows that got a seat, so far
	blocks sortBlocks
	loaded *loadedBlocks // nil unless it is being loaded; tags are when rows came
	visit  func(func(*int32))
	chunk  []Row

	follower Follower
}

// seat is where a row stays while it is in the window. When the window is full, a new row
// takes the seat of the row that must leave, so that seats have no gaps, and a new row
// changes one block of them in the state.
type seat struct {
	place int32  // in pool
	came  uint64 // orders rows that are equal
}

type sortKey struct {
	attr int
	desc bool
}

func (w *sorted) Add(in []Row, emit Emit) {
	w.pool.settle(w.visit)
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		w.chunk = append(w.chunk, r)
		w.put(w.pool.put(r))
	}
	emit(w.chunk)
}

// put gives a row a seat, after all rows that precede or equal it. A row that would
// come after the last row of a full window leaves at once.
func (w *sorted) put(place int32) {
	at := w.position(place)
	if len(w.order) < w.size {
		w.seats = append(w.seats, seat{})
		w.order = slices.Insert(w.order, at, int32(len(w.seats)-1))
		w.sit(w.order[at], place)
		return
	}
	if at == w.size {
		w.leave(place)
		return
	}
	free := w.order[w.size-1]
	copy(w.order[at+1:], w.order[at:])
	w.order[at] = free
	if w.follower != nil {
		w.follower.Leave(uint64(free), w.Found(uint64(free)))
	}
	w.leave(w.seats[free].place)
	w.sit(free, place)
}

func (w *sorted) sit(at, place int32) {
	w.came++
	w.seats[at] = seat{place, w.came}
	w.blocks.changed(at)
	if w.follower != nil {
		w.follower.Enter(uint64(at), w.Found(uint64(at)))
	}
}

func (w *sorted) leave(place int32) {
	out := w.pool.row(place, Expired)
	out.TS = w.env.Now
	w.chunk = append(w.chunk, out)
	w.pool.leave()
}

func (w *sorted) position(place int32) int {
	low, high := 0, len(w.order)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if w.compare(w.seats[w.order[middle]].place, place) <= 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	return low
}

func (w *sorted) compare(a, b int32) int {
	for _, k := range w.by {
		if c := w.pool.rows.Cols[k.attr].CompareNullsLast(int(a), int(b), k.desc); c != 0 {
			return c
		}
	}
	return 0
}

// Empty implements Window.
func (w *sorted) Empty() bool { return w.came == 0 }
