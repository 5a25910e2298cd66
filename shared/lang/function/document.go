package function

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// document is a JSON text, parsed once per row however many functions ask for it. Its nodes
// point into the text, and their memory is used again for the next text.
type document struct {
	row   uint64
	text  string
	nodes []node // in the order of the text; the root is the first; none: not JSON
}

// node is one value. An array's or object's members follow it; next is the index after the
// last node that belongs to it.
type node struct {
	kind       byte // first character of the value: { [ " t f n, or 0 for numbers
	start, end int32
	key        [2]int32 // of a member: where its key is, without quotes
	next       int32
}

const (
	jsonDepthMax = 64
	jsonBytesMax = 64 << 20
)

// parse returns the document of a text.
func (c *Context) parse(text string) *document {
	d := &c.doc
	if d.row == c.Row && len(d.text) == len(text) && unsafe.StringData(d.text) == unsafe.StringData(text) {
		return d
	}
	d.row, d.text, d.nodes = c.Row, text, d.nodes[:0]
	p := jsonParser{text: text, nodes: d.nodes}
	if len(text) > jsonBytesMax || !p.value(0) || p.blanks() != len(text) {
		p.nodes = p.nodes[:0]
	}
	d.nodes = p.nodes
	return d
}

type jsonParser struct {
	text  string
	at    int
	nodes []node
}

func (p *jsonParser) blanks() int {
	for p.at < len(p.text) && strings.IndexByte(" \t\r\n", p.text[p.at]) >= 0 {
		p.at++
	}
	return p.at
}

func (p *jsonParser) take(c byte) bool {
	if p.blanks() == len(p.text) || p.text[p.at] != c {
		return false
	}
	p.at++
	return true
}

// value reads a value and appends its nodes.
func (p *jsonParser) value(depth int) bool {
	if p.blanks() == len(p.text) || depth > jsonDepthMax {
		return false
	}
	n := len(p.nodes)
	p.nodes = append(p.nodes, node{start: int32(p.at)})
	ok := false
	c := p.text[p.at]
	switch c {
	case '{':
		ok = p.members(depth, true, '}')
	case '[':
		ok = p.members(depth, false, ']')
	case '"':
		_, ok = p.quoted()
	case 't':
		ok = p.word("true")
	case 'f':
		ok = p.word("false")
	case 'n':
		ok = p.word("null")
	default:
		c, ok = 0, p.number()
	}
	x := &p.nodes[n]
	x.kind, x.end, x.next = c, int32(p.at), int32(len(p.nodes))
	return ok
}

func (p *jsonParser) members(depth int, keys bool, end byte) bool {
	p.at++
	if p.take(end) {
		return true
	}
	for {
		var key [2]int32
		if keys {
			p.blanks()
			at, ok := p.quoted()
			if !ok {
				return false
			}
			key = [2]int32{int32(at + 1), int32(p.at - 1)}
			if !p.take(':') {
				return false
			}
		}
		n := len(p.nodes)
		if !p.value(depth + 1) {
			return false
		}
		p.nodes[n].key = key
		if p.take(end) {
			return true
		}
		if !p.take(',') {
			return false
		}
	}
}

// quoted reads a string and returns where it starts.
func (p *jsonParser) quoted() (start int, ok bool) {
	start = p.at
	if p.at == len(p.text) || p.text[p.at] != '"' {
		return 0, false
	}
	for p.at++; p.at < len(p.text); p.at++ {
		switch c := p.text[p.at]; {
		case c == '"':
			p.at++
			return start, true
		case c < ' ':
			return 0, false
		case c != '\\':
		case p.at+1 == len(p.text):
			return 0, false
		case p.text[p.at+1] == 'u':
			if p.at+6 > len(p.text) || strings.Trim(p.text[p.at+2:p.at+6], "0123456789abcdefABCDEF") != "" {
				return 0, false
			}
			p.at += 5
		case strings.IndexByte(`"\/bfnrt`, p.text[p.at+1]) >= 0:
			p.at++
		default:
			return 0, false
		}
	}
	return 0, false
}

func (p *jsonParser) word(w string) bool {
	if !strings.HasPrefix(p.text[p.at:], w) {
		return false
	}
	p.at += len(w)
	return true
}

func (p *jsonParser) number() bool {
	if p.at < len(p.text) && p.text[p.at] == '-' {
		p.at++
	}
	first := p.at
	if !p.digits() || p.at-first > 1 && p.text[first] == '0' {
		return false
	}
	if p.at < len(p.text) && p.text[p.at] == '.' {
		p.at++
		if !p.digits() {
			return false
		}
	}
	if p.at < len(p.text) && p.text[p.at]|0x20 == 'e' {
		p.at++
		if p.at < len(p.text) && (p.text[p.at] == '+' || p.text[p.at] == '-') {
			p.at++
		}
		return p.digits()
	}
	return true
}

func (p *jsonParser) digits() bool {
	start := p.at
	for p.at < len(p.text) && isDigit(p.text[p.at]) {
		p.at++
	}
	return p.at > start
}

// raw returns the text of a node.
func (d *document) raw(n int32) string { return d.text[d.nodes[n].start:d.nodes[n].end] }

// keyIs reports whether the key of a member is name.
func (d *document) keyIs(n int32, name string) bool {
	key := d.nodes[n].key
	text := d.text[key[0]:key[1]]
	if strings.IndexByte(text, '\\') < 0 {
		return text == name
	}
	return string(unescape(nil, text)) == name
}

// unescape appends what a JSON string without its quotes means. Half of a surrogate pair
// becomes U+FFFD.
func unescape(dst []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			dst = append(dst, s[i])
			continue
		}
		i++
		switch c := s[i]; c {
		case 'b', 'f', 'n', 'r', 't':
			dst = append(dst, "\b\f\n\r\t"[strings.IndexByte("bfnrt", c)])
		case 'u':
			r := hexRune(s[i+1:])
			i += 4
			if utf16.IsSurrogate(r) {
				pair := utf8.RuneError
				if strings.HasPrefix(s[i+1:], `\u`) {
					pair = utf16.DecodeRune(r, hexRune(s[i+3:]))
				}
				if r = pair; r != utf8.RuneError {
					i += 6
				}
			}
			dst = utf8.AppendRune(dst, r)
		default:
			dst = append(dst, c)
		}
	}
	return dst
}

func hexRune(s string) (r rune) {
	for i := range 4 {
		c := rune(s[i])
		switch {
		case c <= '9':
			c -= '0'
		default:
			c = c | 0x20 - 'a' + 10
		}
		r = r<<4 | c
	}
	return r
}

// compact appends a value without white space.
func (d *document) compact(dst []byte, n int32) []byte {
	inside := false
	text := d.raw(n)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case inside && c == '\\':
			dst = append(dst, c)
			i++
			c = text[i]
		case c == '"':
			inside = !inside
		case !inside && strings.IndexByte(" \t\r\n", c) >= 0:
			continue
		}
		dst = append(dst, c)
	}
	return dst
}

// appendQuoted appends a text as a JSON string.
func appendQuoted(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := range len(s) {
		switch c := s[i]; {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c < ' ':
			if n := strings.IndexByte("\b\f\n\r\t", c); n >= 0 {
				dst = append(dst, '\\', "bfnrt"[n])
			} else {
				dst = append(dst, `\u00`...)
				dst = append(dst, digits[c>>4], digits[c&15])
			}
		default:
			dst = append(dst, c)
		}
	}
	return append(dst, '"')
}
