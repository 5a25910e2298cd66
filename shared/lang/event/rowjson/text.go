package rowjson

import "bytes"

func isSpace(c byte) bool { return c == ' ' || c == '\n' || c == '\t' || c == '\r' }

func skipSpace(src []byte, p int) int {
	for p < len(src) && isSpace(src[p]) {
		p++
	}
	return p
}

// nextLine returns where the next line after p that starts with a brace starts, or the end
// of src.
func nextLine(src []byte, p int) int {
	i := bytes.Index(src[p:], []byte("\n{"))
	if i < 0 {
		return len(src)
	}
	return p + i + 1
}

// tooDeep reports whether the value at the start of src nests deeper than
// depthMax. It looks at brackets only, so src need not be valid; and it comes
// before the decoder, which would recurse and wrap an error per level.
func tooDeep(src []byte) bool {
	depth := 0
	for p := 0; p < len(src); p++ {
		switch src[p] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			p = stringEnd(src, p)
		}
		if depth > depthMax {
			return true
		}
		if depth <= 0 {
			return false
		}
	}
	return false
}

// stringEnd returns the position of the quote that ends the string that starts at p, or
// len(src).
func stringEnd(src []byte, p int) int {
	for p++; p < len(src); p++ {
		switch src[p] {
		case '\\':
			p++
		case '"':
			return p
		}
	}
	return len(src)
}

// loneSurrogate returns the first escape in valid JSON that is half a surrogate
// pair without the other half, or nil.
func loneSurrogate(json []byte) []byte {
	for p := 0; ; p++ {
		i := bytes.IndexByte(json[p:], '\\')
		if i < 0 {
			return nil
		}
		p += i + 1
		if json[p] != 'u' {
			continue
		}
		switch unit := json[p+1 : p+5]; {
		case !isSurrogate(unit):
		case isHigh(unit) && bytes.HasPrefix(json[p+5:], []byte(`\u`)) && isLow(json[p+7:p+11]):
			p += 6
		default:
			return json[p-1 : p+5]
		}
		p += 4
	}
}

func isSurrogate(hex []byte) bool { return isHigh(hex) || isLow(hex) }

func isHigh(hex []byte) bool {
	return hex[0]|0x20 == 'd' && (hex[1] == '8' || hex[1] == '9' || hex[1]|0x20 == 'a' || hex[1]|0x20 == 'b')
}

func isLow(hex []byte) bool {
	return hex[0]|0x20 == 'd' && hex[1]|0x20 >= 'c' && hex[1]|0x20 <= 'f'
}

// appendCompact appends valid JSON without the white space between its tokens.
func appendCompact(dst, json []byte) []byte {
	for p := 0; p < len(json); p++ {
		switch c := json[p]; {
		case c == '"':
			end := stringEnd(json, p)
			dst = append(dst, json[p:end+1]...)
			p = end
		case !isSpace(c):
			dst = append(dst, c)
		}
	}
	return dst
}
