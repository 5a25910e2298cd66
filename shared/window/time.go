package window

import (
	"fmt"
	"math"
)

func init() {
	Register(Spec{
		Name:    "time",
		Version: "1.0.0",
		Usage:   "time(span time)",
		Check: func(p []Param) error {
			if err := arity(p, 1, 1); err != nil {
				return err
			}
			return checkSpan(p, 0)
		},
		New: newTime,
	})
}

func newTime(c Config) Window {
	w := &timeWindow{env: c.Env, span: c.Params[0].Int, queue: NewQueue(c, blockRowsMax/2)}
	w.queue.tagged = true
	w.Kept = NewKept(w.env, &w.queue, func(f *Fields) {
		f.Bool(&w.any)
		f.Int(&w.last)
		w.overdueFields(f)
	})
	return w
}

// timeWindow keeps rows for span ms by their own timestamps: a row lives in
// [TS, TS+span). Rows leave in the order in which they came, so one that is older
// than a row before it waits for that one.
type timeWindow struct {
	Kept
	env   *Env
	span  int64
	queue Queue
	last  int64 // the latest time for which a timer was asked
	any   bool
	next  uint64 // no row before this one has a timer that is still to come
	// overdue are the timers whose rows have left before they went off, because
	// another row came at that very moment. They still go off, and may find rows.
	overdue []timer
	chunk   []Row
}

type timer struct {
	at  int64
	seq uint64
}

func (w *timeWindow) Add(in []Row, emit Emit) {
	w.queue.Settle()
	w.chunk = w.chunk[:0]
	for _, r := range in {
		w.expire(0)
		w.chunk = append(w.chunk, r)
		w.queue.pushTagged(r, w.schedule(r))
	}
	emit(w.chunk)
}

// schedule returns the number of the row's timer, or 0 if it needs none: one that
// is due no later than one before it finds its row gone.
func (w *timeWindow) schedule(r Row) uint64 {
	if at := later(r.TS, w.span); !w.any || at > w.last {
		w.last, w.any = at, true
		return w.env.NextSeq()
	}
	return 0
}

// expire lets the rows leave that are due. fired is the timer that has gone off;
// those of other rows that leave are still to come.
func (w *timeWindow) expire(fired uint64) {
	q := &w.queue
	for q.Len() > 0 {
		at := later(q.Row(q.Head(), Expired).TS, w.span)
		if at > w.env.Now {
			return
		}
		if seq := q.tag(q.Head()); seq != 0 && seq != fired {
			w.overdue = append(w.overdue, timer{at, seq})
		}
		w.chunk = q.expire(w.chunk, w.env.Now)
	}
}

// Due returns the first timer. They are in order: each is later than all that
// were asked for before it.
func (w *timeWindow) Due() (int64, uint64, bool) {
	if len(w.overdue) > 0 {
		return w.overdue[0].at, w.overdue[0].seq, true
	}
	for w.next = max(w.next, w.queue.Head()); w.next < w.queue.Tail(); w.next++ {
		if seq := w.queue.tag(w.next); seq != 0 {
			return later(w.queue.Row(w.next, Expired).TS, w.span), seq, true
		}
	}
	return 0, 0, false
}

func (w *timeWindow) Fire(emit Emit) {
	w.queue.Settle()
	_, seq, _ := w.Due()
	if len(w.overdue) > 0 {
		w.overdue = w.overdue[:copy(w.overdue, w.overdue[1:])]
	}
	w.chunk = w.chunk[:0]
	w.expire(seq)
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Ready implements state.Source. A timer is asked for where it is later than all
// before it; if that were not so, one would go off again and again.
func (w *timeWindow) Ready() error {
	if err := w.Kept.Ready(); err != nil {
		return err
	}
	q := &w.queue
	latest := int64(math.MinInt64)
	for n := q.Head(); n < q.Tail(); n++ {
		at := later(q.Row(n, Expired).TS, w.span)
		if !w.any || at > w.last || q.tag(n) != 0 && at <= latest && n > q.Head() {
			return fmt.Errorf("window time: row %d is due at %d, and the timers before it at %d, the last at %d", n, at, latest, w.last)
		}
		latest = max(latest, at)
	}
	for i := 1; i < len(w.overdue); i++ {
		if w.overdue[i].at < w.overdue[i-1].at {
			return fmt.Errorf("window time: a timer due at %d follows one due at %d", w.overdue[i].at, w.overdue[i-1].at)
		}
	}
	return nil
}

func (w *timeWindow) overdueFields(f *Fields) {
	n := len(w.overdue)
	f.Count(&n)
	if f.reading {
		w.overdue, w.next = nil, 0
	}
	for i := 0; i < n && f.err == nil; i++ {
		if f.reading {
			w.overdue = append(w.overdue, timer{})
		}
		f.Int(&w.overdue[i].at)
		f.Uint(&w.overdue[i].seq)
	}
}
