package engine

import (
	"math"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// convertInt compiles convert(x, 'bool'|'int'|'long').
func convertInt(e siddhiql.Expr, to event.Type) intFn {
	switch class(e) {
	case event.Texts:
		text := compileText(e)
		return func(x *row) (int64, bool) {
			v, ok := text(x)
			if !ok {
				return 0, false
			}
			return parseInt(v, to)
		}
	case event.Reals:
		real := compileReal(e)
		return func(x *row) (int64, bool) {
			v, ok := real(x)
			return narrowReal(v, to), ok
		}
	default:
		whole := compileInt(e)
		return func(x *row) (int64, bool) {
			v, ok := whole(x)
			return narrowInt(v, to), ok
		}
	}
}

func narrowInt(v int64, to event.Type) int64 {
	switch to {
	case event.Bool:
		return boolInt(v == 1)
	case event.Int:
		return int64(int32(v))
	default:
		return v
	}
}

// narrowReal truncates towards zero and saturates; NaN is 0.
func narrowReal(v float64, to event.Type) int64 {
	least, most := int64(math.MinInt64), int64(math.MaxInt64)
	switch to {
	case event.Bool:
		return boolInt(v == 1)
	case event.Int:
		least, most = math.MinInt32, math.MaxInt32
	}
	switch {
	case v != v:
		return 0
	case v >= float64(most):
		return most
	case v <= float64(least):
		return least
	}
	return int64(v)
}

// parseInt reads decimal digits with an optional sign, as Java does.
func parseInt(text string, to event.Type) (int64, bool) {
	if to == event.Bool {
		return boolInt(strings.EqualFold(text, "true")), true
	}
	bits := 64
	if to == event.Int {
		bits = 32
	}
	v, err := strconv.ParseInt(text, 10, bits)
	return v, err == nil
}

// convertReal compiles convert(x, 'float'|'double').
func convertReal(e siddhiql.Expr, to event.Type) realFn {
	if class(e) == event.Texts {
		text := compileText(e)
		return func(x *row) (float64, bool) {
			v, ok := text(x)
			if !ok {
				return 0, false
			}
			return parseReal(v, to)
		}
	}
	real := compileReal(e)
	if to == event.Double {
		return real
	}
	whole := class(e) == event.Integers
	var exact intFn
	if whole {
		exact = compileInt(e)
	}
	return func(x *row) (float64, bool) {
		if whole { // a long is rounded once, not by way of a double
			v, ok := exact(x)
			return float64(float32(v)), ok
		}
		v, ok := real(x)
		return float64(float32(v)), ok
	}
}

// parseReal reads a decimal number, "NaN" or "Infinity" with an optional sign.
// White space around it is allowed, as Java allows it.
func parseReal(text string, to event.Type) (float64, bool) {
	text = strings.Trim(text, " \t\r\n\f\v")
	bits := 64
	if to == event.Float {
		bits = 32
	}
	if digits := strings.TrimLeft(text, "+-"); len(text)-len(digits) > 1 || !wellFormedReal(digits) {
		return 0, false
	}
	v, err := strconv.ParseFloat(text, bits)
	if err != nil && !math.IsInf(v, 0) { // out of range is infinite, as in Java
		return 0, false
	}
	return v, true
}

func wellFormedReal(digits string) bool {
	if digits == "NaN" || digits == "Infinity" {
		return true
	}
	return digits != "" && strings.Trim(digits, "0123456789.eE+-") == ""
}

// convertText compiles convert(x, 'string'): a value's text.
func convertText(e siddhiql.Expr) textFn {
	switch class(e) {
	case event.Texts:
		return compileText(e)
	case event.Reals:
		real, float := compileReal(e), read(e) == event.Float
		return func(x *row) (string, bool) {
			v, ok := real(x)
			if !ok {
				return "", false
			}
			start := len(x.text)
			x.text = appendReal(x.text, v, float)
			return x.view(start), true
		}
	default:
		whole, logical := compileInt(e), read(e) == event.Bool
		return func(x *row) (string, bool) {
			v, ok := whole(x)
			if !ok {
				return "", false
			}
			start := len(x.text)
			if logical {
				x.text = strconv.AppendBool(x.text, v != 0)
			} else {
				x.text = strconv.AppendInt(x.text, v, 10)
			}
			return x.view(start), true
		}
	}
}

// appendReal appends a number as Java writes it: the shortest digits that read
// back the same, with a digit on either side of the point, and an exponent
// outside [1e-3, 1e7).
func appendReal(dst []byte, v float64, float bool) []byte {
	bits := 64
	if float {
		bits = 32
	}
	switch abs := math.Abs(v); {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	case abs != 0 && (abs < 1e-3 || abs >= 1e7):
		return appendScientific(dst, v, bits)
	}
	start := len(dst)
	dst = strconv.AppendFloat(dst, v, 'f', -1, bits)
	for _, c := range dst[start:] {
		if c == '.' {
			return dst
		}
	}
	return append(dst, ".0"...)
}

// appendScientific writes 1.0E10 where strconv would write 1e+10.
func appendScientific(dst []byte, v float64, bits int) []byte {
	var scratch [32]byte
	mantissa, exponent, _ := strings.Cut(string(strconv.AppendFloat(scratch[:0], v, 'E', -1, bits)), "E")
	dst = append(dst, mantissa...)
	if !strings.Contains(mantissa, ".") {
		dst = append(dst, ".0"...)
	}
	dst = append(dst, 'E')
	power, _ := strconv.Atoi(exponent)
	return strconv.AppendInt(dst, int64(power), 10)
}
