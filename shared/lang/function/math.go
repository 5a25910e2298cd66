package function

import (
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function/exactmath"
)

// Each function gives the same bits on every processor: it uses package exactmath, or only
// operations that IEEE 754 defines exactly, and converts each product before it is added.

func init() {
	for _, f := range []struct {
		name, doc, example, gives string
		f                         func(float64) float64
	}{
		{"abs", "the number without its sign", "math:abs(-5.5)", "5.5", math.Abs},
		{"acos", "the angle of a cosine", "math:acos(1.0)", "0", exactmath.Acos},
		{"asin", "the angle of a sine", "math:asin(0.0)", "0", exactmath.Asin},
		{"cbrt", "the cube root", "math:cbrt(27.0)", "3", exactmath.Cbrt},
		{"ceil", "the smallest whole number that is not smaller", "math:ceil(423.18)", "424", math.Ceil},
		{"cos", "the cosine of an angle", "math:cos(0.0)", "1", exactmath.Cos},
		{"cosh", "the hyperbolic cosine", "math:cosh(0.0)", "1", exactmath.Cosh},
		{"exp", "e to the power of the number", "math:exp(0.0)", "1", exactmath.Exp},
		{"floor", "the largest whole number that is not larger", "math:floor(10.23)", "10", math.Floor},
		{"ln", "the natural logarithm", "math:ln(1.0)", "0", exactmath.Log},
		{"log10", "the logarithm to base 10", "math:log10(1000.0)", "3", exactmath.Log10},
		{"log2", "the logarithm to base 2", "math:log2(8.0)", "3", exactmath.Log2},
		{"sin", "the sine of an angle", "math:sin(0.0)", "0", exactmath.Sin},
		{"sinh", "the hyperbolic sine", "math:sinh(0.0)", "0", exactmath.Sinh},
		{"sqrt", "the square root", "math:sqrt(4.0)", "2", math.Sqrt},
		{"tan", "the tangent of an angle", "math:tan(0.0)", "0", exactmath.Tan},
		{"tanh", "the hyperbolic tangent", "math:tanh(0.0)", "0", exactmath.Tanh},
		{"toDegrees", "an angle in radians as degrees", "math:toDegrees(0.0)", "0", func(x float64) float64 { return float64(x*180) / math.Pi }},
		{"toRadians", "an angle in degrees as radians", "math:toRadians(180.0)", "3.141592653589793", func(x float64) float64 { return float64(x/180) * math.Pi }},
	} {
		name := "math:" + f.name
		Register(Spec{
			Name: name, Signatures: []string{name + "(x double) double"}, Doc: f.doc, Example: f.example, Gives: f.gives,
			Bind: always(func(_ *Context, args []Value, out *Value) { out.Real = f.f(args[0].Real) }),
		})
	}
	initPairs()
	initNumberTests()
}

