package window

import "github.com/eventflux/eventflux/shared/lang/shrink"

func init() {
	Register(Spec{
		Name:    "delay",
		Version: "1.0.0",
		Usage:   "delay(span time)",
		Check: func(p []Param) error {
			if err := arity(p, 1, 1); err != nil {
				return err
			}
			return checkSpan(p, 0)
		},
		New: func(c Config) Window {
			w := &delay{env: c.Env, span: c.Params[0].Int, queue: NewQueue(c, blockRowsMax/2)}
			w.queue.tagged = true
			w.Retained = NewRetained(w.env, &w.queue, nil)
			return w
		},
	})
}

// delay holds rows back: each comes out as a current row, span ms after its own time. Rows
// keep their order: one that is due waits for those before it. Nothing ever expires. Beside
// each row is the number of its timer.
type delay struct {
	Retained
	env   *Env
	span  int64
	queue Queue
	chunk []Row
}

func (w *delay) Add(in []Row, emit Emit) {
	w.queue.Settle()
	for _, r := range in {
		w.queue.pushTagged(r, w.env.NextSeq())
	}
	w.release(emit)
}

func (w *delay) Due() (int64, uint64, bool) {
	if w.queue.Len() == 0 {
		return 0, 0, false
	}
	head := w.queue.Head()
	return later(w.queue.Row(head, Current).TS, w.span), w.queue.tag(head), true
}

func (w *delay) Fire(emit Emit) {
	w.queue.Settle()
	w.release(emit)
}

// release emits the rows that are due as one chunk.
func (w *delay) release(emit Emit) {
	w.chunk = shrink.Reset(w.chunk)
	for at, _, ok := w.Due(); ok && at <= w.env.Now; at, _, ok = w.Due() {
		r := w.queue.Row(w.queue.Head(), Current)
		r.TS = w.env.Now
		w.queue.Pop()
		w.chunk = append(w.chunk, r)
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Ready implements state.Source.
func (w *delay) Ready() error {
	if err := w.Retained.Ready(); err != nil {
		return err
	}
	return w.queue.checkTags("delay")
}

// Empty implements Window.
func (w *delay) Empty() bool { return w.queue.Len() == 0 }
