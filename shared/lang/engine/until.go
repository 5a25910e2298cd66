package engine

import (
	"math"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// Until says where in a frame to stop, and who observes the steps. The zero value applies
// the whole frame.
type Until struct {
	// Event is the number of the last event to apply, from 1; 0: all events, and the time
	// that passes after the last one.
	Event uint64
	// Timed stops before the first event, tick or barrier that comes later than Time,
	// in ms of the task's clock.
	Timed bool
	Time  int64
	// Step, if not nil, is called after each step. It may take the outputs, and must not
	// keep what the step refers to.
	Step func(Step)
}

// Step is one chunk of events that was applied, or time that passed before or after it.
type Step struct {
	// Event is the number of the chunk's first event in its frame, from 1; 0: time passed.
	Event     uint64
	Stream    *siddhiql.Stream
	Batch     *event.Batch // as the log has them, perhaps in the form of an earlier version
	From, To  int
	Duplicate bool // its message id was seen before; nothing was done
}

// Reached says how far a frame was applied.
type Reached struct {
	Applied
	// Rows is the number of events up to the stop, including duplicates.
	Rows uint64
	// Whole: all of the frame was applied. Otherwise the next event is past the limit.
	Whole bool
}

// ApplyUntil applies as much of a frame as u says. If it stops before the end of the frame,
// the task has the state of that moment, and must not be given the rest. If u excludes the
// whole frame, the task does not change.
func (t *Task) ApplyUntil(seq uint64, f *frame.Frame, u *Until) (done Reached, err error) {
	if u.Timed && t.first(f) > u.Time {
		return Reached{}, nil
	}
	if fresh, err := t.check(seq, f); err != nil || !fresh {
		return Reached{Applied: Applied{Repeated: !fresh && err == nil}, Whole: true}, err
	}
	defer t.caught(&err)
	t.work.beginFrame()
	if f.Kind == frame.Events {
		done.Whole = t.applyUntil(f, u, &done)
		return done, nil
	}
	t.stamp = max(t.stamp, f.Stamp)
	if now, moves := t.moves(f); moves {
		t.pass(now, u)
	}
	if t.upgrade != nil {
		if err = t.bringInForce(seq); err == nil && u.Step != nil {
			u.Step(Step{})
		}
	}
	done.Whole = true
	return done, err
}

// first returns the time of the first step of a frame.
func (t *Task) first(f *frame.Frame) int64 {
	if f.HasClock {
		return ClockAt(f.Clock, t.plan)
	}
	if f.Kind != frame.Events {
		if t.plan.Playback {
			return t.env.Now // it does not move the clock
		}
		return f.Stamp
	}
	run := &f.Runs[0]
	to := 1
	if run.Chunk {
		to = run.Rows
	}
	return t.timeOf(&f.Blocks[run.Block], 0, to)
}

func (t *Task) timeOf(b *frame.Block, from, to int) int64 {
	return TimeOf(b, from, to, t.plan)
}

// TimeOf returns the ms that the app's clock moves to when the rows [from, to) of a block
// arrive together. In playback, their own timestamps decide, and records of a table that a KV
// bucket fills come at any time.
func TimeOf(b *frame.Block, from, to int, plan *siddhiql.Plan) int64 {
	if !plan.Playback {
		return slices.Max(b.Stamps()[from:to])
	}
	if siddhiql.HasRecords(b.Batch.Schema) {
		return math.MinInt64
	}
	return ClockAt(window.Latest(b.Batch, from, to), plan)
}

// ClockAt returns the app's clock when the input clock is at ms.
func ClockAt(ms int64, plan *siddhiql.Plan) int64 {
	if plan.Lateness == siddhiql.LatenessOff {
		return ms
	}
	return before(ms, plan.Lateness)
}

// applyUntil returns false if it stopped before the end of the frame.
func (t *Task) applyUntil(f *frame.Frame, u *Until, done *Reached) bool {
	for i := range f.Runs {
		run := &f.Runs[i]
		block := &f.Blocks[run.Block]
		from := t.next[run.Block]
		end := from + run.Rows
		t.next[run.Block] = end
		size := 1
		if run.Chunk {
			size = run.Rows
		}
		known, duplicate := false, false
		for ; from < end; from += size {
			if u.Event > 0 && done.Rows+uint64(size) > u.Event || u.Timed && t.timeOf(block, from, from+size) > u.Time {
				return false
			}
			t.arrive(block.Stamps()[from : from+size])
			if !known { // one id for all rows of the run
				known = true
				duplicate = run.ID != "" && t.seen(t.blocks[run.Block].stream.ID, run.ID)
				if duplicate {
					done.Duplicates++
				}
			}
			t.step(run, block, from, from+size, duplicate, u, done)
		}
	}
	return u.Event != done.Rows // the time after the last event must not pass
}

func (t *Task) step(run *frame.Run, block *frame.Block, from, to int, duplicate bool, u *Until, done *Reached) {
	first := done.Rows + 1
	done.Rows += uint64(to - from)
	b := &t.blocks[run.Block]
	now := t.timeOf(block, from, to)
	// Send would let time pass as well, but not as a step of its own. With lateness, time
	// passes after the event is taken in.
	switch {
	case b.records && t.plan.Playback:
	case duplicate && !t.plan.Playback, !duplicate && u.Step != nil && t.reorder == nil:
		t.pass(now, u)
	}
	if !duplicate {
		done.Events += to - from
		t.send(b, from, to-from, now, first)
	}
	if u.Step != nil {
		u.Step(Step{Event: first, Stream: b.stream, Batch: block.Batch, From: from, To: to, Duplicate: duplicate})
	}
}

// pass lets time pass, and reports it as a step.
func (t *Task) pass(now int64, u *Until) {
	t.Advance(now)
	if u.Step != nil {
		u.Step(Step{})
	}
}
