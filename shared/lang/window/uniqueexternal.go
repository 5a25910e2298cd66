package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func checkUniqueExternal(p []Param) error {
	if err := arity(p, 3, 6); err != nil {
		return err
	}
	return checkExternalBatch(p, 1)
}

func newUniqueExternal(c Config) Window {
	w := &uniqueExternal{
		env: c.Env, refused: c.Refused, keep: c.Expired, keys: keyer{config: c, params: []int{0}},
		now: newKeyedRows(c, keyRow, 0), last: newKeyedRows(c, keyLast, 0),
	}
	w.configure(c.Params[1:])
	w.keyedState = newKeyedState("unique:externalTimeBatch", c.Env, func(f *Fields) {
		w.clockFields(f)
		f.Bool(&w.pending)
	}, w.now, w.last)
	w.check = func() error {
		if !w.begun && w.now.len()+w.last.len() > 0 {
			return fmt.Errorf("%d rows without a boundary", w.now.len()+w.last.len())
		}
		if w.pending && w.now.len() == 0 {
			return fmt.Errorf("a batch without rows is to come out")
		}
		return nil
	}
	return w
}

// uniqueExternal is an externalTimeBatch that keeps the latest row of each key. Rows are in the
// order of the first rows of their keys.
type uniqueExternal struct {
	externalClock
	keyedState
	env     *Env
	refused func(Row)
	keep    bool // expired rows are wanted
	keys    keyer
	now     *keyedRows // of this batch
	last    *keyedRows // that came out last: of the batch before, or of this one if it came out by timeout
	pending bool       // this batch has rows that have not come out
	chunk   []Row
	bounds
}

func (w *uniqueExternal) Add(in []Row, emit Emit) {
	w.settle()
	if at, _, waiting := w.Due(); waiting && at <= w.env.Now {
		w.expireTimeout(emit) // at the same ms, timers go before events
	}
	for _, r := range in {
		clock := &r.B.Cols[w.attr]
		if clock.IsNull(int(r.I)) || !w.begin(w.env, r, clock.Ints[r.I]) {
			w.env.drop(r, w.refused)
			continue
		}
		t := clock.Ints[r.I]
		w.largest = max(w.largest, t)
		w.skipIdle(w.env.Now)
		if t >= w.until {
			w.flush(emit)
			w.endBatch()
			w.flushed = false
			w.until = w.boundary(w.largest)
			w.arm(w.env)
		}
		w.put(r)
	}
}

func (w *uniqueExternal) put(r Row) {
	key := w.keys.of(r)
	x := w.now.byKey[string(key)]
	if x == nil {
		x = w.now.add(key, r)
	} else {
		w.now.replace(x, r)
	}
	w.pending = true
	if w.replace {
		own := w.now.row(x, Current)
		own.B.Cols[w.attr].Ints[own.I] = w.until
	}
}

// flush emits the batch, unless it came out already and has no further rows: the rows that came
// out last expire, aggregators are reset, and the rows come out.
func (w *uniqueExternal) flush(emit Emit) {
	w.bounds.set(w.until, w.span)
	if !w.pending {
		return
	}
	w.chunk = shrink.Reset(w.chunk)
	for w.last.first != nil {
		x := w.last.first
		w.chunk = append(w.chunk, w.last.expired(x, w.largest))
		w.last.remove(x)
	}
	w.chunk = append(w.chunk, Row{Kind: Reset})
	for x := w.now.first; x != nil; x = x.nxt {
		r := w.now.row(x, Current)
		if w.keep {
			w.last.add([]byte(x.key), r)
		}
		w.chunk = append(w.chunk, r)
	}
	w.pending = false
	emit(w.chunk)
}

// endBatch forgets the rows of a batch that came out.
func (w *uniqueExternal) endBatch() {
	for w.now.first != nil {
		w.now.remove(w.now.first)
	}
}

func (w *uniqueExternal) Due() (int64, uint64, bool) {
	return w.due, w.seq, w.timeout > 0 && w.pending
}

func (w *uniqueExternal) Fire(emit Emit) {
	w.settle()
	w.expireTimeout(emit)
}

func (w *uniqueExternal) expireTimeout(emit Emit) {
	w.flush(emit)
	w.flushed = true
	w.due = later(w.due, w.timeout)
}

// Empty implements Window. The first row decides the boundaries of all batches.
func (w *uniqueExternal) Empty() bool { return !w.begun }
