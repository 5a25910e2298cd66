package function

import (
	"fmt"
	"regexp"
	"strings"
)

// matcher compiles regular expressions. They have the syntax of RE2, and so the time of a
// match grows with the length of the text only.
type matcher struct {
	before, after string         // around what the app writes
	fixed         *regexp.Regexp // of a constant
	known         map[string]*regexp.Regexp
}

const (
	regexpsMax     = 64      // compiled expressions that a call keeps, if they come with events
	regexpBytesMax = 8 << 10 // of an expression that comes with an event
)

// The ways to match.
var (
	anywhere  = matcher{}
	wholeText = matcher{before: `\A(?:`, after: `)\z`}
	fromStart = matcher{before: `\A(?:`, after: `)`}
)

// bind returns a matcher for an argument. A constant that does not compile is an error.
func (m matcher) bind(a Arg) (*matcher, error) {
	if a.Const == nil {
		m.known = map[string]*regexp.Regexp{}
		return &m, nil
	}
	re, err := regexp.Compile(a.Const.Text)
	if err != nil {
		return nil, fmt.Errorf("the regular expression '%s' does not compile: %w; expressions have the syntax of RE2, which has no look-ahead and no back-references", a.Const.Text, unprefixed(err))
	}
	if m.before != "" {
		re, err = regexp.Compile(m.before + a.Const.Text + m.after)
	}
	m.fixed = re
	return &m, err
}

// unprefixed returns what is wrong without the words "error parsing regexp".
func unprefixed(err error) error {
	return fmt.Errorf("%s", strings.TrimPrefix(err.Error(), "error parsing regexp: "))
}

// of returns the compiled expression, or nil if it does not compile.
func (m *matcher) of(text string) *regexp.Regexp {
	if m.fixed != nil {
		return m.fixed
	}
	if re, ok := m.known[text]; ok {
		return re
	}
	if len(m.known) == regexpsMax {
		clear(m.known)
	}
	text = strings.Clone(text)
	var re *regexp.Regexp
	if len(text) <= regexpBytesMax {
		if _, err := regexp.Compile(text); err == nil {
			re, _ = regexp.Compile(m.before + text + m.after)
		}
	}
	m.known[text] = re
	return re
}

// expand appends the replacement for a match of s: $1 is a group, and a backslash takes the
// next character as it is. It returns false if there is no such group.
func expand(dst []byte, by, s string, match []int) ([]byte, bool) {
	for i := 0; i < len(by); i++ {
		switch c := by[i]; {
		case c == '\\' && i+1 < len(by):
			i++
			dst = append(dst, by[i])
		case c == '$' && i+1 < len(by) && isDigit(by[i+1]):
			i++
			group := int(by[i] - '0')
			if 2*group+1 >= len(match) {
				return dst, false
			}
			for i+1 < len(by) && isDigit(by[i+1]) && 2*(10*group+int(by[i+1]-'0'))+1 < len(match) {
				i++
				group = 10*group + int(by[i]-'0')
			}
			if from := match[2*group]; from >= 0 {
				dst = append(dst, s[from:match[2*group+1]]...)
			}
		default:
			dst = append(dst, c)
		}
	}
	return dst, true
}

// checkReplacement reports a constant replacement with a group that the expression lacks.
func checkReplacement(m *matcher, by Arg) error {
	if m.fixed == nil || by.Const == nil {
		return nil
	}
	if _, ok := expand(nil, by.Const.Text, "", make([]int, 2*m.fixed.NumSubexp()+2)); !ok {
		return fmt.Errorf("the replacement '%s' has a group that the regular expression lacks: it has %d", by.Const.Text, m.fixed.NumSubexp())
	}
	return nil
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func init() {
	test := func(name, doc, example, gives string, how matcher, forms ...string) {
		Register(Spec{
			Name: name, Signatures: forms, Doc: doc, Example: example, Gives: gives,
			Bind: func(args []Arg) (Func, error) {
				re, err := how.bind(args[0])
				return func(_ *Context, args []Value, out *Value) {
					re, s := re.of(args[0].Text), args[1].Text
					if len(args) > 2 {
						from, ok := offset(s, args[2].Int)
						if !ok {
							return
						}
						s = s[from:]
					}
					yes(out, re != nil && re.MatchString(s))
				}, err
			},
		})
	}
	test("regex:matches", "whether the whole text matches", "regex:matches('[a-z]+', 'abc')", "true", wholeText,
		"regex:matches(regex string, s string) bool")
	test("regex:lookingAt", "whether the text starts with a match", "regex:lookingAt('[a-z]+', 'abc1')", "true", fromStart,
		"regex:lookingAt(regex string, s string) bool")
	test("regex:find", "whether the text has a match; with `from`, in the text from there on", "regex:find('[0-9]', 'abc1')", "true", anywhere,
		"regex:find(regex string, s string[, from int]) bool")
	Register(Spec{
		Name: "regex:group", Signatures: []string{"regex:group(regex string, s string, group int) string"},
		Doc:     "a group of the first match; null if there is none",
		Example: "regex:group('([a-z]+)([0-9]+)', 'abc12', 2)", Gives: `"12"`,
		Bind: func(args []Arg) (Func, error) {
			re, err := anywhere.bind(args[0])
			if err != nil {
				return nil, err
			}
			return func(_ *Context, args []Value, out *Value) { groupOf(re, args[0].Text, args[1].Text, args[2].Int, out) }, checkGroup(re, args[2])
		},
	})
}

// checkGroup reports a constant group that a constant expression lacks.
func checkGroup(m *matcher, group Arg) error {
	if m.fixed == nil || group.Const == nil {
		return nil
	}
	if n := group.Const.Int; n < 0 || n > int64(m.fixed.NumSubexp()) {
		return fmt.Errorf("there is no group %d: the regular expression has %d", n, m.fixed.NumSubexp())
	}
	return nil
}

// groupOf writes a group of the first match, or null.
func groupOf(m *matcher, regex, s string, group int64, out *Value) {
	null(out)
	re := m.of(regex)
	if re == nil || group < 0 || group > int64(re.NumSubexp()) {
		return
	}
	if match := re.FindStringSubmatchIndex(s); match != nil && match[2*group] >= 0 {
		*out = Value{Text: s[match[2*group]:match[2*group+1]]}
	}
}
