package rowjson

import (
	"math"
	"strconv"
	"unicode/utf8"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// AppendObject appends row i of b to dst as a JSON object, its attributes in the
// order of the schema. Values are written by the types of the columns.
func AppendObject(dst []byte, b *event.Batch, i int) []byte {
	dst = append(dst, '{')
	for n := range b.Cols {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = appendKey(dst, b.Schema.Attrs[n].Name)
		dst = AppendValue(dst, &b.Cols[n], i)
	}
	return append(dst, '}')
}

// AppendArray appends row i of b to dst as a JSON array of its values.
func AppendArray(dst []byte, b *event.Batch, i int) []byte {
	dst = append(dst, '[')
	for n := range b.Cols {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = AppendValue(dst, &b.Cols[n], i)
	}
	return append(dst, ']')
}

// AppendValue appends row i of c to dst as a JSON value.
func AppendValue(dst []byte, c *event.Column, i int) []byte {
	if c.IsNull(i) {
		return append(dst, "null"...)
	}
	switch c.Type {
	case event.String:
		return appendString(dst, c.Text(i))
	case event.Float, event.Double:
		if v := c.Floats[i]; math.IsNaN(v) || math.IsInf(v, 0) {
			dst = append(dst, '"')
			dst = AppendText(dst, c, i)
			return append(dst, '"')
		}
	}
	return AppendText(dst, c, i)
}

// AppendText appends row i of c to dst as the text that convert(x, 'string') and
// partition keys have: a string itself, other values as their JSON, and NaN and
// the infinities by name. Nothing is appended for null.
func AppendText(dst []byte, c *event.Column, i int) []byte {
	if c.IsNull(i) {
		return dst
	}
	switch c.Type {
	case event.Bool:
		return strconv.AppendBool(dst, c.Ints[i] != 0)
	case event.Float:
		return appendReal(dst, c.Floats[i], 32)
	case event.Double:
		return appendReal(dst, c.Floats[i], 64)
	case event.String, event.Object:
		return append(dst, c.Text(i)...)
	default:
		return strconv.AppendInt(dst, c.Ints[i], 10)
	}
}

// appendReal appends the shortest text that reads back to the same value of the
// given width, with an exponent where encoding/json has one.
func appendReal(dst []byte, v float64, bits int) []byte {
	switch {
	case math.IsNaN(v):
		return append(dst, "NaN"...)
	case math.IsInf(v, 1):
		return append(dst, "Infinity"...)
	case math.IsInf(v, -1):
		return append(dst, "-Infinity"...)
	}
	if size := math.Abs(v); size == 0 || size >= 1e-6 && size < 1e21 {
		return strconv.AppendFloat(dst, v, 'f', -1, bits)
	}
	dst = strconv.AppendFloat(dst, v, 'e', -1, bits)
	if n := len(dst); dst[n-4] == 'e' && dst[n-3] == '-' && dst[n-2] == '0' {
		dst[n-2] = dst[n-1] // e-09 becomes e-9
		dst = dst[:n-1]
	}
	return dst
}

func appendKey(dst []byte, name string) []byte { return append(appendString(dst, name), ':') }

// appendString appends s as a JSON string. Bytes that are not UTF-8 become \ufffd.
func appendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= ' ' && c < utf8.RuneSelf && c != '"' && c != '\\' {
			i++
			continue
		}
		size := 1
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
		}
		dst = append(dst, s[start:i]...)
		dst = appendEscape(dst, c)
		i += size
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// appendEscape appends the escape of a byte that cannot stand in a string.
func appendEscape(dst []byte, c byte) []byte {
	const hex = "0123456789abcdef"
	switch {
	case c == '"' || c == '\\':
		return append(dst, '\\', c)
	case c == '\n':
		return append(dst, `\n`...)
	case c == '\r':
		return append(dst, `\r`...)
	case c == '\t':
		return append(dst, `\t`...)
	case c >= utf8.RuneSelf:
		return append(dst, `\ufffd`...)
	default:
		return append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
	}
}
