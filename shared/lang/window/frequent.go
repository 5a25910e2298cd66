package window

import (
	"cmp"
	"fmt"
	"math"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:     "frequent",
		Version:  "1.0.0",
		Usage:    "frequent(n int [, attribute]…)",
		Keys:     []int{1},
		MoreKeys: true,
		Check: func(p []Param) error {
			if err := arity(p, 1, keysMax); err != nil {
				return err
			}
			if err := checkSize(p, 0, 1); err != nil {
				return err
			}
			return checkAttributes(p, 1)
		},
		New: newFrequent,
	})
	Register(Spec{
		Name:     "lossyFrequent",
		Version:  "1.0.0",
		Usage:    "lossyFrequent(support number [, error number [, attribute]…])",
		Keys:     []int{2},
		MoreKeys: true,
		Check: func(p []Param) error {
			if err := arity(p, 1, keysMax); err != nil {
				return err
			}
			for i := range min(len(p), 2) {
				if err := checkShare(p, i); err != nil {
					return err
				}
			}
			return checkAttributes(p, 2)
		},
		New: newLossyFrequent,
	})
}

// keysMax is how many parameters a window with a list of keys takes.
const keysMax = 1000

func checkAttributes(p []Param, from int) error {
	for i := from; i < len(p); i++ {
		if p[i].Attr < 0 {
			return fmt.Errorf("parameter %d: expected an attribute, found %s", i+1, p[i].describe())
		}
	}
	return nil
}

// checkShare refuses parameter i unless it is a constant number above 0 and at most 1.
func checkShare(p []Param, i int) error {
	if !p[i].Constant() || !p[i].Type.Numeric() || p[i].Time {
		return fmt.Errorf("parameter %d: expected a constant number such as 0.1, found %s", i+1, p[i].describe())
	}
	if v := p[i].number(); !(v > 0 && v <= 1) {
		return fmt.Errorf("parameter %d: expected a number above 0 and at most 1, found %v", i+1, v)
	}
	return nil
}

// number returns the value of a constant number.
func (p Param) number() float64 {
	if p.Type.Class() == event.Reals {
		return p.Real
	}
	return float64(p.Int)
}

// paramsFrom lists the parameters from a number on.
func paramsFrom(c Config, from int) (list []int) {
	for i := from; i < len(c.Params); i++ {
		list = append(list, i)
	}
	return list
}

func newFrequent(c Config) Window {
	w := &frequent{size: int(c.Params[0].Int), keys: keyer{config: c, params: paramsFrom(c, 1)}}
	w.rows = newKeyedRows(c, keyRow, 1)
	w.keyedState = newKeyedState("frequent", c.Env, func(f *Fields) { f.Uint(&w.taken) }, w.rows)
	w.check = w.checkCounts
	return w
}

const keyRow = 'k'

// frequent keeps the last event of the keys that come often: the algorithm of J. Misra and D.
// Gries, Finding repeated elements, 1982. A new key that finds all counters in use takes 1 from
// each of them. That is one number for all: a counter is worth what is beside its row, less
// taken.
type frequent struct {
	untimed
	keyedState
	size   int
	keys   keyer
	rows   *keyedRows // beside each: its count
	taken  uint64
	levels map[uint64]map[*keyedRow]struct{} // rows by count; nil: not built yet
	gone   []*keyedRow
	chunk  []Row
}

