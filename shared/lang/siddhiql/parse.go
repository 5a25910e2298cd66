package siddhiql

import (
	"strings"
	"unicode/utf8"
)

const (
	textBytesMax = 1 << 20
	// nestingMax bounds parentheses and calls inside each other, and partsMax the
	// operators, names and literals of one expression: reading and running an expression
	// needs stack in proportion.
	nestingMax = 200
	partsMax   = 10_000
)

// Parse reads an app's text. Its error is an ErrorList of all errors found: after an error,
// reading continues after the next semicolon.
func Parse(text string) (*App, error) {
	r := &report{}
	app := parse(text, r)
	if err := r.err(); err != nil {
		return nil, err
	}
	return app, nil
}

// parse returns the tree of everything that could be read.
func parse(text string, r *report) *App {
	if len(text) > textBytesMax {
		r.errorf(Pos{1, 1}, "the text has %d bytes: expected at most %d", len(text), textBytesMax)
		return nil
	}
	if !utf8.ValidString(text) {
		r.errorf(invalidAt(text), "the text is not UTF-8")
		return nil
	}
	p := &parser{report: r, tokens: scan(text, r)}
	return p.app()
}

// invalidAt returns the position of the first byte that is not UTF-8.
func invalidAt(text string) Pos {
	at := Pos{Line: 1, Column: 1}
	for i, r := range text {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(text[i:], "\ufffd"):
			return at
		case r == '\n':
			at = Pos{Line: at.Line + 1, Column: 1}
		default:
			at.Column++
		}
	}
	return at
}

// parser reads tokens by recursive descent. A syntax error is recorded and then leaves the
// current statement by a panic with bailout, which statement catches.
type parser struct {
	*report
	tokens []token
	at     int
	depth  int // of the current expression
	parts  int
}

type bailout struct{}

func (p *parser) peek() token { return p.tokens[p.at] }

// ahead returns the token n places ahead; past the end, the last token.
func (p *parser) ahead(n int) token { return p.tokens[min(p.at+n, len(p.tokens)-1)] }

func (p *parser) take() token {
	t := p.peek()
	if t.kind != tokenEOF {
		p.at++
	}
	return t
}

// fail records an error and leaves the statement.
func (p *parser) fail(pos Pos, format string, args ...any) {
	p.errorf(pos, format, args...)
	panic(bailout{})
}

// unexpected leaves the statement because the next token is not the expected one. expected
// describes that, and keywords are the keywords that could have been meant.
func (p *parser) unexpected(expected string, keywords ...string) {
	t := p.peek()
	switch {
	case t.kind == tokenBad:
		panic(bailout{})
	case isName(t) && p.at > 0 && isWord(p.tokens[p.at-1], "distinct"):
		p.fail(p.tokens[p.at-1].pos, "found `distinct`: %s", outside["distinct"])
	case t.kind == tokenWord || t.kind == tokenPunct:
		if instead, ok := outside[strings.ToLower(t.text)]; ok {
			p.fail(t.pos, "found %s: %s", describe(t), instead)
		}
	}
	hint := ""
	if t.kind == tokenWord {
		if s := suggest(t.text, keywords); s != "" {
			hint = ": did you mean " + tick(s) + "?"
		}
	}
	p.fail(t.pos, "found %s, expected %s%s", describe(t), expected, hint)
}

func describe(t token) string {
	switch t.kind {
	case tokenEOF:
		return "the end of the text"
	case tokenString:
		return "the string '" + shorten(t.text) + "'"
	case tokenNumber:
		return "the number " + tick(t.text)
	default:
		return tick(t.text)
	}
}

// isWord reports whether t is the keyword, in any letters' case.
func isWord(t token, keyword string) bool {
	return t.kind == tokenWord && strings.EqualFold(t.text, keyword)
}

func isPunct(t token, text string) bool { return t.kind == tokenPunct && t.text == text }

// accept takes the next token if it is the keyword.
func (p *parser) accept(keyword string) bool {
	if !isWord(p.peek(), keyword) {
		return false
	}
	p.take()
	return true
}

func (p *parser) acceptPunct(text string) bool {
	if !isPunct(p.peek(), text) {
		return false
	}
	p.take()
	return true
}

func (p *parser) expect(keyword, where string) {
	if !p.accept(keyword) {
		p.unexpected(tick(keyword)+where, keyword)
	}
}

func (p *parser) expectPunct(text, where string) {
	if !p.acceptPunct(text) {
		p.unexpected(tick(text) + where)
	}
}

func isName(t token) bool { return t.kind == tokenWord || t.kind == tokenQuoted }

// name takes a name, which may be a keyword.
func (p *parser) name(what string) Name {
	if !isName(p.peek()) {
		p.unexpected(what)
	}
	t := p.take()
	return Name{Pos: t.pos, Text: t.text}
}

// plainName takes a name of letters, digits and underscores.
func (p *parser) plainName(what string) string {
	n := p.name(what)
	if !isPlainName(n.Text) {
		p.fail(n.Pos, "found %s, expected %s of letters, digits and underscores", tick(n.Text), what)
	}
	return n.Text
}

// text takes a string.
func (p *parser) text(what string) string {
	if p.peek().kind != tokenString {
		p.unexpected(what)
	}
	return p.take().text
}

// statement runs read. After a syntax error it returns false, and the next token is one
// that ends the statement: the semicolon or, with inBlock, the `end`.
func (p *parser) statement(inBlock bool, read func()) (ok bool) {
	depth := p.depth
	defer func() {
		p.depth = depth
		if r := recover(); r != nil {
			if _, bail := r.(bailout); !bail {
				panic(r)
			}
			p.skip(inBlock)
		}
	}()
	read()
	return true
}

func (p *parser) skip(inBlock bool) {
	for p.peek().kind != tokenEOF && !isPunct(p.peek(), ";") && !(inBlock && p.atEnd()) {
		p.take()
	}
}

// atEnd reports whether the next token is an `end` that closes a block.
func (p *parser) atEnd() bool {
	next := p.ahead(1)
	return isWord(p.peek(), "end") && (next.kind == tokenEOF || isPunct(next, ";") || beginsStatement(next, p.ahead(2)))
}

// beginsStatement reports whether t, followed by next, can only start a statement: then a
// semicolon is missing before it, and nothing needs skipping.
func beginsStatement(t, next token) bool {
	switch {
	case isPunct(t, "@"):
		return true
	case isWord(t, "define"):
		return isName(next)
	case isWord(t, "from"):
		return isName(next) || isPunct(next, "#") || isPunct(next, "(")
	case isWord(t, "partition"):
		return isWord(next, "with")
	}
	return false
}

// separator takes the semicolon between two statements.
func (p *parser) separator(inBlock bool, where string) {
	t := p.peek()
	switch {
	case isPunct(t, ";") || t.kind == tokenEOF || inBlock && p.atEnd():
	case beginsStatement(t, p.ahead(1)):
		p.errorf(t.pos, "found %s, expected `;` %s", describe(t), where)
	default:
		p.statement(inBlock, func() { p.unexpected("`;` " + where) })
	}
	p.separators()
}

// separators skips semicolons: an empty statement says nothing.
func (p *parser) separators() {
	for p.acceptPunct(";") {
	}
}
