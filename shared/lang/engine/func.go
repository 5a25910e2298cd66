package engine

import (
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// value is any of intFn, realFn and textFn.
type value[T any] interface {
	~func(*row) (T, bool)
}

// compileAll compiles every argument with one of compileInt, compileReal and
// compileText.
func compileAll[F any](args []siddhiql.Expr, compile func(siddhiql.Expr) F) []F {
	out := make([]F, len(args))
	for i, a := range args {
		out[i] = compile(a)
	}
	return out
}

// choose compiles the functions that return one of their arguments; nil if e is another
// function.
func choose[T any, F value[T]](e *siddhiql.Call, compile func(siddhiql.Expr) F) func(*row) (T, bool) {
	switch e.Func {
	case "ifThenElse":
		test, a, b := compileCond(e.Args[0]), compile(e.Args[1]), compile(e.Args[2])
		return func(x *row) (T, bool) {
			if test(x) {
				return a(x)
			}
			return b(x)
		}
	case "coalesce", "default":
		args := compileAll(e.Args, compile)
		return func(x *row) (v T, ok bool) {
			for _, a := range args {
				if v, ok = a(x); ok {
					return v, true
				}
			}
			return v, false
		}
	}
	return nil
}

// extremeOf compiles maximum and minimum, which skip nulls.
func extremeOf[T int64 | float64, F value[T]](e *siddhiql.Call, compile func(siddhiql.Expr) F) func(*row) (T, bool) {
	args := compileAll(e.Args, compile)
	most := e.Func == "maximum"
	return func(x *row) (best T, any bool) {
		for _, a := range args {
			v, ok := a(x)
			if ok && (!any || most && v > best || !most && v < best) {
				best, any = v, true
			}
		}
		return best, any
	}
}

func callInt(e *siddhiql.Call) intFn {
	if f := choose[int64](e, compileInt); f != nil {
		return f
	}
	switch e.Func {
	case "convert":
		return convertInt(e.Args[0], e.T)
	case "cast":
		if e.Holds() == event.Object {
			text, to := compileRaw(e.Args[0]), e.T
			return func(x *row) (int64, bool) {
				v, ok := text(x)
				if !ok {
					return 0, false
				}
				return objectInt(v, to)
			}
		}
		return compileInt(e.Args[0])
	case "eventTimestamp":
		return func(x *row) (int64, bool) { return x.ts, true }
	case "currentTimeMillis":
		return func(x *row) (int64, bool) { return x.now, true }
	case siddhiql.WindowStart:
		return func(x *row) (int64, bool) { return x.batch.start, x.batch.begun }
	case siddhiql.WindowEnd:
		return func(x *row) (int64, bool) { return x.batch.end, true }
	case "maximum", "minimum":
		return extremeOf[int64](e, compileInt)
	}
	if class, ok := strings.CutPrefix(e.Func, "instanceOf"); ok {
		test := instanceOf(class, e.Args[0])
		return func(x *row) (int64, bool) { return boolInt(test(x)), true }
	}
	call := registered(e)
	return func(x *row) (int64, bool) { v := call(x); return v.Int, !v.Null }
}

func callReal(e *siddhiql.Call) realFn {
	if f := choose[float64](e, compileReal); f != nil {
		return f
	}
	switch e.Func {
	case "convert":
		return convertReal(e.Args[0], e.T)
	case "cast":
		if e.Holds() == event.Object {
			text := compileRaw(e.Args[0])
			return func(x *row) (float64, bool) {
				v, ok := text(x)
				if !ok {
					return 0, false
				}
				return objectReal(v)
			}
		}
		return compileReal(e.Args[0])
	case "maximum", "minimum":
		return extremeOf[float64](e, compileReal)
	}
	call := registered(e)
	return func(x *row) (float64, bool) { v := call(x); return v.Real, !v.Null }
}

func callText(e *siddhiql.Call) textFn {
	if f := choose[string](e, compileText); f != nil {
		return f
	}
	switch e.Func {
	case siddhiql.JoinTexts:
		return joinTexts(e)
	case "convert":
		return convertText(e.Args[0])
	case "cast":
		if e.Holds() == event.Object && e.T == event.String {
			text := compileRaw(e.Args[0])
			return func(x *row) (string, bool) {
				v, ok := text(x)
				if !ok {
					return "", false
				}
				return objectText(x, v)
			}
		}
		return compileText(e.Args[0])
	}
	call := registered(e)
	return func(x *row) (string, bool) { v := call(x); return v.Text, !v.Null }
}

// instanceOf compiles the check for a class of Java's: String, Integer, Long,
// Float, Double or Boolean. Null is an instance of none.
func instanceOf(class string, e siddhiql.Expr) cond {
	want := map[string]event.Type{
		"String": event.String, "Integer": event.Int, "Long": event.Long,
		"Float": event.Float, "Double": event.Double, "Boolean": event.Bool,
	}[class]
	if e.Holds() == event.Object {
		text := compileRaw(e)
		return func(x *row) bool {
			v, ok := text(x)
			return ok && objectType(v) == want
		}
	}
	if e.Holds() != want {
		return func(*row) bool { return false }
	}
	null := compileIsNull(e)
	return func(x *row) bool { return !null(x) }
}

// registered compiles a call of a function of package function.
func registered(e *siddhiql.Call) func(*row) *function.Value {
	spec, ok := function.Lookup(e.Func)
	if !ok {
		panic(fmt.Sprintf("engine: function %s of %s is not in this binary", e.Func, e.T))
	}
	bound, err := spec.BindCall(siddhiql.FunctionArgs(e.Args))
	if err != nil {
		panic(fmt.Sprintf("engine: function %s: %v", e.Func, err)) // the check has accepted it
	}
	args := make([]argFn, len(e.Args))
	for i, a := range e.Args {
		args[i] = compileArgAs(a, bound.Reads[i])
	}
	values, out := make([]function.Value, len(args)), &function.Value{}
	return func(x *row) *function.Value {
		for i, arg := range args {
			arg(x, &values[i])
		}
		*out = function.Value{}
		c := &x.call
		c.Now, c.Text = x.now, x.text
		bound.Call(c, values, out)
		x.text = c.Text
		return out
	}
}

// compileArgAs compiles an argument that a function reads as a type.
func compileArgAs(e siddhiql.Expr, as event.Type) argFn {
	switch {
	case as == event.String && read(e) != event.String:
		text := convertText(e)
		if read(e) == event.Object {
			text = compileRaw(e)
		}
		return func(r *row, out *function.Value) {
			v, ok := text(r)
			out.Text, out.Null = v, !ok
		}
	case as == event.Double && class(e) == event.Integers:
		real := compileReal(e)
		return func(r *row, out *function.Value) {
			v, ok := real(r)
			out.Real, out.Null = v, !ok
		}
	}
	return compileArg(e)
}

// joinTexts compiles `+` between texts; null if one of them is.
func joinTexts(e *siddhiql.Call) textFn {
	parts := make([]textFn, len(e.Args))
	for i, a := range e.Args {
		parts[i] = convertText(a)
	}
	texts := make([]string, len(parts))
	return func(x *row) (string, bool) {
		for i, part := range parts {
			text, ok := part(x)
			if !ok {
				return "", false
			}
			texts[i] = text
		}
		start := len(x.text)
		for _, text := range texts {
			x.text = append(x.text, text...)
		}
		return x.view(start), true
	}
}
