package engine

import (
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// Late is an event that is not applied, and no query reads its fault stream: it came too late
// to be applied in time order, or was written for another version of the app and does not fit
// the one in force.
type Late struct {
	Stream *siddhiql.Stream
	// Rows holds the event in row Row, until ResetOutputs.
	Rows *event.Batch
	Row  int
	// Clock is the app's clock when the event came, ms.
	Clock int64
	// Event is the number of the event in its frame, from 1. A task sets it.
	Event uint64
	// Reason says why the event is not applied, if it is not late.
	Reason string
}

// Text says why the event is not applied.
func (l *Late) Text() string {
	if l.Reason != "" {
		return l.Reason
	}
	return LateReason(l.Rows.TS[l.Row], l.Clock)
}

// orderEvents makes the engine apply events in time order.
func (e *Engine) orderEvents() {
	streams := e.waitingStreams()
	e.reorder = window.NewReorder(streams)
	e.faults = make([]*event.Batch, len(streams))
	e.lateRows = make([]*event.Batch, len(streams))
}

// waitingStreams returns the streams whose events can wait, by id; nil for the others.
func (e *Engine) waitingStreams() []*event.Schema {
	streams := make([]*event.Schema, len(e.plan.Streams))
	for i, s := range e.plan.Streams {
		if s.Defined {
			streams[i] = s.Schema
		}
	}
	return streams
}

// enter takes a chunk whose time is ms. It compares ms with the current clock, then the
// chunk waits for its time, then the clock moves.
func (e *Engine) enter(stream *siddhiql.Stream, b *event.Batch, from, to int, ms int64) {
	if _, began := e.reorder.Input(); began && ms < e.env.Now {
		e.tooLate(stream, b, from, to)
		return
	}
	now := before(e.reorder.Come(ms), e.plan.Lateness)
	if ms > max(now, e.env.Now) {
		e.reorder.Add(stream.ID, b, from, to, ms)
		e.advance(now)
		return
	}
	// Its time has come already, so it need not be copied.
	e.advance(ms)
	if e.waiting {
		e.begin(e.env.Now)
		e.advance(ms)
	}
	e.fromEvent(stream, e.sending(), ms)
	e.deliver(stream, b, from, to)
	e.advance(now)
}

// before returns ms minus span, or the least int64 on overflow. The span is not negative.
func before(ms, span int64) int64 {
	if ms < window.NoTime+span {
		return window.NoTime
	}
	return ms - span
}

// tooLate passes late events to the fault stream, or keeps them for the engine's caller. No
// time passes.
func (e *Engine) tooLate(stream *siddhiql.Stream, b *event.Batch, from, to int) {
	e.lateEvents += uint64(to - from)
	if f := stream.Fault; f != nil {
		if e.waiting && e.begin(e.env.Now) {
			e.advance(e.env.Now)
		}
		rows := e.faults[stream.ID]
		if rows == nil {
			rows = event.NewBatch(f.Schema)
			e.faults[stream.ID] = rows
		}
		rows.Reset()
		for i := from; i < to; i++ {
			e.appendFault(rows, b, i)
		}
		e.fromEvent(stream, e.sending(), b.TS[from])
		e.deliver(f, rows, 0, rows.Len())
		return
	}
	rows := e.lateRows[stream.ID]
	if rows == nil {
		rows = event.NewBatch(stream.Schema)
		e.lateRows[stream.ID] = rows
	}
	for i := from; i < to; i++ {
		rows.AppendRow(b, i)
		e.late = append(e.late, Late{Stream: stream, Rows: rows, Row: rows.Len() - 1, Clock: e.env.Now})
	}
}

// appendFault appends row i of b with the reason why it is not applied.
func (e *Engine) appendFault(rows, b *event.Batch, i int) {
	last := len(rows.Cols) - 1
	for c := range rows.Cols[:last] {
		rows.Cols[c].AppendFrom(&b.Cols[c], i)
	}
	rows.Cols[last].AppendText(strconv.Quote(LateReason(b.TS[i], e.env.Now)))
	rows.TS = append(rows.TS, b.TS[i])
}

// LateReason says why an event with time ms is late when the clock is at ms clock.
func LateReason(ms, clock int64) string {
	return "late: the event's time " + strconv.FormatInt(ms, 10) + " is before the app's clock " + strconv.FormatInt(clock, 10)
}

// Late returns the late events since ResetOutputs that no query reads, in order of arrival.
func (e *Engine) Late() []Late { return e.late }

func (e *Engine) resetLate() {
	for _, l := range e.late {
		l.Rows.Reset()
	}
	e.late = e.late[:0]
}

// Times counts events that did not arrive in time order, since the engine was made.
type Times struct {
	// OutOfOrder events came after an event with a later time and were applied
	// nevertheless, because the app has no lateness.
	OutOfOrder uint64
	// Late events came when the clock had already passed their time.
	Late uint64
	// Waiting events wait for the clock to reach their time.
	Waiting uint64
}

// Times returns the numbers of events that came out of order.
func (e *Engine) Times() Times {
	t := Times{OutOfOrder: e.outOfOrder, Late: e.lateEvents}
	if e.reorder != nil {
		t.Waiting = uint64(e.reorder.Rows())
	}
	return t
}

// Input returns the input clock in ms: the largest time that drove the app; false before
// the first event. Without lateness it is the app's clock.
func (e *Engine) Input() (ms int64, began bool) {
	if e.reorder == nil {
		return e.env.Now, e.env.Now != window.NoTime
	}
	return e.reorder.Input()
}