// initPairs registers functions of two numbers, and constants.
func initPairs() {
	for _, f := range []struct {
		name, params, doc, example, gives string
		f                                 func(a, b float64) float64
	}{
		{"copySign", "(x double, sign double)", "the first number with the sign of the second", "math:copySign(5.6, -3.0)", "-5.6", math.Copysign},
		{"max", "(a double, b double)", "the larger number", "math:max(123.67, 91.0)", "123.67", math.Max},
		{"min", "(a double, b double)", "the smaller number", "math:min(123.67, 91.0)", "91", math.Min},
		{"power", "(x double, y double)", "x to the power of y", "math:power(2.0, 10)", "1024", exactmath.Pow},
		{"atan2", "(y double, x double)", "the angle of the point (x, y)", "math:atan2(0.0, 1.0)", "0", exactmath.Atan2},
	} {
		name := "math:" + f.name
		Register(Spec{
			Name: name, Signatures: []string{name + f.params + " double"}, Doc: f.doc, Example: f.example, Gives: f.gives,
			Bind: always(func(_ *Context, args []Value, out *Value) { out.Real = f.f(args[0].Real, args[1].Real) }),
		})
	}
	Register(Spec{
		Name: "math:atan", Signatures: []string{"math:atan(x double[, y double]) double"},
		Doc: "the angle of a tangent; of two numbers, the angle of the point (y, x)", Example: "math:atan(0.0)", Gives: "0",
		Bind: always(func(_ *Context, args []Value, out *Value) {
			if len(args) > 1 {
				out.Real = exactmath.Atan2(args[0].Real, args[1].Real)
				return
			}
			out.Real = exactmath.Atan(args[0].Real)
		}),
	})
	Register(Spec{
		Name: "math:log", Signatures: []string{"math:log(x double, base double) double"},
		Doc: "the logarithm to a base; null to base 1", Example: "math:log(8.0, 2)", Gives: "3",
		Bind: always(func(_ *Context, args []Value, out *Value) {
			if args[1].Real == 1 {
				null(out)
				return
			}
			out.Real = exactmath.LogTo(args[0].Real, args[1].Real)
		}),
	})
	for name, value := range map[string]float64{"math:e": math.E, "math:pi": math.Pi} {
		gives := map[float64]string{math.E: "2.718281828459045", math.Pi: "3.141592653589793"}
		Register(Spec{
			Name: name, Signatures: []string{name + "() double"}, Doc: "the number " + name[5:], Example: name + "()", Gives: gives[value],
			Bind: always(func(_ *Context, _ []Value, out *Value) { out.Real = value }),
		})
	}
}

// initNumberTests registers functions that look at a number, and rounding.
func initNumberTests() {
	test := func(name, doc, example string, f func(float64) bool) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(x double) bool"}, Doc: doc, Example: example, Gives: "false",
			Bind: always(func(_ *Context, args []Value, out *Value) { yes(out, f(args[0].Real)) }),
		})
	}
	test("math:isInfinite", "whether the number is infinite", "math:isInfinite(5.0)", func(x float64) bool { return math.IsInf(x, 0) })
	test("math:isNan", "whether the number is NaN", "math:isNan(5.0)", math.IsNaN)
	Register(Spec{
		Name: "math:signum", Signatures: []string{"math:signum(x double) int"},
		Doc: "-1, 0 or 1, as the sign is", Example: "math:signum(-6.32)", Gives: "-1",
		Bind: always(func(_ *Context, args []Value, out *Value) {
			switch x := args[0].Real; {
			case x > 0:
				out.Int = 1
			case x < 0:
				out.Int = -1
			}
		}),
	})
	Register(Spec{
		Name: "math:getExponent", Signatures: []string{"math:getExponent(x double) int"},
		Doc: "the exponent of the number as a power of 2", Example: "math:getExponent(60984.1)", Gives: "15",
		Bind: always(func(_ *Context, args []Value, out *Value) {
			out.Int = int64(math.Float64bits(args[0].Real)>>52&0x7ff) - 1023
		}),
	})
	Register(Spec{
		Name: "math:round", Signatures: []string{"math:round(x number)"}, Type: roundedType,
		Doc: "the nearest whole number, and of two the larger: an int for a float, a long for a double", Example: "math:round(-2.5)", Gives: "-2",
		Bind: func(args []Arg) (Func, error) {
			if args[0].Type.Class() == event.Integers {
				return func(_ *Context, args []Value, out *Value) { out.Int = args[0].Int }, nil
			}
			least, most := int64(math.MinInt64), int64(math.MaxInt64)
			if args[0].Type == event.Float {
				least, most = math.MinInt32, math.MaxInt32
			}
			return func(_ *Context, args []Value, out *Value) { out.Int = rounded(args[0].Real, least, most) }, nil
		},
	})
}

func roundedType(args []Arg) (event.Type, error) {
	switch args[0].Type {
	case event.Float:
		return event.Int, nil
	case event.Double:
		return event.Long, nil
	}
	return args[0].Type, nil
}

// rounded rounds half up within limits; NaN is 0.
func rounded(x float64, least, most int64) int64 {
	f := math.Floor(x)
	if x-f >= .5 {
		f++
	}
	switch {
	case f != f:
		return 0
	case f >= float64(most):
		return most
	case f <= float64(least):
		return least
	}
	return int64(f)
}
