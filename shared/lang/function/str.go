package function

import (
	"strings"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/language"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// always is the Bind of a function that has nothing to prepare.
func always(f Func) func([]Arg) (Func, error) {
	return func([]Arg) (Func, error) { return f, nil }
}

func init() {
	Register(Spec{
		Name: "str:concat", Signatures: []string{"str:concat(x text, …) string"}, Nulls: true,
		Doc:     "the values as one text; nulls are left out",
		Example: "str:concat('a', 1, true)", Gives: `"a1true"`,
		Bind: always(func(c *Context, args []Value, out *Value) {
			start := len(c.Text)
			for i := range args {
				if !args[i].Null {
					c.Text = append(c.Text, args[i].Text...)
				}
			}
			c.end(out, start)
		}),
	})
	Register(Spec{
		Name: "str:length", Signatures: []string{"str:length(s string) int"},
		Doc:     "the number of UTF-16 units",
		Example: "str:length('Hello')", Gives: "5",
		Bind: always(func(_ *Context, args []Value, out *Value) { out.Int = units(args[0].Text) }),
	})
	change := func(name, doc, example, gives string, ascii func(byte) byte, full func(string) string) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(s string) string"}, Doc: doc, Example: example, Gives: gives,
			Bind: always(func(c *Context, args []Value, out *Value) {
				s := args[0].Text
				start := len(c.Text)
				if !isASCII(s) {
					c.Text = append(c.Text, full(s)...)
				} else {
					c.Text = append(c.Text, s...)
					for i, b := range c.Text[start:] {
						c.Text[start+i] = ascii(b)
					}
				}
				c.end(out, start)
			}),
		})
	}
	change("str:upper", "the text in upper case, by the rules of Unicode", "str:upper('straße')", `"STRASSE"`, upperByte, func(s string) string { return cases.Upper(language.Und).String(s) })
	change("str:lower", "the text in lower case, by the rules of Unicode", "str:lower('ABC')", `"abc"`, lowerByte, func(s string) string { return cases.Lower(language.Und).String(s) })
	Register(Spec{
		Name: "str:trim", Signatures: []string{"str:trim(s string) string"},
		Doc:     "the text without white space and control characters at its ends",
		Example: "str:trim('  abc ')", Gives: `"abc"`,
		Bind: always(func(_ *Context, args []Value, out *Value) {
			out.Text = strings.TrimFunc(args[0].Text, func(r rune) bool { return r <= ' ' })
		}),
	})
	Register(Spec{
		Name: "str:reverse", Signatures: []string{"str:reverse(s string) string"},
		Doc:     "the characters in reverse order",
		Example: "str:reverse('abc')", Gives: `"cba"`,
		Bind: always(func(c *Context, args []Value, out *Value) {
			s, start := args[0].Text, len(c.Text)
			for len(s) > 0 {
				_, n := utf8.DecodeLastRuneInString(s)
				c.Text = append(c.Text, s[len(s)-n:]...)
				s = s[:len(s)-n]
			}
			c.end(out, start)
		}),
	})
	Register(Spec{
		Name: "str:repeat", Signatures: []string{"str:repeat(s string, n int) string"},
		Doc:     "the text n times; null if that is longer than 1 MiB",
		Example: "str:repeat('ab', 3)", Gives: `"ababab"`,
		Bind: always(func(c *Context, args []Value, out *Value) {
			s, n := args[0].Text, max(args[1].Int, 0)
			if len(s) == 0 {
				return
			}
			if n > int64(textBytesMax/len(s)) {
				null(out)
				return
			}
			start := len(c.Text)
			for range n {
				c.Text = append(c.Text, s...)
			}
			c.end(out, start)
		}),
	})
	Register(Spec{
		Name: "str:coalesce", Signatures: []string{"str:coalesce(x any, …)"}, Nulls: true, Type: oneType,
		Doc:     "the first value that is not null; all have one type",
		Example: "str:coalesce('a', 'b')", Gives: `"a"`,
		Bind: always(func(_ *Context, args []Value, out *Value) {
			null(out)
			for i := range args {
				if !args[i].Null {
					*out = args[i]
					return
				}
			}
		}),
	})
	Register(Spec{
		Name: "str:fillTemplate", Signatures: []string{"str:fillTemplate(template string, x text, …) string"}, Nulls: true,
		Doc:     "the template with {{1}} replaced by the first value, {{2}} by the second; null leaves its place as it is",
		Example: "str:fillTemplate('{{1}} is {{2}}', 'a', 5)", Gives: `"a is 5"`,
		Bind: always(fillTemplate),
	})
}

func upperByte(b byte) byte {
	if 'a' <= b && b <= 'z' {
		return b - 'a' + 'A'
	}
	return b
}

func lowerByte(b byte) byte {
	if 'A' <= b && b <= 'Z' {
		return b - 'A' + 'a'
	}
	return b
}

// oneType returns the type that all arguments have.
func oneType(args []Arg) (event.Type, error) {
	for i, a := range args {
		if a.Type != args[0].Type {
			return 0, errOneType(i, a.Type, args[0].Type)
		}
	}
	return args[0].Type, nil
}

func fillTemplate(c *Context, args []Value, out *Value) {
	if args[0].Null {
		null(out)
		return
	}
	s, start := args[0].Text, len(c.Text)
	for {
		open := strings.Index(s, "{{")
		if open < 0 {
			break
		}
		c.Text = append(c.Text, s[:open]...)
		s = s[open:]
		n, digits := 0, 2
		for digits < len(s) && isDigit(s[digits]) && n < len(args) {
			n = 10*n + int(s[digits]-'0')
			digits++
		}
		if n == 0 || n >= len(args) || args[n].Null || !strings.HasPrefix(s[digits:], "}}") {
			c.Text = append(c.Text, s[:2]...)
			s = s[2:]
			continue
		}
		c.Text = append(c.Text, args[n].Text...)
		s = s[digits+2:]
		if len(c.Text)-start > textBytesMax {
			null(out)
			return
		}
	}
	c.Text = append(c.Text, s...)
	c.end(out, start)
}
