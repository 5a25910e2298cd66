package function

import (
	"regexp"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	Register(Spec{
		Name: "str:regexp", Signatures: []string{"str:regexp(s string, regex string) bool"},
		Doc:     "whether the whole text matches",
		Example: "str:regexp('abc', '[a-c]*')", Gives: "true",
		Bind: func(args []Arg) (Func, error) {
			m, err := wholeText.bind(args[1])
			return func(_ *Context, args []Value, out *Value) {
				re := m.of(args[1].Text)
				yes(out, re != nil && re.MatchString(args[0].Text))
			}, err
		},
	})
	Register(Spec{
		Name: "str:substr",
		Signatures: []string{
			"str:substr(s string, begin int[, length int]) string",
			"str:substr(s string, regex string[, group int]) string",
		},
		Doc:     "the text from a position, counted from 0; or the first match, or its group, and '' if there is none",
		Example: "str:substr('AbCDefghiJ KLMN', 2, 4)", Gives: `"CDef"`,
		Bind: bindSubstr,
	})
	Register(Spec{
		Name: "str:split", Signatures: []string{"str:split(s string, regex string, piece int) string"},
		Doc:     "a piece of the text between matches, counted from 0; null if there is none",
		Example: "str:split('WSO2,ABM,NSFT', ',', 1)", Gives: `"ABM"`,
		Bind: func(args []Arg) (Func, error) {
			m, err := anywhere.bind(args[1])
			return func(_ *Context, args []Value, out *Value) { splitOff(m, args, out) }, err
		},
	})
	replace := func(name, doc, gives string, most int) {
		Register(Spec{
			Name: name, Signatures: []string{name + "(s string, regex string, by string) string"}, Doc: doc,
			Example: name + "('hello hi hello', 'hello', 'test')", Gives: gives,
			Bind: func(args []Arg) (Func, error) {
				m, err := anywhere.bind(args[1])
				if err != nil {
					return nil, err
				}
				return func(c *Context, args []Value, out *Value) { replaceIn(c, m, args, most, out) }, checkReplacement(m, args[2])
			},
		})
	}
	replace("str:replaceAll", "the text with each match replaced; $1 is a group of the match", `"test hi test"`, -1)
	replace("str:replaceFirst", "the text with the first match replaced; $1 is a group of the match", `"test hi hello"`, 1)
}

func bindSubstr(args []Arg) (Func, error) {
	if args[1].Type != event.String {
		return substr, nil
	}
	m, err := anywhere.bind(args[1])
	if err != nil {
		return nil, err
	}
	if len(args) > 2 {
		err = checkGroup(m, args[2])
	}
	return func(_ *Context, args []Value, out *Value) {
		group := int64(0)
		if len(args) > 2 {
			group = args[2].Int
		}
		re := m.of(args[1].Text)
		if re == nil || group < 0 || group > int64(re.NumSubexp()) {
			null(out)
			return
		}
		if groupOf(m, args[1].Text, args[0].Text, group, out); out.Null {
			*out = Value{}
		}
	}, err
}

// substr is null if a position is not in the text.
func substr(_ *Context, args []Value, out *Value) {
	s := args[0].Text
	from, ok := offset(s, args[1].Int)
	to := len(s)
	if ok && len(args) > 2 {
		ok = args[2].Int >= 0 && args[2].Int <= int64(len(s))
		if ok {
			to, ok = offset(s, args[1].Int+args[2].Int)
		}
	}
	if !ok {
		null(out)
		return
	}
	out.Text = s[from:to]
}

// splitOff writes one piece. Empty pieces at the end do not count.
func splitOff(m *matcher, args []Value, out *Value) {
	s, want := args[0].Text, args[2].Int
	null(out)
	re := m.of(args[1].Text)
	if re == nil || want < 0 {
		return
	}
	n, from, found := int64(0), 0, false
	piece := func(text string) {
		if n == want {
			*out = Value{Text: text}
		}
		found = found || n >= want && text != ""
		n++
	}
	eachMatch(re, s, func(match []int) bool {
		if match[1] == 0 || match[0] == match[1] && match[0] == len(s) {
			return true // an empty match at an end separates nothing
		}
		piece(s[from:match[0]])
		from = match[1]
		return n <= want || !found
	})
	if !found {
		piece(s[from:])
	}
	if !found && (n > 1 || want > 0) {
		null(out)
	}
}

// eachMatch calls visit with the matches in order, while it returns true. The slice is valid
// during the call only.
func eachMatch(re *regexp.Regexp, s string, visit func(match []int) bool) {
	for _, match := range re.FindAllStringSubmatchIndex(s, -1) {
		if !visit(match) {
			return
		}
	}
}

func replaceIn(c *Context, m *matcher, args []Value, most int, out *Value) {
	re, s, by := m.of(args[1].Text), args[0].Text, args[2].Text
	if re == nil {
		null(out)
		return
	}
	start, from := len(c.Text), 0
	for _, match := range re.FindAllStringSubmatchIndex(s, most) {
		c.Text = append(c.Text, s[from:match[0]]...)
		var ok bool
		if c.Text, ok = expand(c.Text, by, s, match); !ok || len(c.Text)-start > textBytesMax {
			null(out)
			return
		}
		from = match[1]
	}
	c.Text = append(c.Text, s[from:]...)
	c.end(out, start)
}
