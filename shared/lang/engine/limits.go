package engine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// Limits bound what an app may produce from its input. They belong to the deployment: two
// tasks with the same log and different limits would give different results.
type Limits struct {
	// EventRows is how many rows of all queries together may follow from one event, one
	// chunk of events or one timer.
	EventRows int64 `json:"event_rows_max,omitempty"`
	// FrameRows and FrameBytes are how many rows may follow from one frame of the log, and
	// how many bytes of memory they may take. The rows stay in memory until the whole frame
	// is applied.
	FrameRows  int64 `json:"frame_rows_max,omitempty"`
	FrameBytes int64 `json:"frame_bytes_max,omitempty"`
	// KeyBytes is the longest text that may be a key of a partition, a group or a session,
	// or a value that distinctCount counts.
	KeyBytes int64 `json:"key_bytes_max,omitempty"`
	// PartialMatches has no effect: processors limit partial matches. Deployments of earlier
	// builds have it.
	PartialMatches int64 `json:"partial_matches_max,omitempty"`
}

// DefaultLimits returns the limits of a deployment that sets none.
func DefaultLimits() Limits {
	return Limits{EventRows: 1_000_000, FrameRows: 16_000_000, FrameBytes: 1 << 30, KeyBytes: 4 << 10}
}

// OrDefault replaces each limit that is 0 by its default.
func (l Limits) OrDefault() Limits {
	d := DefaultLimits()
	return Limits{
		EventRows: cmp.Or(l.EventRows, d.EventRows), FrameRows: cmp.Or(l.FrameRows, d.FrameRows),
		FrameBytes: cmp.Or(l.FrameBytes, d.FrameBytes), KeyBytes: cmp.Or(l.KeyBytes, d.KeyBytes),
		PartialMatches: l.PartialMatches,
	}
}

// LimitError says that a frame needs more than the app's limits allow. The task that
// returns it has applied a part of the frame, and must not be used again.
type LimitError struct {
	Query   string // name of the query, with its number
	What    string // what there is too much of, with the limit
	Setting string // the setting of the limit
}

func (e *LimitError) Error() string {
	return fmt.Sprintf("%s: %s (setting %s)", e.Query, e.What, e.Setting)
}

// ErrInterrupted is returned by a task whose work was interrupted.
var ErrInterrupted = errors.New("interrupted while it applied a frame")

// The settings of the limits, as errors name them.
const (
	settingEventRows  = "limits.event_rows_max"
	settingFrameRows  = "limits.frame_rows_max"
	settingFrameBytes = "limits.frame_bytes_max"
	settingKeyBytes   = "limits.key_bytes_max"
)

// work counts what a frame leads to, and stops the frame when that is too much. It stops it
// by a panic with a *LimitError or ErrInterrupted, which Try turns into an error: rows pass
// through any number of queries, and none of them could continue.
type work struct {
	limits    Limits
	rows      int64 // that the event or timer may still produce
	share     int64 // the value of rows at its start
	frameRows int64 // that the frame may still produce, besides those in rows
	bytes     int64 // that the frame may still produce
	steps     int   // rows since the last check for an interrupt
	interrupt *atomic.Bool
	matches   *atomic.Int64 // partial matches of patterns
}

// stepsBetween is how many rows a query may process between two checks for an interrupt.
const stepsBetween = 4096

func newWork() work {
	w := work{limits: DefaultLimits(), interrupt: &atomic.Bool{}, matches: &atomic.Int64{}}
	w.beginFrame()
	return w
}

// beginFrame gives a frame its share.
func (w *work) beginFrame() {
	w.rows, w.frameRows, w.bytes = 0, w.limits.FrameRows, w.limits.FrameBytes
	w.begin()
}

// begin gives an event or a timer its share of what is left for the frame.
func (w *work) begin() {
	left := w.frameRows + w.rows
	w.rows = min(w.limits.EventRows, left)
	w.share, w.frameRows = w.rows, left-w.rows
}

// step counts rows that a query receives.
func (w *work) step(rows int) {
	if w.steps += rows + 1; w.steps >= stepsBetween {
		w.steps = 0
		if w.interrupt.Load() {
			panic(ErrInterrupted)
		}
	}
}

// Limit sets the app's limits, before the first row. A limit of 0 means the default.
func (e *Engine) Limit(l Limits) {
	e.work.limits = l.OrDefault()
	e.work.beginFrame()
}

// BeginFrame starts a new frame: the limits of a frame apply to what follows. A Task does
// this itself.
func (e *Engine) BeginFrame() { e.work.beginFrame() }

// Interrupt ends the frame that is being applied, or the next one, with ErrInterrupted.
// It may be called from any goroutine.
func (e *Engine) Interrupt() { e.work.interrupt.Store(true) }

