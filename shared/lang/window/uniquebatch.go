package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

const keyLast = 'l'

// newUniqueBatch returns a batch window of keys: of size keys, or of a span with a start, or
// of both; 0 and nil stand for none.
func newUniqueBatch(c Config, first bool, size int64, times []Param) Window {
	w := &uniqueBatch{
		keep: c.Expired, first: first, size: int(size), keys: keyer{config: c, params: []int{0}},
		now: newKeyedRows(c, keyRow, 0), last: newKeyedRows(c, keyLast, 0),
	}
	if len(times) > 0 {
		w.span = times[0].Int
	}
	if len(times) > 1 {
		w.start, w.anchored = times[1].Int, true
	}
	w.keyedState = newKeyedState("unique", c.Env, func(f *Fields) {
		f.Int(&w.end)
		f.Uint(&w.seq)
	}, w.now, w.last)
	w.check = func() error {
		if n := w.now.len(); w.size > 0 && n >= w.size {
			return fmt.Errorf("%d keys wait for a batch of %d", n, w.size)
		}
		if w.span > 0 && w.seq == 0 && w.now.len()+w.last.len() > 0 {
			return fmt.Errorf("%d rows without a boundary", w.now.len()+w.last.len())
		}
		return nil
	}
	return w
}

// uniqueBatch collects one row of each key, the latest or the first, and emits them together:
// once it has size keys, or every span ms, as a timeBatch, or whichever comes first. Rows are in
// the order of the first rows of their keys.
type uniqueBatch struct {
	keyedState
	keep     bool // expired rows are wanted
	first    bool // the first row of a key stays
	size     int  // 0: no limit
	span     int64
	start    int64 // anchored: boundaries are congruent to it, modulo span
	anchored bool
	keys     keyer
	now      *keyedRows // that are being collected
	last     *keyedRows // of the batch that came out last
	end      int64      // the next boundary, once a row has set it
	seq      uint64     // orders this window among those with the same boundary; 0: no boundary yet
	chunk    []Row
	bounds
}

func (w *uniqueBatch) Add(in []Row, emit Emit) {
	w.settle()
	if at, _, waiting := w.Due(); waiting && at <= w.env.Now {
		w.tick(emit) // at the same ms, timers go before events
	}
	if w.span > 0 {
		w.bound()
	}
	for _, r := range in {
		key := w.keys.of(r)
		switch x := w.now.byKey[string(key)]; {
		case x == nil:
			w.now.add(key, r)
		case !w.first:
			w.now.replace(x, r)
		}
		if w.size > 0 && w.now.len() == w.size {
			w.flush(emit)
		}
	}
}

// bound sets end to the first boundary after the clock.
func (w *uniqueBatch) bound() {
	now := w.env.Now
	switch {
	case w.seq != 0 && w.end > now:
	case w.seq != 0:
		w.end = later(now, w.span-floorMod(now-w.end, w.span))
	case w.anchored:
		w.end = later(now, w.span-floorMod(now-w.start, w.span))
	default:
		w.end = later(now, w.span)
	}
	if w.seq == 0 {
		w.seq = w.env.NextSeq()
	}
}

func (w *uniqueBatch) Due() (int64, uint64, bool) {
	return w.end, w.seq, w.span > 0 && w.now.len()+w.last.len() > 0
}

func (w *uniqueBatch) Fire(emit Emit) {
	w.settle()
	w.tick(emit)
}

// tick ends the batch at its boundary.
func (w *uniqueBatch) tick(emit Emit) {
	w.bounds.set(w.end, w.span)
	w.end = later(w.end, w.span)
	w.flush(emit)
}

// flush emits the batch: the batch before expires, aggregators are reset, and the rows come
// out. A batch without rows only lets the one before it expire.
func (w *uniqueBatch) flush(emit Emit) {
	w.chunk = shrink.Reset(w.chunk)
	for w.last.first != nil {
		x := w.last.first
		w.chunk = append(w.chunk, w.last.expired(x, w.env.Now))
		w.last.remove(x)
	}
	if w.now.len() > 0 {
		w.chunk = append(w.chunk, Row{Kind: Reset})
	}
	for w.now.first != nil {
		x := w.now.first
		r := w.now.row(x, Current)
		if w.keep {
			w.last.add([]byte(x.key), r)
		}
		if w.span == 0 {
			r.TS = w.env.Now
		}
		w.chunk = append(w.chunk, r)
		w.now.remove(x)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Empty implements Window. A boundary that was set once decides all that follow.
func (w *uniqueBatch) Empty() bool { return w.seq == 0 && w.now.len()+w.last.len() == 0 }
