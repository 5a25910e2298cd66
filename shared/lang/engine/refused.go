package engine

import (
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// refusals are the events of a chunk that a query's window, or the table that the query
// writes to, refuses, for the fault stream of the stream that the query reads.
type refusals struct {
	fault *siddhiql.Stream
	rows  *event.Batch
	by    string // what refuses them
	text  string // why a window does

	// from has the events that rows of the query's output were made of, from row first on, if a
	// table can refuse those rows.
	from  []window.Row
	first int
	stage []window.Row
}

// newRefusals returns the collector of a query's refused events; nil if no query reads them, or
// if it is not known which event a refused row was made of.
func newRefusals(p *siddhiql.Query) *refusals {
	if p.Source == nil || !p.Source.Refused || p.Source.Fault == nil {
		return nil
	}
	x := &refusals{fault: p.Source.Fault}
	switch {
	case p.Window != nil:
		why := "the time of the event is null"
		if p.Window.Name == "session" {
			why = "the session of the event is over"
		}
		x.by = "the window " + p.Window.Name
		x.text = x.reason(why)
	case p.RefusesEvents():
		x.by = "the table " + p.Write.Table.Name
	default:
		return nil
	}
	x.rows = event.NewBatch(x.fault.Schema)
	return x
}

// startChunk prepares for a chunk of selection. Its first row of output has the number first.
func (x *refusals) startChunk(first int) {
	x.first, x.from, x.stage = first, shrink.Reset(x.from), shrink.Reset(x.stage)
}

func (x *refusals) reason(why string) string {
	return strconv.Quote("refused by " + x.by + ": " + why)
}

// refuse records an event that a window of the query refuses.
func (q *query) refuse(r window.Row) {
	if x := q.refused; x != nil {
		x.add(r, x.text)
	}
}

func (x *refusals) add(r window.Row, text string) {
	last := len(x.rows.Cols) - 1
	for c := range x.rows.Cols[:last] {
		x.rows.Cols[c].AppendFrom(&r.B.Cols[c], int(r.I))
	}
	x.rows.Cols[last].AppendText(text)
	x.rows.TS = append(x.rows.TS, r.TS)
}

// refuseRow counts a row of the query's output that its table refuses. If it is known which
// event the row was made of, that event is recorded.
func (q *query) refuseRow(i int, why table.Refusal) {
	q.e.env.Dropped++
	w := q.table
	w.refused.Rows++
	w.refused.Why = why
	if x := q.refused; x != nil && i >= x.first && i-x.first < len(x.from) {
		x.add(x.from[i-x.first], x.reason(string(why)))
	}
}

// deliverRefused passes the refused events to the readers of the fault stream.
func (q *query) deliverRefused() {
	x := q.refused
	if x == nil || x.rows.Len() == 0 {
		return
	}
	rows := refer(nil, x.rows, 0, x.rows.Len())
	for _, sub := range q.e.streams[x.fault.ID] {
		sub.receive(x.fault, rows)
	}
	x.rows.Reset()
}

// addToWindow adds a chunk to the window. Events that the window refuses go to the fault stream
// after the query has processed the chunk.
func (s *memory) addToWindow(chunk []window.Row) {
	s.win.Add(chunk, s.emit)
	s.q.deliverRefused()
}

// RefusedRows are the rows of a query that the table it writes to has refused.
type RefusedRows struct {
	Query string        `json:"query"` // for people
	Table string        `json:"table"`
	Rows  uint64        `json:"rows"` // since the engine was made
	Why   table.Refusal `json:"why"`  // the newest
}

// RefusedRows returns what tables have refused since the engine was made, by query. A row is
// counted there even if its event went to a fault stream.
func (e *Engine) RefusedRows() (list []RefusedRows) {
	for _, q := range e.queries {
		if q.table != nil && q.table.refused.Rows > 0 {
			r := q.table.refused
			r.Query = q.title()
			list = append(list, r)
		}
	}
	return list
}
