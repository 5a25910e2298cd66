package window

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/cron"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "cron",
		Bounded: true,
		Version: "1.0.0",
		Usage:   "cron('schedule')",
		Check: func(p []Param) error {
			if err := arity(p, 1, 1); err != nil {
				return err
			}
			if !p[0].Constant() || p[0].Type != event.String {
				return fmt.Errorf("parameter 1: expected a constant schedule such as '0 0 12 * * ?', found %s", p[0].describe())
			}
			if _, err := cron.Parse(p[0].Text); err != nil {
				return fmt.Errorf("parameter 1: the schedule '%s': %w", p[0].Text, err)
			}
			return nil
		},
		New: newCronBatch,
	})
}

func newCronBatch(c Config) Window {
	schedule, err := cron.Parse(c.Params[0].Text)
	if err != nil {
		panic(fmt.Sprintf("window cron: %v", err)) // Check has read it
	}
	w := &cronBatch{env: c.Env, schedule: schedule, batch: newBatch(c, blockRowsMax/2)}
	w.Retained = w.batch.kept(w.env, func(f *Fields) {
		f.Int(&w.due)
		f.Uint(&w.seq)
		f.Require(w.seq != 0 || w.batch.queue.Len() == 0, "%d rows without a timer", w.batch.queue.Len())
	})
	return w
}

// cronBatch collects rows, and emits them together at each instant of a schedule. The batch
// before expires then, too; if nothing was collected, it waits.
type cronBatch struct {
	Retained
	env      *Env
	schedule *cron.Schedule
	batch    batch
	due      int64  // when the batch that is being collected comes out
	seq      uint64 // orders this window among those with the same schedule; 0: no row has come
	chunk    []Row
}

func (w *cronBatch) Add(in []Row, emit Emit) {
	w.batch.queue.Settle()
	if at, _, waiting := w.Due(); waiting && at <= w.env.Now {
		w.flush(emit) // at the same ms, timers go before events
	}
	if w.batch.collected() == 0 {
		due, ok := w.schedule.Next(w.env.Now)
		if !ok { // the schedule has ended, and nothing would ever come out
			w.env.Dropped += uint64(len(in))
			return
		}
		w.due = due
	}
	if w.seq == 0 {
		w.seq = w.env.NextSeq()
	}
	for _, r := range in {
		w.batch.queue.Push(r)
	}
}

func (w *cronBatch) Due() (int64, uint64, bool) { return w.due, w.seq, w.batch.collected() > 0 }

func (w *cronBatch) Fire(emit Emit) {
	w.batch.queue.Settle()
	w.flush(emit)
}

func (w *cronBatch) flush(emit Emit) {
	w.chunk = w.batch.replace(shrink.Reset(w.chunk), w.env.Now)
	emit(w.chunk)
}

// Bounds implements Bounded: a batch has the time from one instant of the schedule to the next.
func (w *cronBatch) Bounds() (start, end int64, begun bool) {
	start, begun = w.schedule.Previous(w.due)
	return start, w.due, begun
}

// Empty implements Window.
func (w *cronBatch) Empty() bool { return w.seq == 0 }
