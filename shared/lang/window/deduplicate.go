package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name: "unique:deduplicate", Version: "1.0.0", Usage: "unique:deduplicate(key, span time)",
		Keys: []int{0}, Computed: true,
		Check: func(p []Param) error {
			if err := arity(p, 2, 2); err != nil {
				return err
			}
			if p[0].Constant() {
				return fmt.Errorf("parameter 1: expected a key such as an attribute, found %s", p[0].describe())
			}
			return checkSpan(p, 1)
		},
		New: func(c Config) Window {
			c.Used = nil // only the times of rows are kept
			w := &deduplicate{uniqueTime: *newUniqueTime(c).(*uniqueTime)}
			w.name = "unique:deduplicate"
			w.check = w.checkTimers
			return w
		},
	})
}

// deduplicate passes the first row of a key and drops others, until one comes that is more than
// span ms later by its own time. Nothing ever expires: a key is forgotten when the clock says
// that no row can be dropped for it any more.
type deduplicate struct{ uniqueTime }

func (w *deduplicate) Add(in []Row, emit Emit) {
	w.settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		key := w.keys.of(r)
		x := w.rows.byKey[string(key)]
		if x != nil && r.TS-w.rows.row(x, Current).TS <= w.span {
			continue
		}
		if x != nil {
			w.rows.move(x, r)
		} else {
			x = w.rows.add(key, r)
		}
		x.beside[0] = w.env.NextSeq()
		w.await(x)
		w.chunk = append(w.chunk, r)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Fire forgets the keys whose time is over. A row of that very ms would still be dropped.
func (w *deduplicate) Fire(Emit) {
	w.settle()
	for at, _, ok := w.Due(); ok && at <= w.env.Now; at, _, ok = w.Due() {
		x := w.timers.Pop().row
		w.rows.remove(x)
		x.number = 0
	}
}

// Due returns when the window can forget the first key: a row that comes span ms later is
// dropped, and one that comes then is not.
func (w *deduplicate) Due() (int64, uint64, bool) {
	at, seq, ok := w.uniqueTime.Due()
	return later(at, 1), seq, ok
}

// Each implements Searched: nothing is held.
func (w *deduplicate) Each(func(id uint64, r Row) bool) {}

// Follow implements Searched.
func (w *deduplicate) Follow(Follower) {}