func (w *frequent) Add(in []Row, emit Emit) {
	w.settle()
	w.build()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		w.put(w.keys.of(r), r)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

func (w *frequent) put(key []byte, r Row) {
	if x := w.rows.byKey[string(key)]; x != nil {
		delete(w.levels[x.beside[0]], x)
		w.drop(x.beside[0])
		x.beside[0]++
		w.level(x)
		w.rows.replace(x, r)
		w.chunk = append(w.chunk, r)
		return
	}
	if w.rows.len() == w.size {
		w.taken++
		w.expireNone()
		if w.rows.len() == w.size {
			return
		}
	}
	x := w.rows.add(key, r)
	x.beside[0] = w.taken + 1
	w.level(x)
	w.chunk = append(w.chunk, r)
}

// expireNone removes the rows whose counters are at 0, the oldest counters first.
func (w *frequent) expireNone() {
	w.gone = w.gone[:0]
	for x := range w.levels[w.taken] {
		w.gone = append(w.gone, x)
	}
	delete(w.levels, w.taken)
	slices.SortFunc(w.gone, func(a, b *keyedRow) int { return cmp.Compare(a.number, b.number) })
	for _, x := range w.gone {
		w.chunk = append(w.chunk, w.rows.expired(x, w.env.Now))
		w.rows.remove(x)
	}
	clear(w.gone)
}

func (w *frequent) level(x *keyedRow) {
	rows := w.levels[x.beside[0]]
	if rows == nil {
		rows = map[*keyedRow]struct{}{}
		w.levels[x.beside[0]] = rows
	}
	rows[x] = struct{}{}
}

func (w *frequent) drop(count uint64) {
	if len(w.levels[count]) == 0 {
		delete(w.levels, count)
	}
}

func (w *frequent) build() {
	if w.levels != nil {
		return
	}
	w.levels = map[uint64]map[*keyedRow]struct{}{}
	for x := w.rows.first; x != nil; x = x.nxt {
		w.level(x)
	}
}

func (w *frequent) checkCounts() error {
	w.levels = nil
	if w.rows.len() > w.size {
		return fmt.Errorf("%d keys, and it has %d counters", w.rows.len(), w.size)
	}
	for x := w.rows.first; x != nil; x = x.nxt {
		if x.beside[0] <= w.taken || x.beside[0] > rowNumberMax {
			return fmt.Errorf("row %d has the count %d, and %d were taken", x.number, x.beside[0], w.taken)
		}
	}
	return nil
}

// Reset implements state.Source.
func (w *frequent) Reset() {
	w.levels = nil
	w.keyedState.Reset()
}

// Empty implements Window.
func (w *frequent) Empty() bool { return w.rows.len() == 0 }

func newLossyFrequent(c Config) Window {
	support := c.Params[0].number()
	lossy := support / 10
	if len(c.Params) > 1 {
		lossy = c.Params[1].number()
	}
	w := &lossyFrequent{least: support - lossy, width: uint64(min(math.Ceil(1/lossy), rowNumberMax)), keys: keyer{config: c, params: paramsFrom(c, 2)}}
	w.rows = newKeyedRows(c, keyRow, 2)
	w.keyedState = newKeyedState("lossyFrequent", c.Env, func(f *Fields) { f.Uint(&w.total) }, w.rows)
	w.check = w.checkCounts
	return w
}

// lossyFrequent keeps the last event of the keys that have at least a share of all events: the
// algorithm of G. S. Manku and R. Motwani, Approximate frequency counts over data streams,
// 2002.
type lossyFrequent struct {
	untimed
	keyedState
	least float64 // the share that shows
	width uint64  // events of a bucket
	keys  keyer
	rows  *keyedRows // beside each: its count, and how many it may have missed
	total uint64     // events so far
	chunk []Row
}

func (w *lossyFrequent) Add(in []Row, emit Emit) {
	w.settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		w.put(w.keys.of(r), r)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

func (w *lossyFrequent) put(key []byte, r Row) {
	w.total++
	bucket := (w.total-1)/w.width + 1
	x := w.rows.byKey[string(key)]
	if x != nil {
		w.rows.replace(x, r)
		x.beside[0]++
	} else {
		x = w.rows.add(key, r)
		x.beside = [2]uint64{1, bucket - 1}
	}
	if float64(x.beside[0]) >= w.least*float64(w.total) {
		w.chunk = append(w.chunk, r)
	}
	if w.total%w.width != 0 {
		return
	}
	for x := w.rows.first; x != nil; {
		next := x.nxt
		if x.beside[0]+x.beside[1] <= bucket {
			w.chunk = append(w.chunk, w.rows.expired(x, w.env.Now))
			w.rows.remove(x)
		}
		x = next
	}
}

func (w *lossyFrequent) checkCounts() error {
	for x := w.rows.first; x != nil; x = x.nxt {
		if x.beside[0] == 0 || x.beside[0] > w.total || x.beside[1] > w.total {
			return fmt.Errorf("row %d has the count %d, and may have missed %d, of %d", x.number, x.beside[0], x.beside[1], w.total)
		}
	}
	return nil
}

// Empty implements Window. The number of events so far decides which keys show.
func (w *lossyFrequent) Empty() bool { return w.total == 0 }
