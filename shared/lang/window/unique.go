package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	unique := func(name, usage string, most int, more bool, check func(p []Param) error, make func(Config) Window) {
		Register(Spec{
			Name: "unique:" + name, Version: "1.0.0", Usage: "unique:" + usage,
			Keys: []int{0}, MoreKeys: more, Computed: true,
			Check: func(p []Param) error {
				if err := arity(p, 1, most); err != nil {
					return err
				}
				for i := range p {
					if i > 0 && !more {
						break
					}
					if p[i].Constant() {
						return fmt.Errorf("parameter %d: expected a key such as an attribute, found %s", i+1, p[i].describe())
					}
				}
				if check == nil {
					return nil
				}
				return check(p)
			},
			New:     make,
			Bounded: name == "timeBatch" || name == "firstTimeBatch" || name == "externalTimeBatch",
		})
	}
	size := func(p []Param) error {
		if err := arity(p, 2, 2); err != nil {
			return err
		}
		return checkSize(p, 1, 1)
	}
	span := func(p []Param) error {
		if err := arity(p, 2, 2); err != nil {
			return err
		}
		return checkSpan(p, 1)
	}
	unique("ever", "ever(key [, key]…)", keysMax, true, nil, newUnique)
	unique("first", "first(key [, key]…)", keysMax, true, nil, func(c Config) Window {
		w := newUniqueRows(c, "unique:first", len(c.Params))
		w.first = true
		return w
	})
	unique("length", "length(key, n int)", 2, false, size, func(c Config) Window {
		w := newUniqueRows(c, "unique:length", 1)
		w.size = int(c.Params[1].Int)
		return w
	})
	unique("time", "time(key, span time)", 2, false, span, newUniqueTime)
	unique("lengthBatch", "lengthBatch(key, n int)", 2, false, size, func(c Config) Window {
		return newUniqueBatch(c, false, c.Params[1].Int, nil)
	})
	unique("firstLengthBatch", "firstLengthBatch(key, n int)", 2, false, size, func(c Config) Window {
		return newUniqueBatch(c, true, c.Params[1].Int, nil)
	})
	unique("timeBatch", "timeBatch(key, span time [, start int|long])", 3, false, checkUniqueTimeBatch, func(c Config) Window {
		return newUniqueBatch(c, false, 0, c.Params[1:])
	})
	unique("firstTimeBatch", "firstTimeBatch(key, span time [, start int|long])", 3, false, checkUniqueTimeBatch, func(c Config) Window {
		return newUniqueBatch(c, true, 0, c.Params[1:])
	})
	unique("timeLengthBatch", "timeLengthBatch(key, span time [, start int|long], n int)", 4, false, func(p []Param) error {
		if err := arity(p, 3, 4); err != nil {
			return err
		}
		if err := checkUniqueTimeBatch(p[:len(p)-1]); err != nil {
			return err
		}
		return checkSize(p, len(p)-1, 1)
	}, func(c Config) Window {
		last := len(c.Params) - 1
		return newUniqueBatch(c, false, c.Params[last].Int, c.Params[1:last])
	})
	unique("externalTimeBatch", "externalTimeBatch(key, attribute long, span time [, start] [, timeout time] [, replaceTimestamp bool])",
		6, false, checkUniqueExternal, newUniqueExternal)
}

func checkUniqueTimeBatch(p []Param) error {
	if err := arity(p, 2, 3); err != nil {
		return err
	}
	if err := checkSpan(p, 1); err != nil {
		return err
	}
	if len(p) > 2 && !p[2].constantTime() {
		return fmt.Errorf("parameter 3: expected a constant start in ms, found %s", p[2].describe())
	}
	return nil
}

func newUnique(c Config) Window { return newUniqueRows(c, "unique:ever", len(c.Params)) }

func newUniqueRows(c Config, name string, keys int) *unique {
	w := &unique{keys: keyer{config: c, params: paramsFrom(c, 0)[:keys]}, rows: newKeyedRows(c, keyRow, 0)}
	w.keyedState = newKeyedState(name, c.Env, nil, w.rows)
	w.check = func() error {
		if n := w.rows.len(); w.size > 0 && n > w.size {
			return fmt.Errorf("%d keys, and its size is %d", n, w.size)
		}
		return nil
	}
	return w
}

