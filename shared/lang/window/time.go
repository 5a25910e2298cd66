package window

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "time",
		Version: "1.1.0",
		Usage:   "time(span time)",
		Adapt:   adaptAny,
		Check: func(p []Param) error {
			if err := arity(p, 1, 1); err != nil {
				return err
			}
			return checkSpan(p, 0)
		},
		New: newTime,
	})
	Register(Spec{
		Name:    "timeLength",
		Version: "1.0.0",
		Usage:   "timeLength(span time, n int)",
		Check: func(p []Param) error {
			if err := arity(p, 2, 2); err != nil {
				return err
			}
			if err := checkSpan(p, 0); err != nil {
				return err
			}
			return checkSize(p, 1, 1)
		},
		New: newTime,
	})
}

func newTime(c Config) Window {
	w := &timeWindow{env: c.Env, span: c.Params[0].Int, queue: NewQueue(c, blockRowsMax/2), late: newLateRows(c)}
	w.queue.tagged, w.queue.shiftID = true, 1
	if len(c.Params) > 1 {
		w.size = int(c.Params[1].Int)
	}
	w.Retained = NewRetained(w.env, &w.queue, w.fields)
	return w
}

// timeWindow keeps rows for span ms by their own timestamps, in any order of arrival: a
// row lives in [TS, TS+span). Rows that come in timestamp order are in the queue. A row
// that is older than the last one in the queue is in late. The first row of each timestamp
// (with a size: each row) has the number of its timer beside it. If two rows leave at the same ms, the one in the
// queue came first. With a size, a row that finds the window full displaces the row that would
// leave first.
type timeWindow struct {
	Retained
	env   *Env
	span  int64
	size  int // 0: no limit
	queue Queue
	late  lateRows
	old   bool // the state being loaded has version 1.0
	chunk []Row
}

func (w *timeWindow) Add(in []Row, emit Emit) {
	w.settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		w.expire()
		if w.size > 0 && w.queue.Len()+len(w.late.heap) == w.size {
			w.expireFirst()
		}
		w.chunk = append(w.chunk, r)
		w.push(r, 0)
	}
	emit(w.chunk)
}

func (w *timeWindow) settle() {
	w.queue.Settle()
	w.late.settle()
}

// push keeps a row. seq is the number of its timer, if it has one already.
func (w *timeWindow) push(r Row, seq uint64) {
	q := &w.queue
	last := r.TS - 1
	if q.Len() > 0 {
		last = q.Row(q.Tail()-1, Current).TS
	}
	switch {
	case r.TS == last && q.Len() > 0 && w.size == 0:
		q.pushTagged(r, 0)
		return
	case seq == 0:
		seq = w.env.NextSeq()
	}
	if q.Len() > 0 && r.TS < last {
		w.late.push(r, w.due(r.TS), seq)
	} else {
		q.pushTagged(r, seq)
	}
}

// due returns when a row of that timestamp leaves.
func (w *timeWindow) due(ts int64) int64 { return later(ts, w.span) }

// expire removes the rows that are due, in the order of their due times.
func (w *timeWindow) expire() {
	for at, _, ok := w.first(); ok && at <= w.env.Now; at, _, ok = w.first() {
		w.expireFirst()
	}
}

func (w *timeWindow) expireFirst() {
	if _, late, _ := w.first(); late {
		w.chunk = append(w.chunk, w.late.pop(w.env.Now))
		return
	}
	w.chunk = w.queue.expire(w.chunk, w.env.Now)
}

// first returns when the first row leaves, and whether it is a late one; false for none.
func (w *timeWindow) first() (at int64, late, ok bool) {
	if ok = w.queue.Len() > 0; ok {
		at = w.due(w.queue.Row(w.queue.Head(), Expired).TS)
	}
	if l := w.late.heap; len(l) > 0 && (!ok || l[0].at < at) {
		return l[0].at, true, true
	}
	return at, false, ok
}

func (w *timeWindow) Due() (int64, uint64, bool) {
	at, late, ok := w.first()
	switch {
	case !ok:
		return 0, 0, false
	case late:
		return at, w.late.rows[w.late.heap[0].number].seq, true
	}
	return at, w.queue.tag(w.queue.Head()), true
}

func (w *timeWindow) Fire(emit Emit) {
	w.settle()
	w.chunk = shrink.Reset(w.chunk)
	w.expire()
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// fields are the window's fields, apart from its queue. Version 1.0 has more: the last time
// that a timer was asked for, and timers whose rows had left. Nothing needs those.
func (w *timeWindow) fields(f *Fields) {
	f.Uint(&w.late.next)
	if !f.reading || len(f.bytes) == 0 || w.size > 0 {
		return
	}
	w.old, w.late.next = true, 0
	var number int64
	n := 0
	f.Int(&number)
	f.Count(&n)
	for ; n > 0 && f.err == nil; n-- {
		f.Int(&number)
		f.Int(&number)
	}
}

const keyLate = 'l'

func lateKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyLate), number)
}

