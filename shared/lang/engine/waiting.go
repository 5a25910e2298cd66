package engine

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// reorderAfter makes events that wait in old wait in the changed plan. Without lateness they
// are applied at once, in the order of time.
func (e *Engine) reorderAfter(old *window.Reorder, m *Migration) {
	streams := e.waitingStreams()
	e.reorder, e.faults, e.lateRows = nil, nil, nil
	if e.plan.Lateness == siddhiql.LatenessOff {
		if old != nil {
			e.releaseAll(old)
		}
		return
	}
	e.orderEvents()
	if old != nil && slices.EqualFunc(old.Streams(), streams, sameStream) {
		e.reorder = old
		return
	}
	m.fresh["reorder"] = true
	if old == nil {
		if e.env.Now != window.NoTime {
			e.reorder.Come(e.env.Now)
			e.reorder.Passed(e.env.Now)
		}
		return
	}
	if input, ok := old.Input(); ok {
		e.reorder.Come(input)
	}
	if e.env.Now != window.NoTime {
		e.reorder.Passed(e.env.Now)
	}
	e.eachWaiting(old, func(stream *siddhiql.Stream, b *event.Batch, at int64) { e.reorder.Add(stream.ID, b, 0, b.Len(), at) })
}

func sameStream(a, b *event.Schema) bool {
	return a == nil && b == nil || a != nil && b != nil && a.Name == b.Name && a.Same(b)
}

// releaseAll applies the events that wait.
func (e *Engine) releaseAll(old *window.Reorder) {
	e.eachWaiting(old, func(stream *siddhiql.Stream, b *event.Batch, at int64) {
		e.advance(max(at, e.env.Now))
		e.fromEvent(stream, 0, at)
		e.deliver(stream, b, 0, b.Len())
	})
}

// eachWaiting takes the chunks out in order and passes their events on in their present
// shape. Events that do not fit are late ones with a reason.
func (e *Engine) eachWaiting(old *window.Reorder, pass func(stream *siddhiql.Stream, b *event.Batch, at int64)) {
	schemas := old.Streams()
	adapters := map[int]*adapter{}
	for {
		at, ok := old.Next()
		if !ok {
			return
		}
		n, b, from, to := old.Take()
		a := adapters[n]
		if a == nil {
			a = newAdapter(schemas[n], e.plan.Stream(schemas[n].Name))
			adapters[n] = a
		}
		a.adapt(b, from, to)
		for i := from; i < to; i++ {
			if reason := a.bad[i-from]; reason != "" {
				e.reject(a.stream, b, i, reason)
				e.late[len(e.late)-1].Event = uint64(len(e.late))
			}
		}
		if kept := a.fitting(0, to-from); kept.Len() > 0 {
			pass(a.stream, kept, at)
		}
	}
}

// reject stores row i of b for the engine's caller, with the reason why it is not applied.
func (e *Engine) reject(stream *siddhiql.Stream, b *event.Batch, i int, reason string) {
	rows := event.NewBatch(b.Schema)
	rows.AppendRow(b, i)
	e.late = append(e.late, Late{Stream: stream, Rows: rows, Clock: e.env.Now, Reason: reason})
	e.lateEvents++
}

// adapter turns events of one form of a stream into events of the form in force.
type adapter struct {
	schema *event.Schema
	stream *siddhiql.Stream // with the schema of the events if the app has no such stream
	gone   bool
	from   []int // by attribute of the stream; -1: null
	rows   *event.Batch
	kept   *event.Batch
	bad    []string // by row: why it does not fit; "" if it does
}

func newAdapter(schema *event.Schema, stream *siddhiql.Stream) *adapter {
	a := &adapter{schema: schema, stream: stream}
	if a.gone = stream == nil || !stream.Defined; a.gone {
		a.stream = &siddhiql.Stream{ID: -1, Name: schema.Name, Schema: schema, Block: -1, TimeAttr: -1}
	}
	a.rows, a.kept = event.NewBatch(a.stream.Schema), event.NewBatch(a.stream.Schema)
	for _, attr := range a.stream.Schema.Attrs {
		a.from = append(a.from, schema.Index(attr.Name))
	}
	return a
}

// adapt converts the rows [from, to) of b. A row that does not fit has nulls.
func (a *adapter) adapt(b *event.Batch, from, to int) {
	a.rows.Reset()
	a.bad = a.bad[:0]
	for i := from; i < to; i++ {
		reason := ""
		if a.gone {
			reason = fmt.Sprintf("stream %s is not in the version of the app that is in force", a.schema.Name)
		}
		for c := range a.rows.Cols {
			dst := &a.rows.Cols[c]
			if a.from[c] < 0 {
				dst.AppendNull()
			} else if src := &b.Cols[a.from[c]]; !appendAs(dst, src, i) {
				dst.AppendNull()
				reason = fmt.Sprintf("the value of %s is a %s that does not fit the %s of the version in force", a.schema.Attrs[a.from[c]].Name, src.Type, dst.Type)
			}
		}
		a.rows.TS = append(a.rows.TS, b.TS[i])
		a.bad = append(a.bad, reason)
	}
}

// fitting returns those of the rows [from, to) that fit. The result is valid until the next
// call.
func (a *adapter) fitting(from, to int) *event.Batch {
	a.kept.Reset()
	for i := from; i < to; i++ {
		if a.bad[i] == "" {
			a.kept.AppendRow(a.rows, i)
		}
	}
	return a.kept
}
