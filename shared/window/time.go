package window

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
	chunk []Row
}

func (w *timeWindow) Add(in []Row, emit Emit) {
	w.queue.Settle()
	w.chunk = w.chunk[:0]
	for _, r := range in {
		w.expire()
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

func (w *timeWindow) expire() {
	for w.queue.Len() > 0 && later(w.queue.Row(w.queue.Head(), Expired).TS, w.span) <= w.env.Now {
		w.chunk = w.queue.expire(w.chunk, w.env.Now)
	}
}

// Due returns the timer of the first row that has one. Timers are in order, for
// each is later than all before it, and when one goes off its row leaves.
func (w *timeWindow) Due() (int64, uint64, bool) {
	for w.next = max(w.next, w.queue.Head()); w.next < w.queue.Tail(); w.next++ {
		if seq := w.queue.tag(w.next); seq != 0 {
			return later(w.queue.Row(w.next, Expired).TS, w.span), seq, true
		}
	}
	return 0, 0, false
}

func (w *timeWindow) Fire(emit Emit) {
	w.queue.Settle()
	w.chunk = w.chunk[:0]
	w.expire()
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}
