package window

import "github.com/eventflux/eventflux/shared/lang/shrink"

func init() {
	Register(Spec{
		Name:    "batch",
		Resets:  true,
		Version: "1.0.0",
		Usage:   "batch([n int])",
		Check: func(p []Param) error {
			if err := arity(p, 0, 1); err != nil {
				return err
			}
			if len(p) == 0 {
				return nil
			}
			return checkSize(p, 0, 1)
		},
		New: func(c Config) Window {
			w := &chunkBatch{env: c.Env, keep: c.Expired, batch: newBatch(c, blockRowsMin)}
			if len(c.Params) > 0 {
				w.size = int(c.Params[0].Int)
			}
			w.Retained = w.batch.kept(w.env, func(f *Fields) {
				f.Bool(&w.begun)
				f.Require(w.batch.collected() == 0, "%d rows wait, and a batch comes at once", w.batch.collected())
			})
			return w
		},
	})
}

// chunkBatch makes a batch of each input chunk: the rows that come together also leave
// together, when the next ones come.
type chunkBatch struct {
	untimed
	Retained
	env   *Env
	keep  bool // expired rows are wanted
	size  int  // the rows of a piece; 0: the chunk is not cut
	begun bool // a batch has come
	batch batch
	chunk []Row
}

func (w *chunkBatch) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	w.chunk = w.batch.expireEmitted(shrink.Reset(w.chunk), w.env.Now)
	if w.keep {
		for _, r := range in {
			w.batch.queue.Push(r)
		}
		w.batch.start = w.batch.queue.Tail()
		w.batch.queue.reportChanges(w.batch.start)
	}
	for rest := in; len(rest) > 0; {
		n := len(rest)
		if w.size > 0 {
			n = min(n, w.size)
		}
		if w.begun {
			w.chunk = append(w.chunk, Row{Kind: Reset})
		}
		w.begun = true
		w.chunk = append(w.chunk, rest[:n]...)
		emit(w.chunk)
		w.chunk, rest = shrink.Reset(w.chunk), rest[n:]
	}
}

// Empty implements Window. The first batch of all is not preceded by a reset.
func (w *chunkBatch) Empty() bool { return !w.begun }
