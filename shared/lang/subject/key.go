package subject

import (
	"fmt"
	"slices"
	"strings"
)

// keyCutMark stands before the digest in a token of a key that was cut. Like keyNull and keyEmpty
// it is no escaped text, because two hexadecimal digits follow each = of an escaped text.
const (
	keyMark    = '='
	keyNull    = "=null"
	keyEmpty   = "=empty"
	keyCutMark = "=="
)

// ParseKey reads a template of keys in a KV bucket, such as totals.{shop}.
func ParseKey(text string) (*Template, error) {
	if len(text) > templateBytesMax {
		return nil, fmt.Errorf("the key '%.20s…' has %d bytes: expected at most %d", text, len(text), templateBytesMax)
	}
	t := &Template{Text: text}
	tokens := strings.Split(text, ".")
	if len(tokens) > templateTokensMax {
		return nil, fmt.Errorf("the key %q has %d tokens: expected at most %d", text, len(tokens), templateTokensMax)
	}
	for _, token := range tokens {
		inside, opened := strings.CutPrefix(token, "{")
		inside, closed := strings.CutSuffix(inside, "}")
		switch {
		case token == "":
			return nil, fmt.Errorf("the key %q has an empty token: expected tokens joined by single dots, such as `totals.{shop}`", text)
		case opened && closed && inside != "" && !strings.ContainsAny(inside, "{}"):
			t.Tokens = append(t.Tokens, Token{Placeholder: inside})
		case strings.ContainsAny(token, "{}"):
			return nil, fmt.Errorf("the key %q has a placeholder inside a token, %q: expected a token of its own, such as `totals.{shop}`", text, token)
		case slices.ContainsFunc([]byte(token), func(c byte) bool { return !inKey(c) }):
			return nil, fmt.Errorf("the key %q has a character that keys of a bucket cannot have: expected letters A-Z, digits, `-`, `_` and `/`, and placeholders such as `{shop}`", text)
		default:
			t.Tokens = append(t.Tokens, Token{Word: token})
		}
	}
	return t, nil
}

// inKey reports whether a byte stands for itself in a key.
func inKey(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || c == '-' || c == '_' || c == '/'
}

// AppendKeyNull appends the token of null in a key.
func AppendKeyNull(dst []byte) []byte { return append(dst, keyNull...) }

// AppendKeyToken appends a text as one token of a key. It is AppendToken for the keys of a
// bucket, which have fewer characters: the mark of an escaped byte is =.
func AppendKeyToken(dst, text []byte) []byte {
	if len(text) == 0 {
		return append(dst, keyEmpty...)
	}
	return appendCut(dst, text, keyCutMark, func(dst []byte, c byte) []byte {
		if inKey(c) {
			return append(dst, c)
		}
		return append(dst, keyMark, hexDigits[c>>4], hexDigits[c&15])
	})
}