// Changed implements state.Source.
func (w *timeWindow) Changed(visit func(key []byte)) {
	w.Retained.Changed(visit)
	var key [9]byte
	if !w.late.tracked {
		for _, l := range w.late.heap {
			visit(lateKey(key[:0], l.number))
		}
	}
	for _, number := range w.late.touched {
		visit(lateKey(key[:0], number))
	}
	w.late.touched, w.late.tracked = w.late.touched[:0], true
}

// Keys implements state.Source.
func (w *timeWindow) Keys(visit func(key []byte)) {
	w.Retained.Keys(visit)
	var key [9]byte
	for i := range w.late.heap {
		visit(lateKey(key[:0], w.late.heap[i].number))
	}
}

// Append implements state.Source. The entry of a late row holds the number of its timer,
// and the row.
func (w *timeWindow) Append(dst, key []byte) ([]byte, bool) {
	if len(key) != 9 || key[0] != keyLate {
		return w.Retained.Append(dst, key)
	}
	r, ok := w.late.rows[binary.BigEndian.Uint64(key[1:])]
	if !ok {
		return dst, false
	}
	return w.late.pool.append(binary.AppendUvarint(dst, r.seq), w.env, []int32{r.place}), true
}

// Reset implements state.Source.
func (w *timeWindow) Reset() {
	w.old = false
	w.late.reset()
	w.Retained.Reset()
}

// Put implements state.Source.
func (w *timeWindow) Put(key, value []byte) error {
	if len(key) != 9 || key[0] != keyLate {
		return w.Retained.Put(key, value)
	}
	w.loaded.Lock() // others may put at the same time
	defer w.loaded.Unlock()
	f := Fields{bytes: value, reading: true}
	var seq uint64
	f.Uint(&seq)
	if f.err != nil {
		return fmt.Errorf("window time: late row: %w", f.err)
	}
	places, rest, err := w.late.pool.read(f.bytes, w.env, 1)
	if err != nil || len(places) != 1 || len(rest) > 0 {
		return fmt.Errorf("window time: late row: %d rows, %d bytes after them: %w", len(places), len(rest), err)
	}
	w.late.insert(binary.BigEndian.Uint64(key[1:]), w.due(w.late.pool.rows.TS[places[0]]), lateRow{seq, places[0]})
	return nil
}

// Ready implements state.Source.
func (w *timeWindow) Ready() error {
	if err := w.Retained.Ready(); err != nil {
		return err
	}
	if w.old {
		w.order()
	}
	w.late.touched, w.late.tracked = nil, true
	q := &w.queue
	for n := q.Head() + 1; n < q.Tail(); n++ {
		if before, ts := q.Row(n-1, Expired).TS, q.Row(n, Expired).TS; ts < before || (ts == before && w.size == 0) != (q.tag(n) == 0) {
			return fmt.Errorf("window time: row %d of %d ms with the timer %d follows one of %d ms", n, ts, q.tag(n), before)
		}
	}
	if q.Len() > 0 && q.tag(q.Head()) == 0 {
		return fmt.Errorf("window time: row %d has no timer", q.Head())
	}
	for number, r := range w.late.rows {
		if number >= w.late.next || r.seq == 0 {
			return fmt.Errorf("window time: late row %d with the timer %d; the next is %d", number, r.seq, w.late.next)
		}
	}
	if n := q.Len() + len(w.late.rows); w.size > 0 && n > w.size {
		return fmt.Errorf("window timeLength: %d rows, and its size is %d", n, w.size)
	}
	return nil
}

// order takes the rows of version 1.0, which left in order of arrival. A row without a
// timer was late, or as old as the one before it: any number will do for its timer.
func (w *timeWindow) order() {
	w.old = false
	old := w.queue
	size := uint64(1) << old.shift
	first := (old.head + size - 1) &^ (size - 1) // where a block starts
	w.queue = old.emptied(first)
	for n := old.Head(); n < old.Tail(); n++ {
		w.push(old.Row(n, Current), max(old.tag(n), 1))
	}
	w.Retained.head, w.Retained.tail = w.queue.head, w.queue.tail
}

// Bytes implements state.Source.
func (w *timeWindow) Bytes() int64 { return w.Retained.Bytes() + w.late.bytes() }

// Empty implements Window.
func (w *timeWindow) Empty() bool { return w.queue.Len() == 0 && len(w.late.heap) == 0 }
