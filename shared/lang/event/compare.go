package event

import (
	"cmp"
	"math"
	"unicode/utf8"
)

// Compare orders rows a and b of the column, which must not be null: false before true,
// -0.0 before 0.0, NaN last, text by UTF-16 code units as in Java. It returns a number
// below, at or above 0.
func (c *Column) Compare(a, b int) int {
	switch c.Type.Class() {
	case Texts:
		return CompareTexts(c.Text(a), c.Text(b))
	case Reals:
		return compareReals(c.Floats[a], c.Floats[b])
	default:
		return cmp.Compare(c.Ints[a], c.Ints[b])
	}
}

// CompareNullsLast is Compare, or its reverse if desc is set, with nulls after everything
// in either case.
func (c *Column) CompareNullsLast(a, b int, desc bool) int {
	switch nullA, nullB := c.IsNull(a), c.IsNull(b); {
	case nullA && nullB:
		return 0
	case nullA:
		return 1
	case nullB:
		return -1
	case desc:
		return c.Compare(b, a)
	}
	return c.Compare(a, b)
}

// Rank returns a number for row i that usually decides CompareNullsLast: of two rows with
// different numbers, the one with the smaller comes first. Equal numbers decide nothing;
// all texts have the same one.
func (c *Column) Rank(i int, desc bool) uint64 {
	rank := uint64(0)
	switch class := c.Type.Class(); {
	case c.IsNull(i):
		return math.MaxUint64
	case class == Texts:
	case class == Reals && math.IsNaN(c.Floats[i]):
		rank = math.MaxUint64
	case class == Reals:
		bits := int64(math.Float64bits(c.Floats[i]))
		rank = uint64(bits^int64(uint64(bits>>63)>>1)) ^ 1<<63
	default:
		rank = uint64(c.Ints[i]) ^ 1<<63
	}
	if desc {
		return ^rank
	}
	return rank
}

func compareReals(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	case a == b && math.Signbit(a) != math.Signbit(b):
		if math.Signbit(a) {
			return -1
		}
		return 1
	case a == b:
		return 0
	default: // NaN is cmp's least, and the greatest here
		return cmp.Compare(b, a)
	}
}

// CompareTexts compares texts as their UTF-16 forms: a character beyond U+FFFF starts with a
// surrogate, which is less than U+E000.
func CompareTexts(a, b string) int {
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
