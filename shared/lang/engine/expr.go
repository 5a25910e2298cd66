package engine

import (
	"fmt"
	"unsafe"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
)

// row is the input of an expression: row i of b, and what the query knows about it.
type row struct {
	b    *event.Batch
	i    int
	ts   int64 // of the event being processed
	now  int64
	aggs []aggregate.Value
	// text holds what conversions to text have written for this row. It grows
	// into new memory rather than move, so earlier results stay readable.
	text []byte
	call function.Context // of functions that are called
	// batch is the time of the rows that a window emits, for queries that ask for it.
	batch interval
	// tables are those of the engine, and work counts the rows that are looked at in them.
	tables []*table.Table
	work   *work
}

// interval is the time from start up to, but not including, end. It has a start only if begun is
// set.
type interval struct {
	start, end int64
	begun      bool
}

// view returns a string of the bytes that were appended to r.text from start on.
func (r *row) view(start int) string { return view(r.text[start:]) }

// view returns a string that shares the memory of b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// Expressions are compiled to closures of the class of their value; the second
// result is false for null. A condition is two-valued: null is false.
type (
	intFn  func(*row) (int64, bool)
	realFn func(*row) (float64, bool)
	textFn func(*row) (string, bool)
	cond   func(*row) bool
)

// compileInt compiles an expression whose values are bools, ints or longs.
func compileInt(e siddhiql.Expr) intFn {
	switch e := e.(type) {
	case *siddhiql.Const:
		v := e.Int
		return func(*row) (int64, bool) { return v, true }
	case *siddhiql.Attr:
		return attrInt(e)
	case *siddhiql.AggResult:
		n := e.Index
		return func(r *row) (int64, bool) { return r.aggs[n].Int, !r.aggs[n].Null }
	case *siddhiql.Arith:
		return arithInt(e)
	case *siddhiql.Call:
		return callInt(e)
	default:
		test := compileCond(e)
		return func(r *row) (int64, bool) { return boolInt(test(r)), true }
	}
}

