package window

import (
	"encoding/binary"
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// The values of a key are written one after the other: each with its kind, so that different
// keys have different bytes. null is a distinct value; so is NaN, regardless of its bits.
const (
	valueNull = iota
	valueWord
	valueText
)

// KeyNull appends a null to a key.
func KeyNull(dst []byte) []byte { return append(dst, valueNull) }

// KeyInt appends a bool, an int or a long to a key.
func KeyInt(dst []byte, v int64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, valueWord), uint64(v))
}

// KeyReal appends a float or a double to a key. 0.0 and -0.0 are different.
func KeyReal(dst []byte, v float64) []byte {
	if v != v {
		v = math.NaN()
	}
	return binary.BigEndian.AppendUint64(append(dst, valueWord), math.Float64bits(v))
}

// KeyText appends a text to a key.
func KeyText(dst []byte, v string) []byte {
	return append(binary.AppendUvarint(append(dst, valueText), uint64(len(v))), v...)
}

// keyColumn appends the value of a column to a key.
func keyColumn(dst []byte, c *event.Column, i int) []byte {
	switch {
	case c.IsNull(i):
		return KeyNull(dst)
	case c.Type.Class() == event.Texts:
		return KeyText(dst, c.Text(i))
	case c.Type.Class() == event.Reals:
		return KeyReal(dst, c.Floats[i])
	default:
		return KeyInt(dst, c.Ints[i])
	}
}

// keyer makes the keys of rows from some parameters of a window.
type keyer struct {
	config Config
	params []int // none: all attributes
	key    []byte
}

// of returns the key of a row. It is valid until the next call.
func (k *keyer) of(r Row) []byte {
	k.key = k.key[:0]
	if len(k.params) == 0 {
		for i := range r.B.Cols {
			k.key = keyColumn(k.key, &r.B.Cols[i], int(r.I))
		}
	}
	for _, n := range k.params {
		if a := k.config.Params[n].Attr; a >= 0 {
			k.key = keyColumn(k.key, &r.B.Cols[a], int(r.I))
		} else {
			k.key = k.config.Value(k.key, n, r)
		}
	}
	if k.config.CheckKey != nil {
		k.config.CheckKey(len(k.key))
	}
	return k.key
}
