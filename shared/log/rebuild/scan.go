package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Scan finds where a replay would end, and counts what it would read, without applying
// anything: from is the place that the log was opened behind. When ctx ends before, it
// returns what was counted, and ctx's error.
func Scan(ctx context.Context, log Log, plan *siddhiql.Plan, from Position, to Target) (Done, error) {
	done := Done{At: from}
	var d frame.Decoder
	for to.Timed || done.At.Compare(to.Position) < 0 {
		record, err := log.Next(ctx)
		if errors.Is(err, io.EOF) {
			return done, nil
		}
		if err != nil {
			return done, err
		}
		if record.Skipped {
			done.At = Position{Sequence: record.Seq}
			continue
		}
		f, err := d.Decode(record.Data)
		if err != nil {
			return done, &RecordError{record.Seq, err}
		}
		rows, whole, err := before(f, plan, record.Seq, to)
		if err != nil {
			return done, &RecordError{record.Seq, err}
		}
		if rows == 0 && !whole {
			done.Reached = true
			return done, nil
		}
		done.At = Position{Sequence: record.Seq}
		done.Frames, done.Events, done.Bytes = done.Frames+1, done.Events+rows, done.Bytes+int64(len(record.Data))
		if f.Kind == frame.Deploy {
			done.Versions = append(done.Versions, f.Deploy.Number)
		}
		if !whole {
			done.At.Event, done.Reached = rows, true
			return done, nil
		}
	}
	done.Reached = true
	return done, nil
}

// before counts the events of a frame up to the target, as engine.Task.ApplyUntil does.
func before(f *frame.Frame, plan *siddhiql.Plan, seq uint64, to Target) (rows uint64, whole bool, err error) {
	all := uint64(f.Rows())
	if !to.Timed {
		if seq == to.Sequence && to.Event > 0 {
			return to.Event, false, holds(f, to.Event)
		}
		return all, true, nil
	}
	if f.HasClock {
		return 0, engine.ClockAt(f.Clock, plan) <= to.Time, nil
	}
	if f.Kind != frame.Events {
		return 0, plan.Playback || f.Stamp <= to.Time, nil
	}
	next := make([]int, len(f.Blocks))
	for i := range f.Runs {
		run := &f.Runs[i]
		size := 1
		if run.Chunk {
			size = run.Rows
		}
		end := next[run.Block] + run.Rows
		for ; next[run.Block] < end; next[run.Block] += size {
			at := engine.TimeOf(&f.Blocks[run.Block], next[run.Block], next[run.Block]+size, plan)
			if at > to.Time {
				return rows, false, nil
			}
			rows += uint64(size)
		}
	}
	return rows, true, nil
}

// ErrNoEvent is returned for a position that names an event which its frame does not
// hold, or one in the middle of a chunk. Name another position.
var ErrNoEvent = errors.New("no such event")

// holds checks that a state after an event of a frame exists.
func holds(f *frame.Frame, event uint64) error {
	if all := uint64(f.Rows()); event > all {
		return fmt.Errorf("%w: the frame holds %d events, and event %d was asked for", ErrNoEvent, all, event)
	}
	before := uint64(0)
	for i := range f.Runs {
		run := &f.Runs[i]
		end := before + uint64(run.Rows)
		if run.Chunk && before < event && event < end {
			return fmt.Errorf("%w: events %d to %d arrived together, and event %d is one of them; ask for %d, or for %d to have all of them",
				ErrNoEvent, before+1, end, event, before, end)
		}
		before = end
	}
	return nil
}
