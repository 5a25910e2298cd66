package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	Register(Spec{
		Name:    "externalTimeBatch",
		Resets:  true,
		Bounded: true,
		Version: "1.0.0",
		Usage:   "externalTimeBatch(attribute long, span time [, start] [, timeout time] [, replaceTimestamp bool])",
		Check:   checkExternalTimeBatch,
		New:     newExternalTimeBatch,
	})
}

func checkExternalTimeBatch(p []Param) error {
	if err := arity(p, 2, 5); err != nil {
		return err
	}
	if err := checkClock(p, 0); err != nil {
		return err
	}
	if err := checkSpan(p, 1); err != nil {
		return err
	}
	if last := len(p) - 1; last > 1 && p[last].Constant() && p[last].Type == event.Bool {
		p = p[:last]
	}
	if len(p) > 2 && !p[2].constantTime() && (p[2].Constant() || p[2].Type != event.Long) {
		return fmt.Errorf("parameter 3: expected a start, a constant in ms or an attribute of type long, found %s", p[2].describe())
	}
	if len(p) > 3 && (!p[3].constantTime() || p[3].Int < 0) {
		return fmt.Errorf("parameter 4: expected a constant timeout such as 5 sec, found %s", p[3].describe())
	}
	if len(p) > 4 {
		return checkFlag(p, 4)
	}
	return nil
}

func newExternalTimeBatch(c Config) Window {
	p := c.Params
	w := &externalTimeBatch{env: c.Env, refused: c.Refused, attr: p[0].Attr, span: p[1].Int, start: -1, keep: c.Expired, batch: newBatch(c, blockRowsMax/2)}
	if last := p[len(p)-1]; last.Constant() && last.Type == event.Bool {
		w.replace = last.Int != 0
		p = p[:len(p)-1]
	}
	if len(p) > 2 {
		w.start, w.anchor, w.anchored = p[2].Attr, p[2].Int, p[2].Constant()
	}
	if len(p) > 3 {
		w.timeout = p[3].Int
	}
	w.Kept = w.batch.kept(w.env, func(f *Fields) {
		f.Bool(&w.begun)
		f.Int(&w.anchor)
		f.Int(&w.end)
		f.Int(&w.largest)
		f.Bool(&w.flushed)
		f.Int(&w.due)
		f.Uint(&w.seq)
	})
	return w
}

// externalTimeBatch collects rows into batches by an attribute that is the clock. A batch
// comes out when a row past its end arrives, however many periods that row skips. With a
// timeout it also comes out once the engine's clock has moved on by the timeout. If it
// grows later, it comes out again, complete.
type externalTimeBatch struct {
	Kept
	env      *Env
	refused  func(Row)
	attr     int
	span     int64
	start    int  // attribute of the first row that sets the anchor; -1: none
	anchored bool // the anchor is a constant
	timeout  int64
	replace  bool // the attribute becomes the end of the batch
	keep     bool // expired rows are wanted

	batch   batch // the rows emitted last: of the batch before, or of this one if flushed
	begun   bool
	anchor  int64  // boundaries are congruent to it, modulo span
	end     int64  // of this batch
	largest int64  // value of the attribute so far
	flushed bool   // this batch came out by timeout
	due     int64  // of the timeout
	seq     uint64 // orders it
	chunk   []Row
	bounds
}

func (w *externalTimeBatch) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	if at, _, waiting := w.Due(); waiting && at <= w.env.Now {
		w.expireTimeout(emit) // at the same ms, timers go before events
	}
	for _, r := range in {
		clock := &r.B.Cols[w.attr]
		if clock.IsNull(int(r.I)) || !w.begin(r, clock.Ints[r.I]) {
			w.env.drop(r, w.refused)
			continue
		}
		t := clock.Ints[r.I]
		w.largest = max(w.largest, t)
		w.skipIdle()
		if t >= w.end {
			w.flush(emit)
			w.flushed = false
			w.end = w.boundary(w.largest)
			w.arm()
		}
		w.batch.queue.Push(r)
		if w.replace {
			own := w.batch.queue.Row(w.batch.queue.Tail()-1, Current)
			own.B.Cols[w.attr].Ints[own.I] = w.end
		}
	}
}

// begin fixes the boundaries with the first row; it cannot if the row's start is null.
func (w *externalTimeBatch) begin(r Row, t int64) bool {
	if w.begun {
		return true
	}
	switch {
	case w.anchored:
		w.end = w.boundary(t)
	case w.start >= 0:
		start := &r.B.Cols[w.start]
		if start.IsNull(int(r.I)) {
			return false
		}
		w.anchor = start.Ints[r.I]
		w.end = later(w.anchor, w.span)
	default:
		w.anchor, w.end = t, later(t, w.span)
	}
	w.begun, w.largest = true, t
	w.arm()
	return true
}

// boundary returns the first boundary after t.
func (w *externalTimeBatch) boundary(t int64) int64 {
	return later(t, w.span-floorMod(t-w.anchor, w.span))
}

func (w *externalTimeBatch) arm() {
	if due := later(w.env.Now, w.timeout); w.timeout > 0 && (due != w.due || w.seq == 0) {
		w.due, w.seq = due, w.env.NextSeq()
	}
}

// skipIdle moves the timeout past the times when it had nothing to do.
func (w *externalTimeBatch) skipIdle() {
	if now := w.env.Now; w.timeout > 0 && w.due <= now {
		w.due = later(now, w.timeout-(now-w.due)%w.timeout)
	}
}

// flush emits the batch. The first time, it emits [expired rows of the batch before, reset,
// rows]; again, if more rows have come, with its own rows expiring first.
func (w *externalTimeBatch) flush(emit Emit) {
	w.chunk = w.chunk[:0]
	again := w.flushed
	w.bounds.set(w.end, w.span)
	if w.batch.collected() == 0 && again {
		return
	}
	q := &w.batch.queue
	if w.keep {
		for n := q.Head(); n < w.batch.mark; n++ {
			r := q.Row(n, Expired)
			r.TS = w.largest
			w.chunk = append(w.chunk, r)
		}
	}
	if !again {
		for q.Head() < w.batch.mark {
			q.Pop()
		}
	}
	if q.Len() > 0 {
		w.chunk = append(w.chunk, Row{Kind: Reset})
	}
	for n := q.Head(); n < q.Tail(); n++ {
		w.chunk = append(w.chunk, q.Row(n, Current))
	}
	w.batch.mark = q.Tail()
	if !w.keep && w.timeout == 0 {
		for q.Len() > 0 {
			q.Pop()
		}
	}
	q.tell(w.batch.mark)
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

func (w *externalTimeBatch) Due() (int64, uint64, bool) {
	return w.due, w.seq, w.timeout > 0 && w.batch.collected() > 0
}

func (w *externalTimeBatch) Fire(emit Emit) {
	w.batch.queue.Settle()
	w.expireTimeout(emit)
}

func (w *externalTimeBatch) expireTimeout(emit Emit) {
	w.flush(emit)
	w.flushed = true
	w.due = later(w.due, w.timeout)
}

// Empty implements Window. The first row decides the boundaries of all batches.
func (w *externalTimeBatch) Empty() bool { return !w.begun }
