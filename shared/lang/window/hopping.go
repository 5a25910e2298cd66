package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "hopping",
		Bounded: true,
		Version: "1.0.0",
		Usage:   "hopping(span time, step time)",
		Check: func(p []Param) error {
			if err := arity(p, 2, 2); err != nil {
				return err
			}
			for i := range p {
				if err := checkSpan(p, i); err != nil {
					return err
				}
			}
			if p[1].Int > p[0].Int {
				return fmt.Errorf("parameter 2: the step of %d ms is longer than the span of %d ms, so some events would be in no batch", p[1].Int, p[0].Int)
			}
			return nil
		},
		New: newHopping,
	})
}

func newHopping(c Config) Window {
	w := &hopping{env: c.Env, span: c.Params[0].Int, step: c.Params[1].Int, keep: c.Expired, batch: newBatch(c, blockRowsMax/2)}
	w.batch.queue.tagged = true
	w.Retained = w.batch.kept(w.env, func(f *Fields) {
		f.Int(&w.end)
		f.Uint(&w.seq)
		f.Require(w.seq != 0 || w.batch.queue.Len() == 0, "%d rows without a boundary", w.batch.queue.Len())
	})
	return w
}

// hopping emits a batch at every boundary, step ms apart: the rows that have come in the span
// before it. If the step is shorter than the span, a row is in several batches. As in a
// timeBatch, the first row sets the first boundary, a step later, and all others follow at
// equal distances.
type hopping struct {
	Retained
	env        *Env
	span, step int64
	keep       bool // expired rows are wanted
	// batch has the rows of the batch that came out last and, from its start on, those that
	// have come since. Beside each row is when it came. If expired rows are not wanted, rows
	// leave it as soon as they are in no later batch.
	batch batch
	end   int64  // the next boundary, once a row has set it
	seq   uint64 // orders this window among those with the same boundary; 0: no boundary yet
	chunk []Row
	bounds
}

func (w *hopping) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	if at, _, waiting := w.Due(); waiting && at <= w.env.Now {
		w.flush(emit) // at the same ms, timers go before events
	}
	now := w.env.Now
	switch {
	case w.seq == 0:
		w.end, w.seq = later(now, w.step), w.env.NextSeq()
	case w.end <= now:
		w.end = later(now, w.step-floorMod(now-w.end, w.step))
	}
	for _, r := range in {
		w.batch.queue.pushTagged(r, timeTag(now))
	}
}

// timeTag and tagTime write a time as the number beside a row.
func timeTag(ms int64) uint64  { return uint64(ms)<<1 ^ uint64(ms>>63) }
func tagTime(tag uint64) int64 { return int64(tag>>1) ^ -int64(tag&1) }

func (w *hopping) Due() (int64, uint64, bool) { return w.end, w.seq, w.batch.queue.Len() > 0 }

func (w *hopping) Fire(emit Emit) {
	w.batch.queue.Settle()
	w.flush(emit)
}

// flush emits the batch that ends now. Rows that have come before it starts are in no batch
// any more.
func (w *hopping) flush(emit Emit) {
	q := &w.batch.queue
	w.chunk = shrink.Reset(w.chunk)
	if w.keep {
		for n := q.Head(); n < w.batch.start; n++ {
			r := q.Row(n, Expired)
			r.TS = w.env.Now
			w.chunk = append(w.chunk, r)
		}
	}
	w.dropBefore(w.end)
	if q.Len() > 0 {
		w.chunk = append(w.chunk, Row{Kind: Reset})
	}
	for n := q.Head(); n < q.Tail(); n++ {
		w.chunk = append(w.chunk, q.Row(n, Current))
	}
	w.batch.start = q.Tail()
	w.bounds.set(w.end, w.span)
	w.end = later(w.end, w.step)
	if !w.keep {
		w.dropBefore(w.end)
	}
	q.reportChanges(w.batch.start)
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// dropBefore removes the rows that a batch which ends at that time does not have.
func (w *hopping) dropBefore(end int64) {
	q := &w.batch.queue
	for q.Len() > 0 && later(tagTime(q.tag(q.Head())), w.span) < end {
		q.Pop()
	}
	w.batch.start = max(w.batch.start, q.Head())
}

// Empty implements Window. A boundary that was set once decides all that follow.
func (w *hopping) Empty() bool { return w.seq == 0 }
