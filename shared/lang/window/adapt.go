package window

import (
	"cmp"
	"errors"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// Successor is a window that can take over the rows of an older one of the same kind, with
// other parameters or for rows of another shape. It is implemented where Spec.Adapt is set.
type Successor interface {
	Window
	// TakeOver takes the state of old over. It is called once, on an empty window. convert
	// turns a row of old into one that the window can keep; its result is valid until the
	// next call. The old window is not used again.
	TakeOver(old Window, convert func(Row) Row)
	// Trim emits what follows at once from the take-over: rows that the window has no room
	// for leave it.
	Trim(emit Emit)
}

// Holding is a window that can tell which rows the aggregators after it hold, so that a new
// aggregator can catch up with the others.
type Holding interface {
	// Holds reports whether Held is complete.
	Holds() bool
	// Held calls visit with these rows, oldest first.
	Held(visit func(Row))
}

var (
	_ Successor = (*length)(nil)
	_ Successor = (*timeWindow)(nil)
	_ Successor = (*externalTime)(nil)
	_ Successor = (*lengthBatch)(nil)
	_ Successor = (*timeBatch)(nil)
	_ Successor = (*sorted)(nil)
)

func adaptAny(_, _ []Param) error { return nil }

// adaptBatch lets the size of a batch change, and nothing else.
func adaptBatch(old, next []Param) error {
	if !slices.Equal(old[1:], next[1:]) {
		return errors.New("only the size of its batches can change")
	}
	return nil
}

// adaptSort lets the size change, and nothing else.
func adaptSort(old, next []Param) error {
	same := func(a, b Param) bool { return a.Constant() == b.Constant() && a.Text == b.Text }
	if !slices.EqualFunc(old[1:], next[1:], same) {
		return errors.New("only its size can change, and the order cannot")
	}
	return nil
}

// each calls visit with the rows of a queue from number on.
func (q *Queue) each(number uint64, visit func(Row)) {
	for ; number < q.tail; number++ {
		visit(q.Row(number, Current))
	}
}

// TakeOver implements Successor.
func (w *length) TakeOver(old Window, convert func(Row) Row) {
	old.(*length).Held(func(r Row) { w.queue.Push(convert(r)) })
}

// Trim implements Successor.
func (w *length) Trim(emit Emit) {
	w.chunk = shrink.Reset(w.chunk)
	for w.queue.Len() > w.size {
		w.chunk = w.queue.expire(w.chunk, w.env.Now)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Holds implements Holding.
func (w *length) Holds() bool { return true }

// Held implements Holding.
func (w *length) Held(visit func(Row)) { w.queue.each(w.queue.head, visit) }

// TakeOver implements Successor. Timers keep their numbers.
func (w *timeWindow) TakeOver(old Window, convert func(Row) Row) {
	o := old.(*timeWindow)
	for n := o.queue.head; n < o.queue.tail; n++ {
		w.push(convert(o.queue.Row(n, Current)), o.queue.tag(n))
	}
	for _, number := range o.late.numbers() {
		l := o.late.rows[number]
		w.push(convert(o.late.pool.row(l.place, Current)), l.seq)
	}
}

// numbers lists the numbers of the rows.
func (l *lateRows) numbers() []uint64 {
	var list []uint64
	for _, t := range l.heap {
		list = append(list, t.number)
	}
	slices.Sort(list)
	return list
}

// Trim implements Successor: timers do what is to be done.
func (w *timeWindow) Trim(Emit) {}

// Holds implements Holding.
func (w *timeWindow) Holds() bool { return true }

// Held implements Holding.
func (w *timeWindow) Held(visit func(Row)) {
	w.queue.each(w.queue.head, visit)
	for _, number := range w.late.numbers() {
		visit(w.late.pool.row(w.late.rows[number].place, Current))
	}
}

// TakeOver implements Successor.
func (w *externalTime) TakeOver(old Window, convert func(Row) Row) {
	old.(*externalTime).Held(func(r Row) { w.queue.Push(convert(r)) })
}

// Trim implements Successor: rows leave when a newer one comes.
func (w *externalTime) Trim(Emit) {}

// Holds implements Holding.
func (w *externalTime) Holds() bool { return true }

// Held implements Holding.
func (w *externalTime) Held(visit func(Row)) { w.queue.each(w.queue.head, visit) }

// takeOver copies the batch that came out last, if it is to expire, and passes the rows that
// wait for the end of theirs to wait.
func (b *batch) takeOver(o *batch, keep, stream bool, convert func(Row) Row, wait func(Row)) {
	for n := o.queue.head; n < o.queue.tail; n++ {
		r := convert(o.queue.Row(n, Current))
		switch {
		case n >= o.start && !stream:
			wait(r)
		case keep:
			b.queue.Push(r)
			if n < o.start {
				b.start = b.queue.Tail()
			}
		}
	}
}

// held calls visit with the rows that the aggregators hold.
func (b *batch) held(stream bool, visit func(Row)) {
	for n := b.queue.head; n < b.queue.tail && (stream || n < b.start); n++ {
		visit(b.queue.Row(n, Current))
	}
}

// TakeOver implements Successor.
func (w *lengthBatch) TakeOver(old Window, convert func(Row) Row) {
	o := old.(*lengthBatch)
	w.seen = min(o.seen, w.size)
	w.waiting = event.NewBatch(w.batch.queue.schema)
	w.batch.takeOver(&o.batch, w.keep, w.stream, convert, func(r Row) {
		w.waiting.AppendSome(r.B, int(r.I), w.batch.queue.used)
		w.waiting.TS[w.waiting.Len()-1] = r.TS
	})
	if !w.stream {
		w.batch.start = w.batch.queue.Tail()
	}
}

// Trim implements Successor: rows that wait may be enough for some smaller batches.
func (w *lengthBatch) Trim(emit Emit) {
	rows := make([]Row, w.waiting.Len())
	for i := range rows {
		rows[i] = Row{B: w.waiting, I: int32(i), TS: w.waiting.TS[i]}
	}
	w.waiting = nil
	if len(rows) > 0 {
		w.Add(rows, emit)
	}
}

// Holds implements Holding. Aggregators start again with each batch.
func (w *lengthBatch) Holds() bool { return !w.stream || w.keep }

// Held implements Holding.
func (w *lengthBatch) Held(visit func(Row)) { w.batch.held(w.stream, visit) }

// TakeOver implements Successor. The present batch ends when it was to end, unless a fixed
// start decides.
func (w *timeBatch) TakeOver(old Window, convert func(Row) Row) {
	o := old.(*timeBatch)
	w.batch.takeOver(&o.batch, w.keep, w.stream, convert, w.batch.queue.Push)
	w.seen, w.end, w.seq = o.seen, o.end, o.seq
	if w.anchored && w.seq != 0 && w.end > w.env.Now {
		w.end = later(w.env.Now, w.span-floorMod(w.env.Now-w.start, w.span))
	}
}

// Trim implements Successor: timers do what is to be done.
func (w *timeBatch) Trim(Emit) {}

// Holds implements Holding. Aggregators start again with each batch.
func (w *timeBatch) Holds() bool { return !w.stream || w.keep }

// Held implements Holding.
func (w *timeBatch) Held(visit func(Row)) { w.batch.held(w.stream, visit) }

// TakeOver implements Successor.
func (w *sorted) TakeOver(old Window, convert func(Row) Row) {
	w.chunk = shrink.Reset(w.chunk)
	old.(*sorted).Held(func(r Row) { w.put(w.pool.put(convert(r))) })
}

// Trim implements Successor.
func (w *sorted) Trim(emit Emit) {
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Holds implements Holding.
func (w *sorted) Holds() bool { return true }

// Held implements Holding.
func (w *sorted) Held(visit func(Row)) {
	came := slices.Clone(w.seats)
	slices.SortFunc(came, func(a, b seat) int { return cmp.Compare(a.came, b.came) })
	for _, s := range came {
		visit(w.pool.row(s.place, Current))
	}
}
