package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
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
	return checkExternalBatch(p, 0)
}

// checkExternalBatch checks the parameters of batches by an attribute, which is parameter at.
func checkExternalBatch(p []Param, at int) error {
	if err := checkClock(p, at); err != nil {
		return err
	}
	if err := checkSpan(p, at+1); err != nil {
		return err
	}
	if last := len(p) - 1; last > at+1 && p[last].Constant() && p[last].Type == event.Bool {
		p = p[:last]
	}
	start, timeout := at+2, at+3
	if len(p) > start && !p[start].constantTime() && (p[start].Constant() || p[start].Type != event.Long) {
		return fmt.Errorf("parameter %d: expected a start, a constant in ms or an attribute of type long, found %s", start+1, p[start].describe())
	}
	if len(p) > timeout && (!p[timeout].constantTime() || p[timeout].Int < 0) {
		return fmt.Errorf("parameter %d: expected a constant timeout such as 5 sec, found %s", timeout+1, p[timeout].describe())
	}
	if len(p) > timeout+1 {
		return checkFlag(p, timeout+1)
	}
	return nil
}

func newExternalTimeBatch(c Config) Window {
	w := &externalTimeBatch{env: c.Env, refused: c.Refused, keep: c.Expired, batch: newBatch(c, blockRowsMax/2)}
	w.configure(c.Params)
	w.Retained = w.batch.kept(w.env, w.clockFields)
	return w
}

// externalTimeBatch collects rows into batches by an attribute that is the clock. A batch
// comes out when a row past its end arrives, however many periods that row skips. With a
// timeout it also comes out once the engine's clock has moved on by the timeout. If it
// grows later, it comes out again, complete.
type externalTimeBatch struct {
	Retained
	externalClock
	env     *Env
	refused func(Row)
	keep    bool // expired rows are wanted

	batch batch // the rows emitted last: of the batch before, or of this one if flushed
	chunk []Row
	bounds
}

func (w *externalTimeBatch) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	if at, _, waiting := w.Due(); waiting && at <= w.env.Now {
		w.expireTimeout(emit) // at the same ms, timers go before events
	}
	for _, r := range in {
		clock := &r.B.Cols[w.attr]
		if clock.IsNull(int(r.I)) || !w.begin(w.env, r, clock.Ints[r.I]) {
			w.env.drop(r, w.refused)
			continue
		}
		t := clock.Ints[r.I]
		w.largest = max(w.largest, t)
		w.skipIdle(w.env.Now)
		if t >= w.until {
			w.flush(emit)
			w.flushed = false
			w.until = w.boundary(w.largest)
			w.arm(w.env)
		}
		w.batch.queue.Push(r)
		if w.replace {
			own := w.batch.queue.Row(w.batch.queue.Tail()-1, Current)
			own.B.Cols[w.attr].Ints[own.I] = w.until
		}
	}
}

// flush emits the batch. The first time, it emits [expired rows of the batch before, reset,
// rows]; again, if more rows have come, with its own rows expiring first.
func (w *externalTimeBatch) flush(emit Emit) {
	w.chunk = shrink.Reset(w.chunk)
	again := w.flushed
	w.bounds.set(w.until, w.span)
	if w.batch.collected() == 0 && again {
		return
	}
	q := &w.batch.queue
	if w.keep {
		for n := q.Head(); n < w.batch.start; n++ {
			r := q.Row(n, Expired)
			r.TS = w.largest
			w.chunk = append(w.chunk, r)
		}
	}
	if !again {
		for q.Head() < w.batch.start {
			q.Pop()
		}
	}
	if q.Len() > 0 {
		w.chunk = append(w.chunk, Row{Kind: Reset})
	}
	for n := q.Head(); n < q.Tail(); n++ {
		w.chunk = append(w.chunk, q.Row(n, Current))
	}
	w.batch.start = q.Tail()
	if !w.keep && w.timeout == 0 {
		for q.Len() > 0 {
			q.Pop()
		}
	}
	q.reportChanges(w.batch.start)
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
