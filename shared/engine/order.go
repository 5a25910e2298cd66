package engine

import (
	"cmp"
	"math"
	"unicode/utf8"

	"eventflux/shared/event"
)

// compareCells orders two values of a column that are not null: false before
// true, -0.0 before 0.0, NaN last, text by UTF-16 code units as Java has it.
func compareCells(c *event.Column, a, b int) int {
	switch c.Type.Class() {
	case event.Texts:
		return compareUTF16(c.Text(a), c.Text(b))
	case event.Reals:
		return compareReals(c.Floats[a], c.Floats[b])
	default:
		return cmp.Compare(c.Ints[a], c.Ints[b])
	}
}

func compareReals(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b:
		return cmp.Compare(boolInt(math.Signbit(b)), boolInt(math.Signbit(a)))
	default: // NaN is cmp's least, and the greatest here
		return cmp.Compare(b, a)
	}
}

// compareUTF16 compares as the UTF-16 forms would: a character beyond U+FFFF
// begins with a surrogate, which is less than U+E000.
func compareUTF16(a, b string) int {
	for a != "" && b != "" {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		if x != y {
			if order := cmp.Compare(firstUnit(x), firstUnit(y)); order != 0 {
				return order
			}
			return cmp.Compare(x, y)
		}
		a, b = a[n:], b[m:]
	}
	return cmp.Compare(len(a), len(b))
}

func firstUnit(r rune) rune {
	if r < 0x10000 {
		return r
	}
	return 0xD800 + (r-0x10000)>>10
}
