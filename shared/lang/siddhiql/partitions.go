package siddhiql

import (
	"fmt"
	"strconv"
	"strings"
)

// WithPartitions returns the text of an app with another number in @app:partitions. Everything
// else stays as it is; an app without the annotation gets one in front.
func WithPartitions(text string, n int) (string, error) {
	app, err := Parse(text)
	if err != nil {
		return "", err
	}
	next := "'" + strconv.Itoa(n) + "'"
	for _, a := range app.Annotations {
		if !is(a, "app:partitions") {
			continue
		}
		if len(a.Elems) != 1 || a.Elems[0].Nested != nil {
			return "", fmt.Errorf("%s: `@app:partitions` takes one value in quotes", a.Pos)
		}
		at := offsetOf(text, a.Elems[0].Pos)
		value := literalAt(text[at:])
		return text[:at] + next + text[at+len(value):], nil
	}
	return "@app:partitions(" + next + ")\n" + text, nil
}

// offsetOf returns the offset of a position in a text.
func offsetOf(text string, p Pos) int {
	at := 0
	for range p.Line - 1 {
		at += strings.IndexByte(text[at:], '\n') + 1
	}
	for range p.Column - 1 { // columns count characters
		for at++; at < len(text) && text[at]&0xc0 == 0x80; at++ {
		}
	}
	return at
}

// literalAt returns the literal that a text starts with.
func literalAt(text string) string {
	for _, quote := range []string{`"""`, `'`, `"`} {
		if rest, ok := strings.CutPrefix(text, quote); ok {
			if end := strings.Index(rest, quote); end >= 0 {
				return text[:end+2*len(quote)]
			}
		}
	}
	end := strings.IndexFunc(text, func(r rune) bool { return r < '0' || r > '9' })
	if end < 0 {
		return text
	}
	return text[:end]
}
