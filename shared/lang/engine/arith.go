package engine

import (
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// arithInt compiles arithmetic in 32 or 64 bits, wrapping as it overflows.
// Division by zero is null.
func arithInt(e *siddhiql.Arith) intFn {
	l, r := compileInt(e.L), compileInt(e.R)
	wide := arithWide(e.Op, l, r)
	if e.T == event.Long {
		return wide
	}
	return func(x *row) (int64, bool) {
		v, ok := wide(x)
		return int64(int32(v)), ok
	}
}

func arithWide(op siddhiql.ArithOp, l, r intFn) intFn {
	switch op {
	case '+':
		return func(x *row) (int64, bool) {
			a, okA := l(x)
			b, okB := r(x)
			return a + b, okA && okB
		}
	case '-':
		return func(x *row) (int64, bool) {
			a, okA := l(x)
			b, okB := r(x)
			return a - b, okA && okB
		}
	case '*':
		return func(x *row) (int64, bool) {
			a, okA := l(x)
			b, okB := r(x)
			return a * b, okA && okB
		}
	case '/':
		return func(x *row) (int64, bool) {
			a, okA := l(x)
			b, okB := r(x)
			if !okA || !okB || b == 0 {
				return 0, false
			}
			return a / b, true
		}
	default:
		return func(x *row) (int64, bool) {
			a, okA := l(x)
			b, okB := r(x)
			if !okA || !okB || b == 0 {
				return 0, false
			}
			return a % b, true
		}
	}
}

// arithReal compiles arithmetic in doubles, or in floats whose results are
// rounded to 32 bits. The conversions keep a compiler from fusing operations.
func arithReal(e *siddhiql.Arith) realFn {
	l, r := compileReal(e.L), compileReal(e.R)
	op := realOp(e.Op)
	if e.T == event.Float {
		// The exact result of one operation on two floats, rounded to a double
		// and then to a float, is the float operation's own (S. Figueroa, When
		// is double rounding innocuous?, 1995) for + - * /; % is exact.
		// An int or long is rounded to a float first, as the promotion does.
		return func(x *row) (float64, bool) {
			a, okA := l(x)
			b, okB := r(x)
			if !okA || !okB {
				return 0, false
			}
			v, ok := op(float64(float32(a)), float64(float32(b)))
			return float64(float32(v)), ok
		}
	}
	return func(x *row) (float64, bool) {
		a, okA := l(x)
		b, okB := r(x)
		if !okA || !okB {
			return 0, false
		}
		return op(a, b)
	}
}

func realOp(op siddhiql.ArithOp) func(a, b float64) (float64, bool) {
	switch op {
	case '+':
		return func(a, b float64) (float64, bool) { return float64(a + b), true }
	case '-':
		return func(a, b float64) (float64, bool) { return float64(a - b), true }
	case '*':
		return func(a, b float64) (float64, bool) { return float64(a * b), true }
	case '/':
		return func(a, b float64) (float64, bool) {
			if b == 0 {
				return 0, false
			}
			return float64(a / b), true
		}
	default:
		return func(a, b float64) (float64, bool) {
			if b == 0 {
				return 0, false
			}
			return math.Mod(a, b), true
		}
	}
}

// compileCompare compiles a comparison. Longs are compared as longs, and a long with a
// float or double in double. A comparison with null is false, except !=, which is true.
func compileCompare(e *siddhiql.Compare) cond {
	switch lc, rc := class(e.L), class(e.R); {
	case lc == event.Texts:
		return compareText(e.Op, compileText(e.L), compileText(e.R))
	case lc == event.Integers && rc == event.Integers:
		if c, ok := e.R.(*siddhiql.Const); ok {
			return compareIntConst(e.Op, compileInt(e.L), c.Int)
		}
		return compareInt(e.Op, compileInt(e.L), compileInt(e.R))
	default:
		return compareReal(e.Op, compileReal(e.L), compileReal(e.R))
	}
}

func compareText(op siddhiql.CompareOp, l, r textFn) cond {
	if op == siddhiql.NotEqual {
		return func(x *row) bool {
			a, okA := l(x)
			b, okB := r(x)
			return !okA || !okB || a != b
		}
	}
	return func(x *row) bool {
		a, okA := l(x)
		b, okB := r(x)
		return okA && okB && a == b
	}
}

func compareIntConst(op siddhiql.CompareOp, l intFn, b int64) cond {
	switch op {
	case siddhiql.Equal:
		return func(x *row) bool { a, ok := l(x); return ok && a == b }
	case siddhiql.NotEqual:
		return func(x *row) bool { a, ok := l(x); return !ok || a != b }
	case siddhiql.Less:
		return func(x *row) bool { a, ok := l(x); return ok && a < b }
	case siddhiql.LessEqual:
		return func(x *row) bool { a, ok := l(x); return ok && a <= b }
	case siddhiql.Greater:
		return func(x *row) bool { a, ok := l(x); return ok && a > b }
	default:
		return func(x *row) bool { a, ok := l(x); return ok && a >= b }
	}
}

func compareInt(op siddhiql.CompareOp, l, r intFn) cond {
	test := ordered[int64](op)
	return func(x *row) bool {
		a, okA := l(x)
		b, okB := r(x)
		if !okA || !okB {
			return op == siddhiql.NotEqual
		}
		return test(a, b)
	}
}

func compareReal(op siddhiql.CompareOp, l, r realFn) cond {
	test := ordered[float64](op)
	return func(x *row) bool {
		a, okA := l(x)
		b, okB := r(x)
		if !okA || !okB {
			return op == siddhiql.NotEqual
		}
		return test(a, b)
	}
}

func ordered[T int64 | float64](op siddhiql.CompareOp) func(a, b T) bool {
	switch op {
	case siddhiql.Equal:
		return func(a, b T) bool { return a == b }
	case siddhiql.NotEqual:
		return func(a, b T) bool { return a != b }
	case siddhiql.Less:
		return func(a, b T) bool { return a < b }
	case siddhiql.LessEqual:
		return func(a, b T) bool { return a <= b }
	case siddhiql.Greater:
		return func(a, b T) bool { return a > b }
	default:
		return func(a, b T) bool { return a >= b }
	}
}
