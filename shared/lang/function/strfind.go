package function

import (
	"encoding/base64"
	"encoding/hex"
	"strings"
	"unicode/utf8"
)

func init() {
	test := func(name, doc, example, gives, form string, f func(a, b string) bool) {
		Register(Spec{
			Name: name, Signatures: []string{form}, Doc: doc, Example: example, Gives: gives,
			Bind: always(func(_ *Context, args []Value, out *Value) { yes(out, f(args[0].Text, args[1].Text)) }),
		})
	}
	test("str:contains", "whether the text has the part", "str:contains('abc', 'bc')", "true", "str:contains(s string, part string) bool", strings.Contains)
	test("str:startsWith", "whether the text starts with the part", "str:startsWith('abc', 'ab')", "true", "str:startsWith(s string, part string) bool", strings.HasPrefix)
	test("str:endsWith", "whether the text ends with the part", "str:endsWith('abc', 'bc')", "true", "str:endsWith(s string, part string) bool", strings.HasSuffix)
	test("str:equalsIgnoreCase", "whether the texts differ only in upper and lower case", "str:equalsIgnoreCase('abc', 'ABC')", "true", "str:equalsIgnoreCase(a string, b string) bool", strings.EqualFold)
	Register(Spec{
		Name: "str:strcmp", Signatures: []string{"str:strcmp(a string, b string) int"},
		Doc:     "0 if the texts are equal, negative if a comes first: the difference of the first UTF-16 units that differ, or else of the lengths",
		Example: "str:strcmp('abc', 'abd')", Gives: "-1",
		Bind: always(func(_ *Context, args []Value, out *Value) { out.Int = compareUnits(args[0].Text, args[1].Text) }),
	})
	position := func(name, form, example string, s, part int) {
		Register(Spec{
			Name: name, Signatures: []string{form},
			Doc:     "where the part starts first, counted from 0; -1 if it is not there",
			Example: example, Gives: "4",
			Bind: always(func(_ *Context, args []Value, out *Value) {
				from := int64(0)
				if len(args) > 2 {
					from = max(0, args[2].Int)
				}
				out.Int = indexFrom(args[s].Text, args[part].Text, from)
			}),
		})
	}
	position("str:locate", "str:locate(part string, s string[, from int]) int", "str:locate('o', 'hello')", 1, 0)
	position("str:indexOf", "str:indexOf(s string, part string[, from int]) int", "str:indexOf('hello', 'o')", 0, 1)
	Register(Spec{
		Name: "str:charAt", Signatures: []string{"str:charAt(s string, position int) string"},
		Doc:     "the character at a position, counted from 0; null if there is none",
		Example: "str:charAt('WSO2', 1)", Gives: `"S"`,
		Bind: always(func(_ *Context, args []Value, out *Value) {
			s := args[0].Text
			at, ok := offset(s, args[1].Int)
			if !ok || at == len(s) {
				null(out)
				return
			}
			_, size := utf8.DecodeRuneInString(s[at:])
			out.Text = s[at : at+size]
		}),
	})
	Register(Spec{
		Name: "str:charFrequency", Signatures: []string{"str:charFrequency(s string, part string) int"},
		Doc:     "how often the part is in the text",
		Example: "str:charFrequency('hello', 'l')", Gives: "2",
		Bind: always(func(_ *Context, args []Value, out *Value) {
			if args[1].Text != "" {
				out.Int = int64(strings.Count(args[0].Text, args[1].Text))
			}
		}),
	})
	initCodes()
}

// indexFrom returns the first position of part at or after from, in units, or -1.
func indexFrom(s, part string, from int64) int64 {
	at, ok := offset(s, from)
	if !ok {
		return -1
	}
	i := strings.Index(s[at:], part)
	if i < 0 {
		return -1
	}
	if isASCII(s[:at+i]) {
		return int64(at + i)
	}
	return unitAt(s, at+i)
}

// initCodes registers functions that write text with other characters.
func initCodes() {
	code := func(name, doc, example, gives string, f func(dst []byte, s string) ([]byte, bool)) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(s string) string"}, Doc: doc, Example: example, Gives: gives,
			Bind: always(func(c *Context, args []Value, out *Value) {
				start := len(c.Text)
				text, ok := f(c.Text, args[0].Text)
				if !ok || !utf8.Valid(text[start:]) {
					null(out)
					return
				}
				c.Text = text
				c.end(out, start)
			}),
		})
	}
	code("str:hex", "the bytes of the text (UTF-8) in hexadecimal digits", "str:hex('MySQL')", `"4d7953514c"`, func(dst []byte, s string) ([]byte, bool) {
		return hex.AppendEncode(dst, []byte(s)), true
	})
	code("str:unhex", "the text of hexadecimal digits; null if it is none", "str:unhex('4d7953514c')", `"MySQL"`, func(dst []byte, s string) ([]byte, bool) {
		dst, err := hex.AppendDecode(dst, []byte(s))
		return dst, err == nil
	})
	code("str:base64Encode", "the bytes of the text (UTF-8) in base64", "str:base64Encode('abcd')", `"YWJjZA=="`, func(dst []byte, s string) ([]byte, bool) {
		return base64.StdEncoding.AppendEncode(dst, []byte(s)), true
	})
	code("str:base64Decode", "the text that base64 encodes; null if it is none", "str:base64Decode('YWJjZA==')", `"abcd"`, func(dst []byte, s string) ([]byte, bool) {
		dst, err := base64.StdEncoding.AppendDecode(dst, []byte(s))
		return dst, err == nil
	})
}
