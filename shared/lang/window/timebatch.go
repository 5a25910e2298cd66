package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "timeBatch",
		Resets:  true,
		Bounded: true,
		Version: "1.0.0",
		Usage:   "timeBatch(span time [, start int|long] [, streamCurrent bool])",
		Adapt:   adaptBatch,
		Check:   checkTimeBatch,
		New:     newTimeBatch,
	})
}

func checkTimeBatch(p []Param) error {
	if err := arity(p, 1, 3); err != nil {
		return err
	}
	if err := checkSpan(p, 0); err != nil {
		return err
	}
	if len(p) == 2 && p[1].Constant() && p[1].Type == event.Bool {
		return nil
	}
	if len(p) > 1 && !p[1].constantTime() {
		return fmt.Errorf("parameter 2: expected a constant start in ms, or true or false, found %s", p[1].describe())
	}
	if len(p) > 2 {
		return checkFlag(p, 2)
	}
	return nil
}

func newTimeBatch(c Config) Window {
	w := &timeBatch{env: c.Env, span: c.Params[0].Int, keep: c.Expired, batch: newBatch(c, blockRowsMax/2)}
	for _, p := range c.Params[1:] {
		if p.Type == event.Bool {
			w.stream = p.Int != 0
		} else {
			w.start, w.anchored = p.Int, true
		}
	}
	w.Retained = w.batch.kept(w.env, func(f *Fields) {
		f.Count(&w.seen)
		f.Require(w.stream || w.seen == 0, "%d rows have passed, and rows do not pass at once", w.seen)
		f.Int(&w.end)
		f.Uint(&w.seq)
	})
	w.batch.passes(w.stream)
	return w
}

// timeBatch collects rows and emits them together every span ms. The first row sets the
// first boundary, and the others follow at equal distances forever: an idle period moves
// none of them. It costs nothing either, because timers are only set while there is
// something to emit or to expire.
type timeBatch struct {
	Retained
	env      *Env
	span     int64
	start    int64 // anchored: boundaries are congruent to it, modulo span
	anchored bool
	keep     bool // expired rows are wanted
	stream   bool // rows pass at once; the boundary only says when they expire
	batch    batch
	seen     int    // streaming: rows of this batch, kept or not
	end      int64  // the next boundary, once a row has set it
	seq      uint64 // orders this window among those with the same boundary; 0: no boundary yet
	chunk    []Row
	bounds
}

func (w *timeBatch) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	// A boundary at this very moment goes first, although its timer has not fired yet: rows
	// that come now, from a timer of an earlier query, belong to the next batch.
	if at, _, waiting := w.Due(); waiting && at <= w.env.Now {
		w.flush(emit)
	}
	w.bound()
	if w.stream {
		w.seen += len(in)
		if w.keep {
			w.push(in)
		}
		w.chunk = append(shrink.Reset(w.chunk), in...)
		w.bounds.set(w.end, w.span)
		emit(w.chunk)
		return
	}
	w.push(in)
}

func (w *timeBatch) push(in []Row) {
	for _, r := range in {
		w.batch.queue.Push(r)
	}
}

// bound sets end to the first boundary after the clock.
func (w *timeBatch) bound() {
	now := w.env.Now
	switch {
	case w.seq != 0 && w.end > now:
	case w.seq != 0:
		w.end = later(now, w.span-floorMod(now-w.end, w.span))
	case w.anchored:
		w.end = later(now, w.span-floorMod(now-w.start, w.span))
	default:
		w.end = later(now, w.span)
	}
	if w.seq == 0 {
		w.seq = w.env.NextSeq()
	}
}

// floorMod returns a modulo m in [0, m).
func floorMod(a, m int64) int64 {
	if r := a % m; r < 0 {
		return r + m
	}
	return a % m
}

func (w *timeBatch) Due() (int64, uint64, bool) {
	waiting := w.seen > 0 || w.batch.collected() > 0 || w.keep && w.batch.emitted() > 0
	return w.end, w.seq, waiting
}

func (w *timeBatch) Fire(emit Emit) {
	w.batch.queue.Settle()
	w.flush(emit)
}

// flush ends the batch at its boundary.
func (w *timeBatch) flush(emit Emit) {
	w.chunk = shrink.Reset(w.chunk)
	switch {
	case w.stream:
		w.chunk = w.batch.expireAll(w.chunk, w.env.Now)
		w.chunk = append(w.chunk, Row{Kind: Reset})
		w.seen = 0
	case w.batch.collected() > 0:
		w.chunk = w.batch.flush(w.chunk, w.env.Now, w.keep)
	default:
		w.chunk = w.batch.expireEmitted(w.chunk, w.env.Now)
	}
	w.bounds.set(w.end, w.span)
	w.end = later(w.end, w.span)
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// Empty implements Window. A boundary that was set once decides all that follow.
func (w *timeBatch) Empty() bool { return w.seq == 0 }
