package window

import "github.com/eventflux/eventflux/shared/lang/shrink"

func init() {
	Register(Spec{
		Name:    "length",
		Version: "1.0.0",
		Usage:   "length(n int)",
		Adapt:   adaptAny,
		Check: func(p []Param) error {
			if err := arity(p, 1, 1); err != nil {
				return err
			}
			return checkSize(p, 0, 0)
		},
		New: func(c Config) Window {
			w := &length{env: c.Env, size: int(c.Params[0].Int), queue: NewQueue(c, c.Params[0].Int)}
			w.Retained = NewRetained(w.env, &w.queue, func(f *Fields) {
				f.Require(w.queue.Len() <= w.size, "%d rows, and its size is %d", w.queue.Len(), w.size)
			})
			return w
		},
	})
}

// length keeps the last size rows. A row that finds it full displaces the oldest.
type length struct {
	untimed
	Retained
	env   *Env
	size  int
	queue Queue
	chunk []Row
}

func (w *length) Add(in []Row, emit Emit) {
	w.queue.Settle()
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		if w.size == 0 {
			w.chunk = append(w.chunk, r, Row{B: r.B, I: r.I, TS: w.env.Now, Kind: Expired}, Row{Kind: Reset})
			continue
		}
		if w.queue.Len() == w.size {
			w.chunk = w.queue.expire(w.chunk, w.env.Now)
		}
		w.chunk = append(w.chunk, r)
		w.queue.Push(r)
	}
	emit(w.chunk)
}

// untimed is embedded by windows that never wait for the clock.
type untimed struct{}

func (untimed) Due() (int64, uint64, bool) { return 0, 0, false }
func (untimed) Fire(Emit)                  {}

// Empty implements Window.
func (w *length) Empty() bool { return w.queue.Len() == 0 }