func boolInt(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

func attrInt(e *siddhiql.Attr) intFn {
	n := e.Index
	if e.Holds() == event.Object { // relabelled by cast()
		return func(r *row) (int64, bool) {
			c := &r.b.Cols[n]
			if c.IsNull(r.i) {
				return 0, false
			}
			return objectInt(c.Text(r.i), e.Type())
		}
	}
	return func(r *row) (int64, bool) {
		c := &r.b.Cols[n]
		return c.Ints[r.i], !c.IsNull(r.i)
	}
}

// compileReal compiles an expression whose values are numbers, as doubles.
func compileReal(e siddhiql.Expr) realFn {
	if held := e.Holds(); held.Class() == event.Integers {
		whole := compileInt(e)
		return func(r *row) (float64, bool) {
			v, ok := whole(r)
			return float64(v), ok
		}
	}
	switch e := e.(type) {
	case *siddhiql.Const:
		v := e.Real
		return func(*row) (float64, bool) { return v, true }
	case *siddhiql.Attr:
		return attrReal(e)
	case *siddhiql.AggResult:
		n := e.Index
		return func(r *row) (float64, bool) { return r.aggs[n].Real, !r.aggs[n].Null }
	case *siddhiql.Arith:
		return arithReal(e)
	case *siddhiql.Call:
		return callReal(e)
	}
	panic(fmt.Sprintf("engine: no number in %T", e))
}

func attrReal(e *siddhiql.Attr) realFn {
	n := e.Index
	if e.Holds() == event.Object {
		return func(r *row) (float64, bool) {
			c := &r.b.Cols[n]
			if c.IsNull(r.i) {
				return 0, false
			}
			return objectReal(c.Text(r.i))
		}
	}
	return func(r *row) (float64, bool) {
		c := &r.b.Cols[n]
		return c.Floats[r.i], !c.IsNull(r.i)
	}
}

// compileText compiles an expression whose values are strings or objects.
func compileText(e siddhiql.Expr) textFn {
	switch e := e.(type) {
	case *siddhiql.Const:
		v := e.Text
		return func(*row) (string, bool) { return v, true }
	case *siddhiql.Attr:
		n := e.Index
		if e.Type() == event.String && e.Holds() == event.Object {
			return func(r *row) (string, bool) {
				c := &r.b.Cols[n]
				if c.IsNull(r.i) {
					return "", false
				}
				return objectText(r, c.Text(r.i))
			}
		}
		return func(r *row) (string, bool) {
			c := &r.b.Cols[n]
			return c.Text(r.i), !c.IsNull(r.i)
		}
	case *siddhiql.AggResult:
		n := e.Index
		return func(r *row) (string, bool) { return r.aggs[n].Text, !r.aggs[n].Null }
	case *siddhiql.Call:
		return callText(e)
	}
	panic(fmt.Sprintf("engine: no text in %T", e))
}

// compileCond compiles a condition. And and Or decide on their left side first.
func compileCond(e siddhiql.Expr) cond {
	switch e := e.(type) {
	case *siddhiql.And:
		l, r := compileCond(e.L), compileCond(e.R)
		return func(x *row) bool { return l(x) && r(x) }
	case *siddhiql.Or:
		l, r := compileCond(e.L), compileCond(e.R)
		return func(x *row) bool { return l(x) || r(x) }
	case *siddhiql.Not:
		inner := compileCond(e.X)
		return func(x *row) bool { return !inner(x) }
	case *siddhiql.InRows:
		return compileIn(e)
	case *siddhiql.IsNull:
		return compileIsNull(e.X)
	case *siddhiql.Compare:
		return compileCompare(e)
	}
	v := compileInt(e)
	return func(x *row) bool {
		b, ok := v(x)
		return ok && b != 0
	}
}

func compileIsNull(e siddhiql.Expr) cond {
	if a, ok := e.(*siddhiql.Attr); ok {
		n := a.Index
		return func(x *row) bool { return x.b.Cols[n].IsNull(x.i) }
	}
	switch class(e) {
	case event.Reals:
		v := compileReal(e)
		return func(x *row) bool { _, ok := v(x); return !ok }
	case event.Texts:
		v := compileText(e)
		return func(x *row) bool { _, ok := v(x); return !ok }
	default:
		v := compileInt(e)
		return func(x *row) bool { _, ok := v(x); return !ok }
	}
}

// read returns the type that e's values are read as: the type that they hold, except that
// an object relabelled by cast() is read as the type that cast() names.
func read(e siddhiql.Expr) event.Type {
	if e.Holds() == event.Object {
		return e.Type()
	}
	return e.Holds()
}

func class(e siddhiql.Expr) event.Class { return read(e).Class() }

// writeFn appends the value of an expression to a column.
type writeFn func(*row, *event.Column)

// compileWrite compiles an expression into a function that writes it to an output column.
func compileWrite(e siddhiql.Expr) writeFn {
	if a, ok := e.(*siddhiql.Attr); ok {
		n := a.Index
		return func(r *row, c *event.Column) { c.AppendFrom(&r.b.Cols[n], r.i) }
	}
	switch e.Holds().Class() {
	case event.Reals:
		v := compileReal(e)
		return func(r *row, c *event.Column) {
			if x, ok := v(r); ok {
				c.AppendFloat(x)
			} else {
				c.AppendNull()
			}
		}
	case event.Texts:
		v := compileRaw(e)
		return func(r *row, c *event.Column) {
			if x, ok := v(r); ok {
				c.AppendText(x)
			} else {
				c.AppendNull()
			}
		}
	default:
		v := compileInt(e)
		return func(r *row, c *event.Column) {
			if x, ok := v(r); ok {
				c.AppendInt(x)
			} else {
				c.AppendNull()
			}
		}
	}
}

// compileRaw compiles text as it is held: an object keeps its JSON text.
func compileRaw(e siddhiql.Expr) textFn {
	if a, ok := e.(*siddhiql.Attr); ok {
		n := a.Index
		return func(r *row) (string, bool) {
			c := &r.b.Cols[n]
			return c.Text(r.i), !c.IsNull(r.i)
		}
	}
	if call, ok := e.(*siddhiql.Call); ok && call.Func == "cast" {
		return compileRaw(call.Args[0])
	}
	return compileText(e)
}

// argFn writes the value of an aggregator's argument.
type argFn func(*row, *aggregate.Value)

func compileArg(e siddhiql.Expr) argFn {
	if a, ok := e.(*siddhiql.Attr); ok && e.Holds() != event.Object {
		return attrArg(a)
	}
	switch class(e) {
	case event.Reals:
		v := compileReal(e)
		return func(r *row, out *aggregate.Value) {
			x, ok := v(r)
			out.Real, out.Null = x, !ok
		}
	case event.Texts:
		v := compileText(e)
		return func(r *row, out *aggregate.Value) {
			x, ok := v(r)
			out.Text, out.Null = x, !ok
		}
	default:
		v := compileInt(e)
		return func(r *row, out *aggregate.Value) {
			x, ok := v(r)
			out.Int, out.Null = x, !ok
		}
	}
}

// attrArg reads an attribute straight from its column.
func attrArg(e *siddhiql.Attr) argFn {
	n := e.Index
	switch class(e) {
	case event.Reals:
		return func(r *row, out *aggregate.Value) {
			c := &r.b.Cols[n]
			out.Real, out.Null = c.Floats[r.i], c.IsNull(r.i)
		}
	case event.Texts:
		return func(r *row, out *aggregate.Value) {
			c := &r.b.Cols[n]
			out.Text, out.Null = c.Text(r.i), c.IsNull(r.i)
		}
	default:
		return func(r *row, out *aggregate.Value) {
			c := &r.b.Cols[n]
			out.Int, out.Null = c.Ints[r.i], c.IsNull(r.i)
		}
	}
}