// unique keeps one row of each key: the latest, which displaces the one before it, or the
// first ever. With a size, a new key displaces the row that has not changed for longest.
type unique struct {
	untimed
	keyedState
	keys  keyer
	rows  *keyedRows
	first bool // the first row of a key stays
	size  int  // of keys; 0: no limit
	chunk []Row
}

func (w *unique) Add(in []Row, emit Emit) {
	w.settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		key := w.keys.of(r)
		x := w.rows.byKey[string(key)]
		if x != nil && w.first {
			continue
		}
		if x == nil && w.size > 0 && w.rows.len() == w.size {
			oldest := w.rows.first
			w.chunk = append(w.chunk, w.rows.expired(oldest, w.env.Now))
			w.rows.remove(oldest)
		}
		if x != nil {
			w.chunk = append(w.chunk, w.rows.expired(x, w.env.Now))
			w.rows.move(x, r)
		} else {
			w.rows.add(key, r)
		}
		w.chunk = append(w.chunk, r)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Empty implements Window.
func (w *unique) Empty() bool { return w.rows.len() == 0 }

func newUniqueTime(c Config) Window {
	w := &uniqueTime{span: c.Params[1].Int, keys: keyer{config: c, params: []int{0}}, rows: newKeyedRows(c, keyRow, 1)}
	w.keyedState = newKeyedState("unique:time", c.Env, nil, w.rows)
	w.check = w.checkTimers
	return w
}

// uniqueTime keeps the latest row of each key for span ms by its own time.
type uniqueTime struct {
	keyedState
	span   int64
	keys   keyer
	rows   *keyedRows // beside each: the number of its timer
	timers Heap[uniqueTimer, *uniqueTimer]
	chunk  []Row
}

// uniqueTimer is when a row leaves. The row may have been displaced: then it has another
// number.
type uniqueTimer struct {
	at     int64
	number uint64
	row    *keyedRow
}

// Before orders timers by time, then by arrival.
func (t *uniqueTimer) Before(o *uniqueTimer) bool {
	return t.at < o.at || t.at == o.at && t.number < o.number
}

func (w *uniqueTime) Add(in []Row, emit Emit) {
	w.settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		w.expire()
		key := w.keys.of(r)
		x := w.rows.byKey[string(key)]
		if x != nil {
			w.chunk = append(w.chunk, w.rows.expired(x, w.env.Now))
			w.rows.move(x, r)
		} else {
			x = w.rows.add(key, r)
		}
		x.beside[0] = w.env.NextSeq()
		w.await(x)
		w.chunk = append(w.chunk, r)
	}
	emit(w.chunk)
}

// await adds a timer. Those of displaced rows are removed once they are many.
func (w *uniqueTime) await(x *keyedRow) {
	const few = 64
	if len(w.timers) > 2*w.rows.len()+few {
		w.arm()
		return
	}
	w.timers.Push(uniqueTimer{later(w.rows.row(x, Current).TS, w.span), x.number, x})
}

// arm makes the timers of all rows.
func (w *uniqueTime) arm() {
	clear(w.timers)
	w.timers = w.timers[:0]
	for x := w.rows.first; x != nil; x = x.nxt {
		w.timers.Push(uniqueTimer{later(w.rows.row(x, Current).TS, w.span), x.number, x})
	}
}

func (w *uniqueTime) Due() (int64, uint64, bool) {
	for len(w.timers) > 0 {
		if t := w.timers[0]; t.row.number == t.number {
			return t.at, t.row.beside[0], true
		}
		w.timers.Pop()
	}
	return 0, 0, false
}

func (w *uniqueTime) Fire(emit Emit) {
	w.settle()
	w.chunk = shrink.Reset(w.chunk)
	w.expire()
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

func (w *uniqueTime) expire() {
	for at, _, ok := w.Due(); ok && at <= w.env.Now; at, _, ok = w.Due() {
		x := w.timers.Pop().row
		w.chunk = append(w.chunk, w.rows.expired(x, w.env.Now))
		w.rows.remove(x)
		x.number = 0
	}
}

func (w *uniqueTime) checkTimers() error {
	w.arm()
	for x := w.rows.first; x != nil; x = x.nxt {
		if x.beside[0] == 0 {
			return fmt.Errorf("row %d has no timer", x.number)
		}
	}
	return nil
}

// Reset implements state.Source.
func (w *uniqueTime) Reset() {
	w.timers = nil
	w.keyedState.Reset()
}

// Empty implements Window.
func (w *uniqueTime) Empty() bool { return w.rows.len() == 0 }
