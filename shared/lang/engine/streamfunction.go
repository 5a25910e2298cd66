package engine

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// streamFunction is the compiled form of a siddhiql.StreamFunction. It keeps nothing from one
// chunk to the next.
type streamFunction struct {
	before []cond
	args   []argFn
	make   func(c *function.Context, args []function.Value, emit func(added []function.Value)) // nil: rows stay as they are
	values []function.Value
	rows   *event.Batch
	refs   []window.Row
	from   *window.Row // the row that more are made of
}

func newStreamFunction(p *siddhiql.StreamFunction) *streamFunction {
	spec, _ := function.LookupStream(p.Name)
	f := &streamFunction{before: compileConds(p.Before), rows: event.NewBatch(p.Rows), values: make([]function.Value, len(p.Args))}
	args := siddhiql.FunctionArgs(p.Args)
	for i, x := range p.Args {
		args[i].Type = read(x)
		f.args = append(f.args, compileArg(x))
	}
	f.make = spec.Make(args)
	return f
}

// derive returns the rows that the query's stream functions make of a chunk.
func (q *query) derive(s *memory, chunk []window.Row) []window.Row {
	for _, f := range q.functions {
		if len(f.before) > 0 {
			s.in = append(shrink.Reset(s.in), chunk...)
			chunk = q.filter(f.before, s.in)
		}
		if f.make != nil {
			chunk = f.run(q, chunk)
		}
	}
	return chunk
}

func (f *streamFunction) run(q *query, chunk []window.Row) []window.Row {
	f.rows.Reset()
	f.refs = shrink.Reset(f.refs)
	r := &q.e.row
	for i := range chunk {
		f.from = &chunk[i]
		r.at(f.from, q.e.env.Now)
		for n, arg := range f.args {
			f.values[n] = function.Value{}
			arg(r, &f.values[n])
		}
		r.call.Now, r.call.Text = r.now, r.text
		f.make(&r.call, f.values, f.add)
		r.text = r.call.Text
		q.e.work.step(f.rows.Len())
	}
	return f.refs
}

// add appends a row.
func (f *streamFunction) add(added []function.Value) {
	b, old := f.rows, f.from
	n := len(b.Cols) - len(added)
	for c := range b.Cols[:n] {
		b.Cols[c].AppendFrom(&old.B.Cols[c], int(old.I))
	}
	for c := range added {
		appendAdded(&b.Cols[n+c], &added[c])
	}
	b.TS = append(b.TS, old.B.TS[old.I])
	f.refs = append(f.refs, window.Row{B: b, TS: old.TS, I: int32(b.Len() - 1), Kind: old.Kind})
}

func appendAdded(c *event.Column, v *function.Value) {
	switch {
	case v.Null:
		c.AppendNull()
	case c.Type.Class() == event.Reals:
		c.AppendFloat(v.Real)
	case c.Type.Class() == event.Texts:
		c.AppendText(v.Text)
	default:
		c.AppendInt(v.Int)
	}
}
