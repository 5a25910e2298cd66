package model

import (
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// scope is the row that an expression is evaluated over (3).
type scope struct {
	values     []any
	ts         int64
	now        int64
	aggregates []any // results of the query's aggregators
	m          *Model
}

// holds reports whether a condition is true. Null is not true (3.4).
func (x *scope) holds(e siddhiql.Expr) bool { return x.eval(e) == true }

// eval returns the value of the expression; nil is null.
func (x *scope) eval(e siddhiql.Expr) any {
	switch e := e.(type) {
	case *siddhiql.Const:
		return constant(e)
	case *siddhiql.Attr:
		return x.values[e.Index]
	case *siddhiql.AggResult:
		return x.aggregates[e.Index]
	case *siddhiql.Arith:
		return arithmetic(byte(e.Op), x.eval(e.L), x.eval(e.R), e.T)
	case *siddhiql.Compare:
		return compare(e.Op, x.eval(e.L), x.eval(e.R))
	case *siddhiql.And:
		return x.holds(e.L) && x.holds(e.R)
	case *siddhiql.Or:
		return x.holds(e.L) || x.holds(e.R)
	case *siddhiql.Not:
		return !x.holds(e.X)
	case *siddhiql.IsNull:
		return x.eval(e.X) == nil
	case *siddhiql.InRows:
		return x.in(e)
	case *siddhiql.Call:
		return x.call(e)
	default:
		panic(fmt.Sprintf("the model knows no expression %T", e))
	}
}

func constant(c *siddhiql.Const) any {
	switch c.T {
	case event.Bool:
		return c.Int != 0
	case event.Int:
		return int32(c.Int)
	case event.Long:
		return c.Int
	case event.Float:
		return float32(c.Real)
	case event.Double:
		return c.Real
	default:
		return c.Text
	}
}

// arithmetic is 3.2: null in, null out; division by zero is null; integers wrap.
func arithmetic(op byte, l, r any, t event.Type) any {
	if l == nil || r == nil {
		return nil
	}
	switch t {
	case event.Int:
		v := integer(op, int64(toInt(l)), int64(toInt(r)))
		if v == nil {
			return nil
		}
		return int32(v.(int64))
	case event.Long:
		return integer(op, toLong(l), toLong(r))
	case event.Float:
		v := real(op, float64(toFloat(l)), float64(toFloat(r)))
		if v == nil {
			return nil
		}
		return float32(v.(float64))
	default:
		return real(op, toDouble(l), toDouble(r))
	}
}

func integer(op byte, l, r int64) any {
	switch op {
	case '+':
		return l + r
	case '-':
		return l - r
	case '*':
		return l * r
	case '/':
		if r == 0 {
			return nil
		}
		return l / r
	default:
		if r == 0 {
			return nil
		}
		return l % r
	}
}

// real also computes floats: the double result of two floats, rounded to 32 bits, equals the result
// of 32-bit arithmetic.
func real(op byte, l, r float64) any {
	switch op {
	case '+':
		return l + r
	case '-':
		return l - r
	case '*':
		return l * r
	case '/':
		if r == 0 {
			return nil
		}
		return l / r
	default:
		if r == 0 {
			return nil
		}
		return math.Mod(l, r)
	}
}

// compare is 3.3: with a null operand, only != is true.
func compare(op siddhiql.CompareOp, l, r any) any {
	if l == nil || r == nil {
		return op == siddhiql.NotEqual
	}
	c := compareValues(l, r)
	switch op {
	case siddhiql.Equal:
		return c == 0
	case siddhiql.NotEqual:
		return c != 0
	case siddhiql.Less:
		return c < 0
	case siddhiql.LessEqual:
		return c <= 0
	case siddhiql.Greater:
		return c > 0
	default:
		return c >= 0
	}
}

// call is 3.5.
func (x *scope) call(c *siddhiql.Call) any {
	switch c.Func {
	case "ifThenElse":
		if x.holds(c.Args[0]) {
			return x.eval(c.Args[1])
		}
		return x.eval(c.Args[2])
	case "eventTimestamp":
		return x.ts
	case "currentTimeMillis":
		return x.now
	}
	args := make([]any, len(c.Args))
	for i, a := range c.Args {
		args[i] = x.eval(a)
	}
	switch c.Func {
	case "coalesce", "default":
		for _, a := range args {
			if a != nil {
				return a
			}
		}
		return nil
	case "convert":
		return convert(args[0], c.T)
	case "cast":
		if i, isInt := args[0].(int32); isInt && c.T == event.Long {
			return int64(i)
		}
		return args[0]
	case "maximum":
		return outermost(args, 1)
	case "minimum":
		return outermost(args, -1)
	default:
		return instanceOf(c.Func, args[0])
	}
}

// outermost is correction 8: the true maximum or minimum, null if all are null.
func outermost(args []any, sign int) any {
	var best any
	for _, a := range args {
		if a != nil && (best == nil || compareValues(a, best)*sign > 0) {
			best = a
		}
	}
	return best
}

func instanceOf(function string, v any) any {
	var ok bool
	switch function {
	case "instanceOfString":
		_, ok = v.(string)
	case "instanceOfInteger":
		_, ok = v.(int32)
	case "instanceOfLong":
		_, ok = v.(int64)
	case "instanceOfFloat":
		_, ok = v.(float32)
	case "instanceOfDouble":
		_, ok = v.(float64)
	case "instanceOfBoolean":
		_, ok = v.(bool)
	default:
		panic(fmt.Sprintf("the model knows no function %q", function))
	}
	return ok
}
