package ingest

import (
	"fmt"
	"math"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// clocking says how the events of a source get their time. In an app on arrival time, the own
// time of an event is at most its arrival. In a playback app, every event must have an own
// time, which drives the clock, and it may be at most ahead later than the arrival.
type clocking struct {
	playback bool
	ahead    int64 // ms
	attr     int   // the attribute that has the time; -1: the header has it
}

func clockingOf(app *siddhiql.Plan, s *siddhiql.Stream) clocking {
	c := clocking{playback: app.Playback, attr: s.TimeAttr}
	if c.playback {
		c.ahead = app.Ahead
	}
	return c
}

// timed counts the events of a source with a problem in their time.
type timed struct {
	clamped  atomic.Uint64 // accepted with their arrival as the time, because their own time was later
	ahead    atomic.Uint64 // refused, because they were too far ahead
	timeless atomic.Uint64 // refused, because they had no time
}

// from copies the counters of another one.
func (t *timed) from(o *timed) {
	t.clamped.Store(o.clamped.Load())
	t.ahead.Store(o.ahead.Load())
	t.timeless.Store(o.timeless.Load())
}

// clocked counts the same for the current message.
type clocked struct {
	clamped, ahead, timeless uint64
}

func (c *clocked) countIn(t *timed) {
	if *c != (clocked{}) {
		t.clamped.Add(c.clamped)
		t.ahead.Add(c.ahead)
		t.timeless.Add(c.timeless)
	}
}

// clock sets the time of the last row of b, or returns why the row is refused.
func (in *intake) clock(r *reader, b *event.Batch) *rowjson.RowError {
	c := r.clocking
	row := b.Len() - 1
	ms, own := in.letter.ts, in.letter.timed
	if c.attr >= 0 && !b.Cols[c.attr].IsNull(row) {
		ms, own = b.Cols[c.attr].Ints[row], true
		if ms < timestampMin || ms > timestampMax {
			return &rowjson.RowError{
				Problem: rowjson.OutOfRange, Attr: b.Schema.Attrs[c.attr].Name,
				Expected: "ms since 1970 in the years 1 to 9999 as the event's time", Found: strconv.FormatInt(ms, 10),
			}
		}
	}
	switch {
	case !c.playback && ms > in.arrived:
		ms = in.arrived
		r.clocked.clamped++
	case c.playback && !own:
		r.clocked.timeless++
		e := &rowjson.RowError{Problem: rowjson.Missing, Expected: "the event's time in the header " + headerTimestamp + " (eventflux publish --ts ATTRIBUTE), because it drives the clock of this app", Found: "none"}
		if c.attr >= 0 {
			e.Attr = b.Schema.Attrs[c.attr].Name
			e.Expected = "the event's time in ms here, or in the header " + headerTimestamp + ", because it drives the clock of this app"
		}
		return e
	case c.playback && ms > limitOf(in.arrived, c.ahead):
		r.clocked.ahead++
		return &rowjson.RowError{
			Problem: rowjson.Ahead,
			Expected: fmt.Sprintf("a time at most %s ahead of the clock of ingest, %d (ahead of @app:playback)",
				time.Duration(min(c.ahead, math.MaxInt64/int64(time.Millisecond)))*time.Millisecond, in.arrived),
			Found: strconv.FormatInt(ms, 10),
		}
	}
	b.TS[row] = ms
	return nil
}

// limitOf returns ms and a span later, or the last ms of all.
func limitOf(ms, span int64) int64 {
	if ms > math.MaxInt64-span {
		return math.MaxInt64
	}
	return ms + span
}