// PartialMatches returns how many partial matches the patterns hold. It may be called from any
// goroutine.
func (e *Engine) PartialMatches() int64 { return e.work.matches.Load() }

// Try calls do, which sends rows or lets time pass, and returns the *LimitError or
// ErrInterrupted that ended it. After an error the engine must not be used again.
func (e *Engine) Try(do func()) (err error) {
	defer e.caught(&err)
	do()
	return nil
}

// caught turns the panic that ended a frame into an error.
func (e *Engine) caught(err *error) {
	switch cause := recover().(type) {
	case nil:
	case *LimitError:
		*err = cause
	case error:
		if !errors.Is(cause, ErrInterrupted) {
			panic(cause)
		}
		*err = ErrInterrupted
	default:
		panic(cause)
	}
}

// outputBytes is the memory of an emitted chunk of one row, without the row.
const outputBytes = 32

// measure finds the size of an output row, and the texts that are keys.
func (q *query) measure() {
	p := q.plan
	isText := func(a int) bool { return p.In.Attrs[a].Holds().Class() == event.Texts }
	for _, a := range p.GroupBy {
		if isText(a) {
			q.groupTexts = append(q.groupTexts, a)
		}
	}
	if p.Window != nil {
		q.windowKeys = windowKeys(p.Window, isText)
	}
	for _, a := range p.Aggs {
		spec, _ := aggregate.Lookup(a.Name)
		q.keyed = append(q.keyed, !spec.AnyText && slices.ContainsFunc(a.Args, func(x siddhiql.Expr) bool { return x.Holds().Class() == event.Texts }))
		if spec.Forever && q.forever == nil {
			q.forever = make([]bool, len(p.Aggs))
		}
		if spec.Forever {
			q.forever[len(q.keyed)-1] = true
		}
	}
	q.rowBytes = outputBytes + 8 + 1 // its time and kind
	for i := range q.out.Cols {
		if q.out.Cols[i].Type.Class() == event.Texts {
			q.texts = append(q.texts, i)
		}
		q.rowBytes += 8
	}
}

// keyBytes estimates the memory of the texts that are keys.
func (g *groups) keyBytes() (n int64) {
	const some = 256
	step := len(g.keys)/some + 1
	asked := 0
	for i := 0; i < len(g.keys); i += step {
		n += int64(len(g.keys[i].text))
		asked++
	}
	return n * int64(len(g.keys)) / int64(max(asked, 1))
}

// windowKeys returns the attributes with texts that are keys of a window.
func windowKeys(w *siddhiql.Window, isText func(attr int) bool) (keys []int) {
	spec, _ := window.Lookup(w.Name)
	for _, n := range spec.KeyParams(len(w.Params)) {
		if a := w.Params[n].Attr; a >= 0 && isText(a) {
			keys = append(keys, a)
		}
	}
	return keys
}

// charge counts the last row of b, which the query has made.
func (q *query) charge(b *event.Batch, rows int64) { q.chargeRow(b, b.Len()-1, rows) }

// chargeRow counts row i of b.
func (q *query) chargeRow(b *event.Batch, i int, rows int64) {
	size := q.rowBytes
	for _, c := range q.texts {
		size += int64(b.Cols[c].TextBytes(i))
	}
	w := &q.e.work
	w.rows -= rows
	w.bytes -= size
	if w.rows < 0 || w.bytes < 0 {
		w.exceeded(q)
	}
}

func (w *work) exceeded(q *query) {
	e := &LimitError{Query: q.title()}
	switch {
	case w.bytes < 0:
		e.What, e.Setting = fmt.Sprintf("the rows that follow from one frame take more than %d bytes", w.limits.FrameBytes), settingFrameBytes
	case w.share < w.limits.EventRows:
		e.What, e.Setting = fmt.Sprintf("more than %d rows follow from one frame", w.limits.FrameRows), settingFrameRows
	default:
		e.What, e.Setting = fmt.Sprintf("more than %d rows follow from one event", w.limits.EventRows), settingEventRows
	}
	panic(e)
}

// checkKey ends the frame if a text is too long to be a key.
func (q *query) checkKey(what string, text int) {
	if limit := q.e.work.limits.KeyBytes; int64(text) > limit {
		panic(&LimitError{
			Query: q.title(), What: fmt.Sprintf("a %s of %d bytes, limit %d", what, text, limit), Setting: settingKeyBytes,
		})
	}
}

// title names the query for people.
func (q *query) title() string {
	if q.named != nil {
		return fmt.Sprintf("window %q", q.named.plan.Stream.Name)
	}
	if q.plan.Name != "" {
		return fmt.Sprintf("query %q (number %d of %d)", q.plan.Name, q.id+1, len(q.e.queries))
	}
	return fmt.Sprintf("query %d of %d", q.id+1, len(q.e.queries))
}
