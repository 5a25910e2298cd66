package siddhiql

import (
	"math"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// nest counts one more parenthesis, call or `not` around what follows.
func (p *parser) nest(at Pos) {
	if p.depth++; p.depth > nestingMax {
		p.fail(at, "the expression is nested more than %d deep: split it over several queries", nestingMax)
	}
}

func (p *parser) unnest() { p.depth-- }

// expression reads a whole expression; what describes the expected one in errors.
func (p *parser) expression(what string) Node {
	if p.depth == 0 {
		p.parts = 0
	}
	return p.binary(what, 1)
}

// binary reads operators that bind at least as tightly as precedence, and their
// operands: precedence climbing, where all operators associate to the left.
func (p *parser) binary(what string, precedence int) Node {
	l := p.unary(what)
	for {
		if precedence <= OpEqual.precedence() {
			l = p.inTable(l)
		}
		op, ok := p.operator()
		if !ok || op.precedence() < precedence {
			return l
		}
		t := p.take()
		l = &Binary{Pos: t.pos, Op: op, L: l, R: p.binary("a value after "+tick(t.text), op.precedence()+1)}
	}
}

// operator returns the operator at the next token, if there is one.
func (p *parser) operator() (BinaryOp, bool) {
	t := p.peek()
	if t.kind != tokenPunct && t.kind != tokenWord {
		return 0, false
	}
	for op := OpOr; op <= OpModulo; op++ {
		if isPunct(t, op.String()) && !isNotEqual(t, p.ahead(1)) || isWord(t, op.String()) {
			return op, true
		}
	}
	switch {
	case isPunct(t, "="):
		p.fail(t.pos, "found `=`, expected `==`: that is how values are compared")
	case isPunct(t, "<"):
		p.fail(t.pos, "found `<>`, expected `!=`")
	case isWord(t, "is"):
		p.fail(t.pos, "found `is`: `is null` takes an attribute or a function call, not an expression; name the expression in the select of a query before this one")
	}
	return 0, false
}

// isNotEqual reports whether two tokens form the `<>` of other languages.
func isNotEqual(t, next token) bool {
	return isPunct(t, "<") && isPunct(next, ">") && next.pos.Line == t.pos.Line && next.pos.Column == t.pos.Column+1
}

// unary reads `not`, which binds tighter than every operator, or a primary.
func (p *parser) unary(what string) Node {
	t := p.peek()
	p.parts++
	if p.parts > partsMax {
		p.fail(t.pos, "the expression has more than %d parts: split it over several queries", partsMax)
	}
	if !p.accept("not") {
		return p.primary(what)
	}
	p.nest(t.pos)
	defer p.unnest()
	return &Negation{Pos: t.pos, X: p.unary("a condition after `not`")}
}

func (p *parser) primary(what string) Node {
	t := p.peek()
	switch {
	case t.kind == tokenNumber:
		return p.number()
	case t.kind == tokenString:
		p.take()
		return &Literal{Pos: t.pos, Type: event.String, Text: t.text}
	case isPunct(t, "-") || isPunct(t, "+"):
		return p.signed()
	case isPunct(t, "("):
		return p.parenthesis()
	case isPunct(t, "!"):
		p.fail(t.pos, "found `!`, expected %s: negation is written `not`", what)
	case isWord(t, "true"), isWord(t, "false"):
		p.take()
		return &Literal{Pos: t.pos, Type: event.Bool, Int: truth(isWord(t, "true"))}
	case isWord(t, "null"):
		p.fail(t.pos, "found `null`, expected %s: null cannot be written as a value; test for it with `x is null`", what)
	case isPunct(t, "#"), isName(t) && !p.clauseFollows():
		return p.named()
	}
	p.unexpected(what)
	return nil
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// clauseFollows reports whether a possible name starts the next clause instead, so that a
// forgotten expression is reported where it is missing.
func (p *parser) clauseFollows() bool {
	t, next := p.peek(), p.ahead(1)
	switch {
	case isWord(t, "group"), isWord(t, "order"):
		return isWord(next, "by")
	case isWord(t, "insert"):
		return isWord(next, "into") || isWord(next, "all") || isWord(next, "expired") || isWord(next, "current") || isWord(next, "events")
	}
	return false
}

func (p *parser) parenthesis() Node {
	t := p.take()
	p.nest(t.pos)
	defer p.unnest()
	n := p.expression("a value in the parentheses")
	p.expectPunct(")", " to close the parenthesis of "+t.pos.String())
	return n
}

// named reads an attribute or a call, and an `is null` after it.
func (p *parser) named() Node {
	n := p.refOrCall()
	t := p.peek()
	if !p.accept("is") {
		return n
	}
	if isWord(p.peek(), "not") {
		p.fail(t.pos, "found `is not`, expected `is null`: write `not %s is null`", textOf(n))
	}
	p.expect("null", " after `is`")
	return &NullTest{Pos: n.At(), X: n}
}

func (p *parser) refOrCall() Node {
	at := p.peek().pos
	inner := p.acceptPunct("#")
	name := p.name("a name")
	switch next := p.peek(); {
	case inner, isPunct(next, "["):
		return p.indexed(at, inner, name)
	case p.acceptPunct("."):
		return &Ref{Pos: at, Stream: name.Text, Name: p.name("the name of an attribute").Text}
	case isPunct(next, "("):
		return p.call(name, "")
	case isPunct(next, ":"):
		return p.namespaced(name)
	}
	return &Ref{Pos: at, Name: name.Text}
}

// indexed reads `#name.attr`, `name[index].attr`, or `name[index]` before `is null`.
func (p *parser) indexed(at Pos, inner bool, name Name) Node {
	r := &Ref{Pos: at, Inner: inner, Stream: name.Text, Index: p.index()}
	sign := ""
	if inner {
		sign = "#"
	}
	if r.Index != nil && isWord(p.peek(), "is") {
		return r
	}
	p.expectPunct(".", " and an attribute of `"+sign+name.Text+"`")
	r.Name = p.name("the name of an attribute").Text
	return r
}

// namespaced reads the rest of a call such as str:upper(x).
func (p *parser) namespaced(space Name) Node {
	p.take()
	name := p.name("the name of a function after " + tick(space.Text+":"))
	if !isPunct(p.peek(), "(") {
		p.fail(space.Pos, "found %s, expected a call: %s is a function, so its arguments follow in parentheses", tick(space.Text+":"+name.Text), tick(space.Text+":"+name.Text))
	}
	name.Pos = space.Pos
	return p.call(name, space.Text)
}

func (p *parser) call(name Name, namespace string) Node {
	p.nest(name.Pos)
	defer p.unnest()
	p.expectPunct("(", "")
	n := &Func{Pos: name.Pos, Namespace: namespace, Name: name.Text}
	if isPunct(p.peek(), "*") && isPunct(p.ahead(1), ")") {
		p.take()
		p.take()
		n.Star = true
		return n
	}
	n.Args = p.arguments("an argument of " + tick(n.full()))
	return n
}

// signed reads a number with its sign. Nothing else may have a sign.
func (p *parser) signed() Node {
	t, next := p.take(), p.peek()
	if next.kind != tokenNumber {
		operand := "x"
		if isName(next) {
			operand = next.text
		}
		p.fail(t.pos, "found `%s` before %s: a sign stands only before a number; write `0 %s %s`", t.text, describe(next), t.text, operand)
	}
	p.take()
	if _, unit := unitOf(p.peek().text); unit && p.peek().kind == tokenWord {
		p.fail(t.pos, "found `%s` before a time: a time has no sign", t.text)
	}
	sign := ""
	if t.text == "-" {
		sign = "-"
	}
	return p.literal(t.pos, sign, next)
}

// literal turns a number's text into its value. A number out of range does not end the
// statement.
func (p *parser) literal(at Pos, sign string, t token) *Literal {
	n, message := readNumber(sign, t.text)
	if message != "" {
		p.errorf(at, "%s", message)
		n = &Literal{Type: event.Int}
	}
	n.Pos = at
	return n
}

// number reads a number, or several with units of time.
func (p *parser) number() Node {
	t := p.take()
	n := p.literal(t.pos, "", t)
	unit, timed := p.unit()
	if !timed {
		if right, wrong := wrongUnits[strings.ToLower(p.peek().text)]; wrong && p.peek().kind == tokenWord {
			p.fail(p.peek().pos, "found %s, expected a unit of time: did you mean %s?", describe(p.peek()), tick(right))
		}
		return n
	}
	total := &Literal{Pos: t.pos, Type: event.Long, Time: true}
	for {
		p.addTime(total, n, timeUnits[unit])
		t = p.peek()
		if _, again := unitOf(p.ahead(1).text); t.kind != tokenNumber || p.ahead(1).kind != tokenWord || !again {
			return total
		}
		p.take()
		n = p.literal(t.pos, "", t)
		before := unit
		if unit, _ = p.unit(); unit <= before {
			p.fail(t.pos, "found `%s %s` behind %s: expected units of time to fall, such as `1 hour 30 min`", t.text, timeUnits[unit].name, tick(timeUnits[before].name))
		}
	}
}

// unit takes a unit of time if one follows.
func (p *parser) unit() (int, bool) {
	if p.peek().kind != tokenWord {
		return 0, false
	}
	u, ok := unitOf(p.peek().text)
	if ok {
		p.take()
	}
	return u, ok
}

func (p *parser) addTime(total, n *Literal, u timeUnit) {
	if n.Type != event.Int {
		p.fail(n.Pos, "found the %s %s before a unit of time, expected a whole number such as 5", n.Type, tick(literalText(n)))
	}
	if n.Int > (math.MaxInt64-total.Int)/u.ms {
		p.fail(n.Pos, "the time is out of the range of long (64 bits of milliseconds)")
	}
	total.Int += n.Int * u.ms
}
