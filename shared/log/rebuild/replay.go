package rebuild

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// Log gives the frames of a log one after the other, from where it was opened, and
// io.EOF where no more are wanted.
type Log interface {
	Next(ctx context.Context) (wal.Record, error)
}

// Bounded is a log up to a sequence, although it may go on.
func Bounded(r *wal.Reader, end uint64) Log { return &bounded{r, end} }

type bounded struct {
	reader *wal.Reader
	end    uint64
}

func (b *bounded) Next(ctx context.Context) (wal.Record, error) {
	if b.reader.Position() > b.end {
		return wal.Record{}, io.EOF
	}
	return b.reader.Next(ctx)
}

// Watch has callbacks of a replay. Each may be nil.
type Watch struct {
	// Frame is called after each frame, and may take the outputs.
	Frame func(seq uint64, f *frame.Frame, r engine.Reached, bytes int)
	// Step is called after each chunk of events, and after time that passed. It makes a replay
	// slower.
	Step func(seq uint64, f *frame.Frame, s engine.Step)
}

// RecordError says that a record of the log cannot be applied.
type RecordError struct {
	Sequence uint64
	Err      error
}

func (e *RecordError) Error() string { return fmt.Sprintf("log sequence %d: %v", e.Sequence, e.Err) }
func (e *RecordError) Unwrap() error { return e.Err }

// Try applies a record and returns why that does not work, a panic included. After an
// error the task must not be used any more.
func (t *Task) Try(record wal.Record) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("panic: %v", cause)
		}
	}()
	_, err = t.one(record, Target{Position: Position{Sequence: record.Seq}}, Watch{}, &Done{})
	return err
}

// Step applies the record after the newest one, and lets w take what follows from it. After an
// error the task must not be used any more.
func (t *Task) Step(record wal.Record, w Watch) error {
	_, err := t.one(record, Target{Position: Position{Sequence: record.Seq}}, w, &Done{})
	if err != nil {
		return &RecordError{record.Seq, err}
	}
	return nil
}

// Done says what a replay was.
type Done struct {
	// At is the place that was reached. At an instant it is the last event before it.
	At     Position
	Frames uint64
	Events uint64
	Bytes  int64
	// Reached: the target is at or before the end of the log.
	Reached bool
	// Versions are those of the deploy frames, in order. Only Scan lists them.
	Versions []uint32
}

// Replay applies the log from the task's place up to the target. It fails where the log
// is damaged, and where there is no such target.
func (t *Task) Replay(ctx context.Context, log Log, to Target, w Watch) (Done, error) {
	var done Done
	defer context.AfterFunc(ctx, t.Core.Interrupt)()
	for {
		if !to.Timed && t.at.Compare(to.Position) >= 0 {
			done.Reached = true
			break
		}
		record, err := log.Next(ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return done, err
		}
		more, err := t.one(record, to, w, &done)
		if errors.Is(err, engine.ErrInterrupted) {
			return done, context.Cause(ctx)
		}
		if err != nil {
			return done, &RecordError{record.Seq, err}
		}
		if !more {
			done.Reached = true
			break
		}
	}
	if to.Timed && !t.Plan().Playback {
		if err := t.Advance(to.Time); err != nil {
			return done, err
		}
		if w.Step != nil {
			w.Step(t.at.Sequence, nil, engine.Step{})
		}
		t.Core.ResetOutputs()
	}
	done.At = t.at
	return done, nil
}

// Advance lets time pass after the newest frame. The results wait in Core.
func (t *Task) Advance(to int64) error {
	t.Core.BeginFrame()
	if err := t.Core.Try(func() { t.Core.Advance(to) }); err != nil {
		return fmt.Errorf("behind log sequence %d: %w", t.at.Sequence, err)
	}
	return nil
}

// one applies a frame, or the part of it before the target; false if the target is
// reached with it.
func (t *Task) one(record wal.Record, to Target, w Watch, done *Done) (bool, error) {
	if record.Seq != t.at.Sequence+1 || t.at.Event > 0 {
		return false, fmt.Errorf("it does not follow %s", t.at)
	}
	if record.Skipped {
		t.Core.Skip(record.Seq, &t.decoder, record.Data)
		t.at = Position{Sequence: record.Seq}
		return to.Timed || t.at.Compare(to.Position) < 0, nil
	}
	f, err := t.decoder.Decode(record.Data)
	if err != nil {
		return false, err
	}
	r, err := t.apply(record.Seq, f, to, w)
	if err != nil {
		return false, err
	}
	if t.Core.Upgraded() != nil {
		t.list()
	}
	done.Bytes += int64(len(record.Data))
	if !r.Whole && r.Rows == 0 {
		return false, nil // it is past the target
	}
	t.at = Position{Sequence: record.Seq}
	if !r.Whole {
		t.at.Event = r.Rows
	}
	done.Frames++
	done.Events += uint64(r.Events)
	if w.Frame != nil {
		w.Frame(record.Seq, f, r, len(record.Data))
	}
	t.Core.ResetOutputs()
	return r.Whole && (to.Timed || t.at.Compare(to.Position) < 0), nil
}

func (t *Task) apply(seq uint64, f *frame.Frame, to Target, w Watch) (engine.Reached, error) {
	faultpoint.ReachFrame(t.Plan().Name, t.partition, seq)
	u := engine.Until{Timed: to.Timed, Time: to.Time}
	last := !to.Timed && seq == to.Sequence && to.Event > 0
	if last {
		if err := holds(f, to.Event); err != nil {
			return engine.Reached{}, err
		}
		u.Event = to.Event
	}
	if w.Step != nil {
		u.Step = func(s engine.Step) { w.Step(seq, f, s) }
	}
	if !last && !to.Timed && w.Step == nil {
		applied, err := t.Core.Apply(seq, f)
		return engine.Reached{Applied: applied, Rows: uint64(f.Rows()), Whole: true}, err
	}
	return t.Core.ApplyUntil(seq, f, &u)
}
