package window

func init() {
	Register(Spec{
		Name:  "time",
		Usage: "time(span time)",
		Check: func(p []Param) error {
			if err := arity(p, 1, 1); err != nil {
				return err
			}
			return checkSpan(p, 0)
		},
		New: func(c Config) Window {
			return &timeWindow{env: c.Env, span: c.Params[0].Int, queue: NewQueue(c, blockRowsMax/2)}
		},
	})
}

// timeWindow keeps rows for span ms by their own timestamps: a row lives in
// [TS, TS+span). Rows leave in the order in which they came, so one that is older
// than a row before it waits for that one.
type timeWindow struct {
	env    *Env
	span   int64
	queue  Queue
	timers timers
	chunk  []Row
}

func (w *timeWindow) Add(in []Row, emit Emit) {
	w.queue.Settle()
	w.chunk = w.chunk[:0]
	for _, r := range in {
		w.expire()
		w.chunk = append(w.chunk, r)
		w.queue.Push(r)
		w.timers.schedule(later(r.TS, w.span), w.env)
	}
	emit(w.chunk)
}

func (w *timeWindow) expire() {
	for w.queue.Len() > 0 && later(w.queue.Row(w.queue.Head(), Expired).TS, w.span) <= w.env.Now {
		w.chunk = w.queue.expire(w.chunk, w.env.Now)
	}
}

func (w *timeWindow) Due() (int64, uint64, bool) { return w.timers.first() }

func (w *timeWindow) Fire(emit Emit) {
	w.queue.Settle()
	w.timers.pop()
	w.chunk = w.chunk[:0]
	w.expire()
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// timers are the pending timers of one window. Only a due time later than all
// before it is scheduled, so the first is always the next.
type timers struct {
	pending []timer
	gone    int // pending[:gone] have fired
	last    int64
	any     bool
}

type timer struct {
	at  int64
	seq uint64
}

func (t *timers) schedule(at int64, env *Env) {
	if t.any && at <= t.last {
		return
	}
	t.last, t.any = at, true
	if t.gone > 0 && len(t.pending) == cap(t.pending) {
		t.pending = t.pending[:copy(t.pending, t.pending[t.gone:])]
		t.gone = 0
	}
	t.pending = append(t.pending, timer{at, env.NextSeq()})
}

func (t *timers) first() (int64, uint64, bool) {
	if t.gone == len(t.pending) {
		return 0, 0, false
	}
	f := t.pending[t.gone]
	return f.at, f.seq, true
}

func (t *timers) pop() {
	t.gone++
	if t.gone == len(t.pending) {
		t.pending, t.gone = t.pending[:0], 0
	}
}
