package rowjson

import (
	"github.com/eventflux/eventflux/shared/lang/event"
)

// walkDepthMax bounds the levels of brackets that fastWalk enters.
const walkDepthMax = 32

// fastWalk appends the object at p by the places where its attributes are. Like fastRow, it
// accepts only what the library would accept, with the same values: strings without escapes,
// attributes once each. In all other cases it returns false, and the library decides.
func (d *Decoder) fastWalk(b *event.Batch, n *place, p int) (end int, ok bool) {
	if d.src[p] != '{' {
		return 0, false
	}
	clear(d.isSet)
	d.given, d.others = d.given[:0], false
	if end, ok = d.walkFast(b, n, p, 1); !ok {
		return 0, false
	}
	if len(d.given) == len(d.schema.Attrs) {
		return end, true
	}
	for i := range d.schema.Attrs {
		if !d.isSet[i] {
			if !d.mapping.Optional {
				return 0, false
			}
			b.Cols[i].AppendNull()
		}
	}
	return end, true
}

// walkFast reads the value at p, or skips it where n is nil.
func (d *Decoder) walkFast(b *event.Batch, n *place, p, depth int) (end int, ok bool) {
	switch {
	case p >= len(d.src) || depth > walkDepthMax:
		return 0, false
	case n != nil && len(n.attrs) > 0:
		if len(n.attrs) > 1 || len(n.inside) > 0 || d.isSet[n.attrs[0]] {
			return 0, false
		}
		i := n.attrs[0]
		d.isSet[i] = true
		d.given = append(d.given, i)
		return fastField(&b.Cols[i], d.src, p)
	}
	switch d.src[p] {
	case '{':
		return d.walkMembers(b, n, p+1, depth)
	case '[':
		return d.walkElements(b, n, p+1, depth)
	}
	return skipScalar(d.src, p)
}

// walkMembers reads an object from p on, after its bracket.
func (d *Decoder) walkMembers(b *event.Batch, n *place, p, depth int) (end int, ok bool) {
	src := d.src
	if p = skipSpace(src, p); p < len(src) && src[p] == '}' {
		return p + 1, true
	}
	for {
		key, after := plainText(src, p)
		if after == 0 {
			return 0, false
		}
		if p = skipSpace(src, after); p >= len(src) || src[p] != ':' {
			return 0, false
		}
		var at *place
		if n != nil {
			if at = n.member(key); at == nil && depth == 1 {
				d.others = true
			}
		}
		if p, ok = d.walkFast(b, at, skipSpace(src, p+1), depth+1); !ok {
			return 0, false
		}
		if p = skipSpace(src, p); p >= len(src) {
			return 0, false
		}
		switch src[p] {
		case '}':
			return p + 1, true
		case ',':
			p = skipSpace(src, p+1)
		default:
			return 0, false
		}
	}
}

// walkElements reads an array from p on, after its bracket.
func (d *Decoder) walkElements(b *event.Batch, n *place, p, depth int) (end int, ok bool) {
	src := d.src
	if p = skipSpace(src, p); p < len(src) && src[p] == ']' {
		return p + 1, true
	}
	for i := 0; ; i++ {
		var at *place
		if n != nil {
			at = n.element(i)
		}
		if p, ok = d.walkFast(b, at, p, depth+1); !ok {
			return 0, false
		}
		if p = skipSpace(src, p); p >= len(src) {
			return 0, false
		}
		switch src[p] {
		case ']':
			return p + 1, true
		case ',':
			p = skipSpace(src, p+1)
		default:
			return 0, false
		}
	}
}

// plainText returns the string at p, which has no escapes, and where it ends; 0 if there is
// none.
func plainText(src []byte, p int) (text []byte, end int) {
	if p >= len(src) || src[p] != '"' {
		return nil, 0
	}
	for i := p + 1; i < len(src); i++ {
		switch ch := src[i]; {
		case ch == '"':
			return src[p+1 : i], i + 1
		case ch == '\\' || ch < ' ':
			return nil, 0
		}
	}
	return nil, 0
}

// skipScalar returns where the string, number, bool or null at p ends.
func skipScalar(src []byte, p int) (end int, ok bool) {
	switch src[p] {
	case '"':
		_, end = plainText(src, p)
		return end, end > 0
	case 't':
		return p + 4, hasPrefix(src[p:], "true")
	case 'f':
		return p + 5, hasPrefix(src[p:], "false")
	case 'n':
		return p + 4, hasPrefix(src[p:], "null")
	}
	end = p
	for end < len(src) && (src[end]-'0' <= 9 || src[end] == '-' || src[end] == '+' || src[end] == '.' || src[end]|0x20 == 'e') {
		end++
	}
	return end, isNumber(src[p:end])
}
