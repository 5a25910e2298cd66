package window

import (
	"fmt"
	"slices"
	"strings"

	"eventflux/shared/event"
)

func init() {
	Register(Spec{
		Name:    "sort",
		Version: "1.0.0",
		Usage:   "sort(n int, attribute [, 'asc'|'desc'] [, attribute [, 'asc'|'desc']]…)",
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
	w := &sorted{env: c.Env, size: int(c.Params[0].Int), pool: newPool(c), dirty: true}
	for _, p := range c.Params[1:] {
		if p.Constant() {
			w.by[len(w.by)-1].desc = strings.EqualFold(p.Text, "desc")
		} else {
			w.by = append(w.by, sortKey{attr: p.Attr})
		}
	}
	w.visit = func(visit func(*int32)) {
		for i := range w.order {
			visit(&w.order[i])
		}
	}
	return w
}

// sorted keeps the size rows that come first in the order of some attributes;
// among equals, those that came first. The one that is too many expires behind
// the row that made it so, and may be that row itself.
type sorted struct {
	untimed
	env   *Env
	dirty bool // changed since the last Changed
	size  int
	by    []sortKey
	pool  pool
	order []int32 // places in pool, first in order first
	visit func(func(*int32))
	chunk []Row
}

type sortKey struct {
	attr int
	desc bool
}

func (w *sorted) Add(in []Row, emit Emit) {
	w.pool.settle(w.visit)
	w.dirty = true
	w.chunk = w.chunk[:0]
	for _, r := range in {
		w.chunk = append(w.chunk, r)
		w.insert(w.pool.put(r))
		if last := len(w.order) - 1; last == w.size {
			out := w.pool.row(w.order[last], Expired)
			out.TS = w.env.Now
			w.chunk = append(w.chunk, out)
			w.order = w.order[:last]
			w.pool.leave()
		}
	}
	emit(w.chunk)
}

// insert puts a place behind all rows that do not come after it.
func (w *sorted) insert(place int32) {
	low, high := 0, len(w.order)
	for low < high {
		middle := int(uint(low+high) >> 1)
		if w.compare(w.order[middle], place) <= 0 {
			low = middle + 1
		} else {
			high = middle
		}
	}
	w.order = slices.Insert(w.order, low, place)
}

func (w *sorted) compare(a, b int32) int {
	for _, k := range w.by {
		if c := w.pool.rows.Cols[k.attr].CompareNullsLast(int(a), int(b), k.desc); c != 0 {
			return c
		}
	}
	return 0
}

// The state of a sorted window is one entry, its rows in their order, if it has any.

// Changed implements state.Source.
func (w *sorted) Changed(visit func(key []byte)) {
	if w.dirty {
		w.dirty = false
		visit([]byte{keyFields})
	}
}

// Keys implements state.Source.
func (w *sorted) Keys(visit func(key []byte)) {
	if len(w.order) > 0 {
		visit([]byte{keyFields})
	}
}

// Append implements state.Source.
func (w *sorted) Append(dst, key []byte) ([]byte, bool) {
	if len(key) != 1 || key[0] != keyFields || len(w.order) == 0 {
		return dst, false
	}
	return w.pool.append(dst, w.env, w.order), true
}

// Reset implements state.Source.
func (w *sorted) Reset() {
	w.pool.reset()
	w.order = w.order[:0]
}

// Put implements state.Source.
func (w *sorted) Put(key, value []byte) error {
	if len(key) != 1 || key[0] != keyFields {
		return fmt.Errorf("window sort: unknown key %q", key)
	}
	places, rest, err := w.pool.read(value, w.env, uint64(w.size))
	if err != nil {
		return fmt.Errorf("window sort: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("window sort: %d bytes are left over", len(rest))
	}
	w.order = places
	return nil
}

// Ready implements state.Source.
func (w *sorted) Ready() error {
	w.dirty = false
	for i := 1; i < len(w.order); i++ {
		if w.compare(w.order[i-1], w.order[i]) > 0 {
			return fmt.Errorf("window sort: row %d is not in order", i)
		}
	}
	return nil
}

// Bytes implements state.Source.
func (w *sorted) Bytes() int64 { return int64(w.pool.rows.Bytes()) }
