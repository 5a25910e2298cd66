package processor

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// replica is the state of a task in one attempt, restored from a checkpoint and moved on by the
// frames of the log. An owner and a standby are built on it.
type replica struct {
	program
	generation checkpoint.Generation
	created    time.Time // of the log's JetStream stream
	decoder    frame.Decoder
	reader     *wal.Reader
	start      checkpoint.Start // of the generation: it has no results up to there; zero: none
	ahead      bool             // the start is after the barrier of the checkpoint
	held       bool             // the task stops at the start
	standsBy   bool             // another task owns the partition
	saver      *saver           // nil without checkpoints
	progress   *progress
}

// read returns the next record of the log. If the log was trimmed for a newer checkpoint, the
// task restarts from that one: it may be a standby that lagged. A standby that reaches a hole
// restarts too.
func (r *replica) read(ctx context.Context) (wal.Record, error) {
	record, err := r.reader.Next(ctx)
	var trimmed *wal.TrimmedError
	var gap *wal.GapError
	if errors.As(err, &trimmed) || errors.As(err, &gap) && r.standsBy {
		err = fmt.Errorf("%w: %w", errOvertaken, err)
	}
	return record, err
}

// applyFrame applies one frame; its results are the engine's.
func (r *replica) applyFrame(ctx context.Context, record wal.Record) (f *frame.Frame, done engine.Applied, err error) {
	defer r.service.working(r.task, record.Seq)()
	faultpoint.ReachFrame(r.plan.Name, r.partition, record.Seq)
	if f, err = r.decoder.Decode(record.Data); err == nil {
		switch {
		case f.Kind == frame.Deploy:
			done, err = r.applyControl(ctx, r.saver, record.Seq, f)
		case record.Seq == r.start.Sequence && r.start.Event > 0:
			done, err = r.applyStart(record.Seq, f)
		default:
			done, err = r.core.Apply(record.Seq, f)
		}
	}
	if err != nil {
		err = fmt.Errorf("log sequence %d: %w", record.Seq, err)
	}
	var limit *engine.LimitError
	if errors.As(err, &limit) {
		err = fmt.Errorf("%w; nothing of this frame was published; %s", err, pastLimit(r.plan.Name))
	}
	return f, done, err
}

// caught turns a panic into an error.
func caught(seq uint64, err *error) {
	if cause := recover(); cause != nil {
		*err = fmt.Errorf("log sequence %d: panic: %v; please report it with this stack:\n%s", seq, cause, debug.Stack())
	}
}

// pastLimit returns what an operator can do about an app that exceeds one of its limits.
func pastLimit(app string) string {
	return fmt.Sprintf("eventflux recover %[1]s --skip SEQ goes on without the frame; else change the app or raise the limit, and deploy it again: eventflux app rm %[1]s, then eventflux app deploy", app)
}

// applyStart applies the frame where the generation starts. Only events after the start have
// results, and none of the frame if the task is held.
func (r *replica) applyStart(seq uint64, f *frame.Frame) (engine.Applied, error) {
	until := engine.Until{Step: func(s engine.Step) {
		if s.Event > 0 && s.Event <= r.start.Event {
			r.published.filterUntil(position{seq, rowsOf(r.core.Outputs())})
		}
	}}
	if r.held {
		until.Event = r.start.Event
	}
	done, err := r.core.ApplyUntil(seq, f, &until)
	return done.Applied, err
}

func rowsOf(outputs []engine.Output) (n uint64) {
	for _, o := range outputs {
		n += uint64(o.To - o.From)
	}
	return n
}

// appendLate appends the late events of frame seq to a batch, without those that belong to
// the generation before. Their positions are those of events, from 1.
func (r *replica) appendLate(p *messageBatch, seq uint64, late []engine.Late) {
	for _, e := range late {
		if seq < r.start.Sequence || seq == r.start.Sequence && (r.start.Event == 0 || e.Event <= r.start.Event) {
			continue
		}
		start := len(p.bytes)
		p.bytes = rowjson.AppendObject(p.bytes, e.Rows, e.Row)
		p.messages = append(p.messages, message{
			subject: natsconn.DLQSubject(r.plan.Name, e.Stream.Name), start: start, end: len(p.bytes),
			at: position{seq, e.Event}, ts: e.Rows.TS[e.Row], reason: e.Text(),
		})
	}
}
