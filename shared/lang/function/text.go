package function

import (
	"unicode/utf8"
	"unsafe"
)

// textBytesMax bounds texts that can be much longer than the arguments. A longer one is null.
const textBytesMax = 1 << 20

// end makes the text that was appended to c.Text from start on the result.
func (c *Context) end(out *Value, start int) {
	out.Text = view(c.Text[start:])
}

// view returns a string that shares the memory of b.
func view(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// null makes null the result.
func null(out *Value) { *out = Value{Null: true} }

// yes makes a condition the result.
func yes(out *Value, b bool) {
	out.Int = 0
	if b {
		out.Int = 1
	}
}

// Lengths and positions count UTF-16 units, as in the other implementation of the language.

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// units returns the length of s.
func units(s string) int64 {
	n := int64(0)
	for i := 0; i < len(s); {
		if s[i] < utf8.RuneSelf {
			i++
			n++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		i += size
		n += unitsOf(r)
	}
	return n
}

func unitsOf(r rune) int64 {
	if r >= 1<<16 {
		return 2
	}
	return 1
}

// offset returns where the character with a unit starts, as an index of bytes; false if s has
// no such unit. The end of s counts as one.
func offset(s string, unit int64) (int, bool) {
	if unit < 0 || unit > int64(len(s)) {
		return 0, false
	}
	if isASCII(s) {
		return int(unit), true
	}
	n := int64(0)
	for i, r := range s {
		if unit < n+unitsOf(r) {
			return i, true
		}
		n += unitsOf(r)
	}
	return len(s), unit == n
}

// unitAt returns the number of units before a byte.
func unitAt(s string, at int) int64 { return units(s[:at]) }

// compareUnits returns the difference of the first units that differ, or else of the lengths.
func compareUnits(a, b string) int64 {
	for len(a) > 0 && len(b) > 0 {
		x, n := utf8.DecodeRuneInString(a)
		y, m := utf8.DecodeRuneInString(b)
		if x != y {
			high, low := unitsIn(x)
			other, last := unitsIn(y)
			if high != other {
				return high - other
			}
			return low - last
		}
		a, b = a[n:], b[m:]
	}
	return units(a) - units(b)
}

// unitsIn returns the units of a character; the second is 0 if there is one.
func unitsIn(r rune) (high, low int64) {
	if r < 1<<16 {
		return int64(r), 0
	}
	r -= 1 << 16
	return int64(0xd800 + r>>10), int64(0xdc00 + r&0x3ff)
}
