package rowjson

import (
	"github.com/eventflux/eventflux/shared/lang/event"
)

// fastRow appends the row at p if it has the common shape: keys in the order of the last
// row, strings without escapes, integers without fraction or exponent, no objects. In all
// other cases, including wrong rows, it returns false and leaves the row half-written; the
// library then decides. So it accepts nothing that the library would refuse, and never
// refuses anything itself.
func (d *Decoder) fastRow(b *event.Batch, p int, isArray bool) (end int, ok bool) {
	src := d.src
	last := byte('}')
	if isArray {
		last = ']'
	} else if src[p] != '{' {
		return 0, false
	}
	p++
	for n, i := range d.order {
		if isArray {
			i = n
		}
		if n > 0 {
			if p >= len(src) || src[p] != ',' {
				return 0, false
			}
			p++
		}
		p = skipSpace(src, p)
		if !isArray {
			key := d.keys[i]
			if len(src)-p < len(key) || string(src[p:p+len(key)]) != key {
				return 0, false
			}
			p = skipSpace(src, p+len(key))
		}
		if p, ok = fastField(&b.Cols[i], src, p); !ok {
			return 0, false
		}
		p = skipSpace(src, p)
	}
	if p >= len(src) || src[p] != last {
		return 0, false
	}
	return p + 1, true
}

// fastField appends the value at p and returns where it ends.
func fastField(c *event.Column, src []byte, p int) (end int, ok bool) {
	if p >= len(src) {
		return 0, false
	}
	switch c.Type {
	case event.String:
		if src[p] == '"' {
			return fastString(c, src, p+1)
		}
	case event.Int, event.Long:
		v, end, ok := fastInteger(src, p)
		if ok && (c.Type == event.Long || v == int64(int32(v))) {
			c.AppendInt(v)
			return end, true
		}
	case event.Float, event.Double:
		v, end, ok := fastReal(src, p, c.Type)
		if ok {
			c.AppendFloat(v)
			return end, true
		}
	case event.Bool:
		if hasPrefix(src[p:], "true") {
			c.AppendInt(1)
			return p + 4, true
		}
		if hasPrefix(src[p:], "false") {
			c.AppendInt(0)
			return p + 5, true
		}
	}
	if hasPrefix(src[p:], "null") {
		c.AppendNull()
		return p + 4, true
	}
	return 0, false
}

func hasPrefix(src []byte, prefix string) bool {
	return len(src) >= len(prefix) && string(src[:len(prefix)]) == prefix
}

// fastString appends the string whose text starts at p.
func fastString(c *event.Column, src []byte, p int) (end int, ok bool) {
	for i := p; i < len(src); i++ {
		switch ch := src[i]; {
		case ch == '"':
			c.Bytes = append(c.Bytes, src[p:i]...)
			c.Ends = append(c.Ends, uint32(len(c.Bytes)))
			return i + 1, true
		case ch == '\\' || ch < ' ':
			return 0, false
		}
	}
	return 0, false
}

// fastInteger reads a whole number of up to 18 digits, which cannot overflow. The caller
// refuses a fraction or an exponent after it.
func fastInteger(src []byte, p int) (v int64, end int, ok bool) {
	negative := src[p] == '-'
	if negative {
		p++
	}
	start := p
	v, p = digits(src, p, 0)
	if n := p - start; n == 0 || n > 18 || n > 1 && src[start] == '0' {
		return 0, 0, false
	}
	if negative {
		v = -v
	}
	return v, p, true
}

var powersOfTen = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15}

// fastReal reads a number. Up to 15 digits without an exponent, digits and power
// of ten are exact doubles, and their quotient is rounded once (Clinger 1990); for
// a float the same holds up to 7 digits. The rest is for strconv.
func fastReal(src []byte, p int, t event.Type) (v float64, end int, ok bool) {
	first := p
	negative := src[p] == '-'
	if negative {
		p++
	}
	start := p
	mantissa, p := digits(src, p, 0)
	whole, decimals := p-start, 0
	if whole == 0 || whole > 1 && src[start] == '0' {
		return 0, 0, false
	}
	if p < len(src) && src[p] == '.' {
		point := p + 1
		mantissa, p = digits(src, point, mantissa)
		if decimals = p - point; decimals == 0 {
			return 0, 0, false
		}
	}
	switch count := whole + decimals; {
	case p < len(src) && src[p]|0x20 == 'e':
		if p, ok = exponentEnd(src, p+1); !ok {
			return 0, 0, false
		}
	case t == event.Double && count <= 15:
		return signed(float64(mantissa)/powersOfTen[decimals], negative), p, true
	case t == event.Float && count <= 7:
		return signed(float64(float32(mantissa)/float32(powersOfTen[decimals])), negative), p, true
	}
	v, problem := real(src[first:p], t)
	return v, p, problem == ""
}

// digits reads digits and returns them as a number that continues v, and where
// they end. Beyond 18 of them the number is meaningless.
func digits(src []byte, p int, v int64) (int64, int) {
	for ; p < len(src) && src[p]-'0' <= 9; p++ {
		v = v*10 + int64(src[p]-'0')
	}
	return v, p
}

// exponentEnd returns where the exponent ends that starts at p, after its letter.
func exponentEnd(src []byte, p int) (end int, ok bool) {
	if p < len(src) && (src[p] == '+' || src[p] == '-') {
		p++
	}
	_, end = digits(src, p, 0)
	return end, end > p
}

func signed(v float64, negative bool) float64 {
	if negative {
		return -v
	}
	return v
}
