package engine

import (
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// refusals are the events of a chunk that a query's window refuses, for the fault stream of
// the stream that the query reads.
type refusals struct {
	fault *siddhiql.Stream
	rows  *event.Batch
	text  string // why
}

// newRefusals returns the collector of a query's refused events; nil if no query reads them.
func newRefusals(p *siddhiql.Query) *refusals {
	if p.Source == nil || p.Window == nil || !p.Source.Refused || p.Source.Fault == nil {
		return nil
	}
	f, why := p.Source.Fault, "the time of the event is null"
	if p.Window.Name == "session" {
		why = "the session of the event is over"
	}
	return &refusals{
		fault: f, rows: event.NewBatch(f.Schema),
		text: strconv.Quote("refused by the window " + p.Window.Name + ": " + why),
	}
}

// refuse records an event that a window of the query refuses.
func (q *query) refuse(r window.Row) {
	x := q.refused
	if x == nil {
		return
	}
	last := len(x.rows.Cols) - 1
	for c := range x.rows.Cols[:last] {
		x.rows.Cols[c].AppendFrom(&r.B.Cols[c], int(r.I))
	}
	x.rows.Cols[last].AppendText(x.text)
	x.rows.TS = append(x.rows.TS, r.TS)
}

// addToWindow adds a chunk to the window. Events that the window refuses go to the fault stream
// after the query has processed the chunk.
func (s *memory) addToWindow(chunk []window.Row) {
	s.win.Add(chunk, s.emit)
	x := s.q.refused
	if x == nil || x.rows.Len() == 0 {
		return
	}
	rows := refer(nil, x.rows, 0, x.rows.Len())
	for _, sub := range s.q.e.streams[x.fault.ID] {
		sub.receive(x.fault, rows)
	}
	x.rows.Reset()
}
