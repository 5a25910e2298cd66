package table

import (
	"encoding/binary"
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Value is a value of an attribute. Which field counts follows from the class of the
// attribute's type; a text may share memory that is valid only for the moment.
type Value struct {
	Null bool
	Int  int64
	Real float64
	Text string
}

// appendKey appends a value so that the bytes are in the order of values: false before true,
// numbers by value, strings by UTF-16 unit. A key of several values is the concatenation.
func appendKey(dst []byte, c event.Class, v *Value) []byte {
	switch c {
	case event.Reals:
		bits := math.Float64bits(v.Real + 0) // -0.0 is the same key as 0.0
		if bits>>63 == 1 {
			bits = ^bits
		} else {
			bits |= 1 << 63
		}
		return binary.BigEndian.AppendUint64(dst, bits)
	case event.Texts:
		return appendTextKey(dst, v.Text)
	default:
		return binary.BigEndian.AppendUint64(dst, uint64(v.Int)^1<<63)
	}
}

// appendTextKey appends the UTF-8 of a text, with the characters from U+E000 to U+FFFF after
// those above, as UTF-16 has them: their lead bytes 0xEE and 0xEF become 0xF8 and 0xF9. A zero
// byte is escaped, and two end the text.
func appendTextKey(dst []byte, s string) []byte {
	for i := range len(s) {
		switch b := s[i]; b {
		case 0:
			dst = append(dst, 0, 0xff)
		case 0xee, 0xef:
			dst = append(dst, b+0xf8-0xee)
		default:
			dst = append(dst, b)
		}
	}
	return append(dst, 0, 0)
}
