package scratch

import (
	"context"
	"errors"
	"fmt"
	"io"

	"eventflux/shared/engine"
	"eventflux/shared/frame"
	"eventflux/shared/siddhiql"
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
		f, err := d.Decode(record.Data)
		if err != nil {
			return done, fmt.Errorf("log sequence %d: %w", record.Seq, err)
		}
		rows, whole := before(f, plan.Playback, record.Seq, to)
		if rows == 0 && !whole {
			done.Reached = true
			return done, nil
		}
		done.At = Position{Sequence: record.Seq}
		done.Frames, done.Events, done.Bytes = done.Frames+1, done.Events+rows, done.Bytes+int64(len(record.Data))
		if !whole {
			done.At.Event, done.Reached = rows, true
			return done, nil
		}
	}
	done.Reached = true
	return done, nil
}

// before counts the events of a frame up to the target, as engine.Task.ApplyUntil does.
func before(f *frame.Frame, playback bool, seq uint64, to Target) (rows uint64, whole bool) {
	all := uint64(f.Rows())
	if !to.Timed {
		if seq == to.Sequence && to.Event > 0 {
			return min(to.Event, all), false
		}
		return all, true
	}
	if f.Kind != frame.Events {
		return 0, playback || f.Stamp <= to.Time
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
			at := engine.TimeOf(&f.Blocks[run.Block], next[run.Block], next[run.Block]+size, playback)
			if at > to.Time {
				return rows, false
			}
			rows += uint64(size)
		}
	}
	return rows, playback || f.Stamp <= to.Time
}
