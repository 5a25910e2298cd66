package siddhiql

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// tokenKind says what a token is.
type tokenKind uint8

const (
	tokenEOF    tokenKind = iota
	tokenBad              // already reported
	tokenWord             // a name or a keyword
	tokenQuoted           // a name in back-quotes
	tokenNumber           // with its suffix, without a sign
	tokenString           // text holds what is between the quotes
	tokenPunct
)

type token struct {
	kind tokenKind
	pos  Pos
	text string
}

// longPunctuation has two characters; it is matched before shortPunctuation.
var longPunctuation = []string{"==", "!=", "<=", ">=", "->"}

const shortPunctuation = "()[]{}<>,;.:#@=*/%+-?!"

// lexer cuts a text into tokens. Offsets count bytes, columns characters.
type lexer struct {
	*report
	text   string
	at     int
	line   int
	column int
	tokens []token
}

// scan returns all tokens of text; the last one is the end of the text.
func scan(text string, r *report) []token {
	l := &lexer{report: r, text: unixLines(strings.TrimPrefix(text, "\ufeff")), line: 1, column: 1}
	for l.next() {
	}
	return l.tokens
}

// unixLines turns line ends into LF if the text has only CR, as in files of old programs.
// In other texts CR is white space.
func unixLines(text string) string {
	if strings.Contains(text, "\n") {
		return text
	}
	return strings.ReplaceAll(text, "\r", "\n")
}

func (l *lexer) pos() Pos { return Pos{Line: l.line, Column: l.column} }

// take moves on by n bytes, which must end at a character's end.
func (l *lexer) take(n int) string {
	s := l.text[l.at : l.at+n]
	l.at += n
	if i := strings.LastIndexByte(s, '\n'); i >= 0 {
		l.line += strings.Count(s, "\n")
		l.column = 1 + utf8.RuneCountInString(s[i+1:])
		return s
	}
	l.column += utf8.RuneCountInString(s)
	return s
}

func (l *lexer) emit(kind tokenKind, pos Pos, text string) {
	l.tokens = append(l.tokens, token{kind: kind, pos: pos, text: text})
}

// next scans one token, comment or stretch of blanks; false at the end.
func (l *lexer) next() bool {
	rest := l.text[l.at:]
	pos := l.pos()
	if rest == "" {
		l.emit(tokenEOF, pos, "")
		return false
	}
	switch c := rest[0]; {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == '\f':
		l.take(1)
	case strings.HasPrefix(rest, "--"):
		l.take(lineLength(rest))
	case strings.HasPrefix(rest, "/*"):
		l.comment(pos, rest)
	case isLetter(c):
		l.emit(tokenWord, pos, l.take(wordLength(rest)))
	case isDigit(c) || c == '.' && len(rest) > 1 && isDigit(rest[1]):
		l.number(pos, rest)
	case c == '`':
		l.quotedName(pos, rest)
	case c == '\'' || c == '"':
		l.string(pos, rest)
	default:
		l.punctuation(pos, rest)
	}
	return true
}

// lineLength returns how many bytes of s come before the end of its first line.
func lineLength(s string) int {
	if i := strings.IndexAny(s, "\r\n"); i >= 0 {
		return i
	}
	return len(s)
}

// untilOr returns where sep starts in s, or otherwise.
func untilOr(s, sep string, otherwise int) int {
	if i := strings.Index(s, sep); i >= 0 {
		return i
	}
	return otherwise
}

func (l *lexer) comment(pos Pos, rest string) {
	end := strings.Index(rest[2:], "*/")
	if end < 0 {
		l.take(len(rest))
		l.bad(pos, "comment without an end: expected `*/`")
		return
	}
	l.take(2 + end + 2)
}

func (l *lexer) bad(pos Pos, format string, args ...any) {
	l.errorf(pos, format, args...)
	l.emit(tokenBad, pos, "")
}

