package model

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// toInt, toLong, toFloat and toDouble are Java's conversions of numbers: longs wrap, reals are
// truncated and saturate.
func toInt(v any) int32 {
	switch v := v.(type) {
	case int32:
		return v
	case int64:
		return int32(v)
	default:
		f := toDouble(v)
		switch {
		case math.IsNaN(f):
			return 0
		case f >= math.MaxInt32:
			return math.MaxInt32
		case f <= math.MinInt32:
			return math.MinInt32
		}
		return int32(f)
	}
}

func toLong(v any) int64 {
	switch v := v.(type) {
	case int32:
		return int64(v)
	case int64:
		return v
	default:
		f := toDouble(v)
		switch {
		case math.IsNaN(f):
			return 0
		case f >= math.MaxInt64:
			return math.MaxInt64
		case f <= math.MinInt64:
			return math.MinInt64
		}
		return int64(f)
	}
}

func toFloat(v any) float32 {
	switch v := v.(type) {
	case int32:
		return float32(v)
	case int64:
		return float32(v)
	case float32:
		return v
	default:
		return float32(toDouble(v))
	}
}

func toDouble(v any) float64 {
	switch v := v.(type) {
	case int32:
		return float64(v)
	case int64:
		return float64(v)
	case float32:
		return float64(v)
	case float64:
		return v
	default:
		panic(fmt.Sprintf("%v (%T) is no number", v, v))
	}
}

// compareValues orders two non-null values that the language can compare: numbers
// of any types, strings by UTF-16 code unit, false before true (3.3, 4.6).
func compareValues(a, b any) int {
	switch a := a.(type) {
	case string:
		return slices.Compare(utf16.Encode([]rune(a)), utf16.Encode([]rune(b.(string))))
	case bool:
		return cmp.Compare(bit(a), bit(b.(bool)))
	case float32, float64:
		return cmp.Compare(toDouble(a), toDouble(b))
	default:
		switch b.(type) {
		case float32, float64:
			return cmp.Compare(toDouble(a), toDouble(b))
		}
		return cmp.Compare(toLong(a), toLong(b))
	}
}

// compareTotal orders like compareValues, but puts -0.0 before 0.0: when values are sorted, they
// are equal only if aggregators treat them as equal (6).
func compareTotal(a, b any) int {
	if c := compareValues(a, b); c != 0 || !isReal(a) {
		return c
	}
	return cmp.Compare(bit(!math.Signbit(toDouble(a))), bit(!math.Signbit(toDouble(b))))
}

func isNumber(v any) bool {
	switch v.(type) {
	case int32, int64, float32, float64:
		return true
	}
	return false
}

func isReal(v any) bool {
	switch v.(type) {
	case float32, float64:
		return true
	}
	return false
}

// compareNullsLast orders for order by and sort: nulls last in both directions.
func compareNullsLast(a, b any, descending bool) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	case descending:
		return -compareTotal(a, b)
	default:
		return compareTotal(a, b)
	}
}

func bit(b bool) int {
	if b {
		return 1
	}
	return 0
}

// convert is the function convert() of 3.5.
func convert(v any, t event.Type) any {
	if v == nil {
		return nil
	}
	switch t {
	case event.String:
		return text(v)
	case event.Bool:
		switch v := v.(type) {
		case bool:
			return v
		case string:
			return strings.EqualFold(v, "true")
		default:
			return toDouble(v) == 1
		}
	}
	switch w := v.(type) {
	case bool:
		v = int32(bit(w))
	case string:
		return parse(w, t)
	}
	switch t {
	case event.Int:
		return toInt(v)
	case event.Long:
		return toLong(v)
	case event.Float:
		return toFloat(v)
	default:
		return toDouble(v)
	}
}

// parse parses a number, or returns null.
func parse(s string, t event.Type) any {
	var v any
	var err error
	switch t {
	case event.Int:
		var i int64
		i, err = strconv.ParseInt(s, 10, 32)
		v = int32(i)
	case event.Long:
		v, err = strconv.ParseInt(s, 10, 64)
	case event.Float:
		var f float64
		f, err = strconv.ParseFloat(s, 32)
		v = float32(f)
	default:
		v, err = strconv.ParseFloat(s, 64)
	}
	if err != nil {
		return nil
	}
	return v
}

// text returns a value as Java prints it, for partition keys and convert().
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case json.RawMessage:
		return string(v)
	case float32:
		return realText(float64(v), 32)
	case float64:
		return realText(v, 64)
	default:
		return fmt.Sprint(v)
	}
}

// realText prints like Double.toString: 1.0, 0.001, 1.0E7, 1.5E-4.
func realText(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	if a := math.Abs(f); a == 0 || a >= 1e-3 && a < 1e7 {
		s := strconv.FormatFloat(f, 'f', -1, bits)
		if !strings.Contains(s, ".") {
			s += ".0"
		}
		return s
	}
	mantissa, exponent, _ := strings.Cut(strconv.FormatFloat(f, 'e', -1, bits), "e")
	if !strings.Contains(mantissa, ".") {
		mantissa += ".0"
	}
	n, _ := strconv.Atoi(exponent)
	return mantissa + "E" + strconv.Itoa(n)
}
