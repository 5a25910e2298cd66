package rowjson

import (
	"bytes"
	"math"
	"strconv"
	"unsafe"

	"github.com/go-faster/jx"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Long returns the whole number that a JSON number stands for, as an attribute of type long
// accepts it: 3.0 is 3. It returns false for a fraction and for numbers that 64 bits cannot
// hold.
func Long(text []byte) (int64, bool) {
	v, problem := integer(text, event.Long)
	return v, problem == ""
}

// Scalar appends the number or bool that text stands for, written as in JSON, to a column of
// such a type.
func Scalar(c *event.Column, text string) *RowError {
	raw := unsafe.Slice(unsafe.StringData(text), len(text)) // only read
	problem := WrongType
	switch {
	case isNumber(raw):
		problem = appendValue(c, jx.Number, raw)
	case text == "true" || text == "false":
		problem = appendValue(c, jx.Bool, raw)
	}
	if problem == "" {
		return nil
	}
	return &RowError{Problem: problem, Expected: expected(c.Type, problem), Found: Quoted(text)}
}

// isNumber reports whether text is a JSON number.
func isNumber(text []byte) bool {
	start := 0
	if len(text) > 0 && text[0] == '-' {
		start = 1
	}
	_, p := digits(text, start, 0)
	if p == start || p > start+1 && text[start] == '0' {
		return false
	}
	if p < len(text) && text[p] == '.' {
		point := p + 1
		if _, p = digits(text, point, 0); p == point {
			return false
		}
	}
	if p < len(text) && text[p]|0x20 == 'e' {
		end, ok := exponentEnd(text, p+1)
		return ok && end == len(text)
	}
	return p == len(text)
}

// integer returns the whole number that text, a valid JSON number, stands for.
// It never goes through a float, so that all 64 bits are exact. The problem is
// WrongType where text has a fraction, and OutOfRange where it exceeds the type.
func integer(text []byte, t event.Type) (int64, Problem) {
	if bytes.ContainsAny(text, ".eE") {
		plain, problem := expand(text)
		if problem != "" {
			return 0, problem
		}
		text = plain
	}
	bits := 64
	if t == event.Int {
		bits = 32
	}
	v, err := strconv.ParseInt(view(text), 10, bits)
	if err != nil {
		return 0, OutOfRange
	}
	return v, ""
}

// expand rewrites a number with a fraction or an exponent as plain digits.
func expand(text []byte) ([]byte, Problem) {
	plain := make([]byte, 0, 24)
	if text[0] == '-' {
		plain, text = append(plain, '-'), text[1:]
	}
	exponent := 0
	if i := bytes.IndexAny(text, "eE"); i >= 0 {
		exponent = clampedInt(text[i+1:])
		text = text[:i]
	}
	whole, fraction, _ := bytes.Cut(text, []byte{'.'})
	digits := append(bytes.Clone(whole), fraction...)
	exponent -= len(fraction)
	digits = bytes.TrimLeft(digits, "0")
	if len(digits) == 0 {
		return []byte{'0'}, ""
	}
	significant := bytes.TrimRight(digits, "0")
	exponent += len(digits) - len(significant)
	switch {
	case exponent < 0:
		return nil, WrongType
	case len(significant)+exponent > 19:
		return nil, OutOfRange
	}
	plain = append(plain, significant...)
	for range exponent {
		plain = append(plain, '0')
	}
	return plain, ""
}

// clampedInt parses an exponent. It reduces one beyond a billion to that, which is far more
// digits than any text has, so that sums with it cannot overflow.
func clampedInt(text []byte) int {
	const limit = 1_000_000_000
	v, err := strconv.ParseInt(view(text), 10, 64)
	if err != nil && text[0] == '-' {
		return -limit
	}
	if err != nil {
		return limit
	}
	return int(max(-limit, min(limit, v)))
}

// real returns the number nearest to text, a valid JSON number, rounded once to
// the type's width.
func real(text []byte, t event.Type) (float64, Problem) {
	bits := 64
	if t == event.Float {
		bits = 32
	}
	v, err := strconv.ParseFloat(view(text), bits)
	if err != nil || math.IsInf(v, 0) {
		return 0, OutOfRange
	}
	return v, ""
}

// view returns text as a string that shares its memory, to be used at once.
func view(text []byte) string { return unsafe.String(unsafe.SliceData(text), len(text)) }