func (l *lexer) quotedName(pos Pos, rest string) {
	end := strings.IndexAny(rest[1:], "`\n")
	switch {
	case end < 0 || rest[1+end] == '\n':
		l.take(untilOr(rest, "\n", len(rest)))
		l.bad(pos, "name without an end: expected another back-quote in this line")
	case end == 0:
		l.take(2)
		l.bad(pos, "a name in back-quotes cannot be empty")
	default:
		l.emit(tokenQuoted, pos, l.take(end + 2)[1:end+1])
	}
}

// string scans '…', "…" or """…""". There are no escapes. Neither quote may appear inside
// '…', so that a forgotten quote is detected early.
func (l *lexer) string(pos Pos, rest string) {
	if strings.HasPrefix(rest, `"""`) {
		end := strings.Index(rest[3:], `"""`)
		if end < 0 {
			l.take(len(rest))
			l.bad(pos, `string without an end: expected """`)
			return
		}
		l.emit(tokenString, pos, l.take(end + 6)[3:end+3])
		return
	}
	quote := rest[:1]
	end := strings.IndexAny(rest[1:], quote+"\n")
	if end < 0 || rest[1+end] == '\n' {
		l.take(untilOr(rest, "\n", len(rest)))
		l.bad(pos, `string without an end: expected another %s in this line; a string of several lines is written """…"""`, quote)
		return
	}
	text := l.take(end + 2)[1 : end+1]
	if quote == "'" && strings.Contains(text, `"`) {
		l.bad(pos, `a string in '…' cannot hold ": write it as """…"""`)
		return
	}
	l.emit(tokenString, pos, text)
}

// number scans digits with an optional fraction, exponent and suffix. A unit of
// time may follow at once, as in 5sec.
func (l *lexer) number(pos Pos, rest string) {
	n := digits(rest)
	if n < len(rest) && rest[n] == '.' {
		n += 1 + digits(rest[n+1:])
	}
	n += exponentLength(rest[n:])
	suffix := rest[n : n+wordLength(rest[n:])]
	if _, unit := unitOf(suffix); unit {
		l.emit(tokenNumber, pos, l.take(n))
		return
	}
	n += len(suffix)
	if len(suffix) > 1 || suffix != "" && !strings.Contains("lLfFdD", suffix) {
		text := l.take(n)
		l.bad(pos, "%s is not a number: expected one such as 5, 5L, 5.0f, 5.0 or 1e3", tick(text))
		return
	}
	l.emit(tokenNumber, pos, l.take(n))
}

func digits(s string) int {
	n := 0
	for n < len(s) && isDigit(s[n]) {
		n++
	}
	return n
}

func exponentLength(s string) int {
	if s == "" || s[0] != 'e' && s[0] != 'E' {
		return 0
	}
	n := 1
	if n < len(s) && (s[n] == '+' || s[n] == '-') {
		n++
	}
	if d := digits(s[n:]); d > 0 {
		return n + d
	}
	return 0
}

func (l *lexer) punctuation(pos Pos, rest string) {
	for _, p := range longPunctuation {
		if strings.HasPrefix(rest, p) {
			l.emit(tokenPunct, pos, l.take(len(p)))
			return
		}
	}
	if strings.IndexByte(shortPunctuation, rest[0]) >= 0 {
		l.emit(tokenPunct, pos, l.take(1))
		return
	}
	r, size := utf8.DecodeRuneInString(rest)
	l.take(size)
	switch {
	case unicode.IsLetter(r):
		rest = rest[size:]
		l.take(len(rest) - len(strings.TrimLeftFunc(rest, unicode.IsLetter)))
		l.bad(pos, "unexpected letter %q: a name with other letters than A-Z needs back-quotes", r)
	case r == '&' || r == '|':
		l.take(len(rest[size:]) - len(strings.TrimLeft(rest[size:], "&|")))
		l.bad(pos, "unexpected character %q: write `and` or `or`", r)
	default:
		l.bad(pos, "unexpected character %q", r)
	}
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }

func isLetter(c byte) bool { return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || c == '_' }

func wordLength(s string) int {
	n := 0
	for n < len(s) && (isLetter(s[n]) || isDigit(s[n])) {
		n++
	}
	return n
}
