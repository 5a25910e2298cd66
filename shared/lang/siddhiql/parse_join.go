package siddhiql

import "strings"

// joinFollows reports whether the next token can only stand between the sources of a join.
func (p *parser) joinFollows() bool {
	t, next := p.peek(), p.ahead(1)
	switch {
	case isWord(t, "as"):
		return isName(next)
	case isWord(t, "join"), isWord(t, "unidirectional"):
		return true
	case isWord(t, "inner"):
		return isWord(next, "join")
	case isWord(t, "outer"):
		return isWord(next, "join")
	}
	return p.outerFollows()
}

func (p *parser) outerFollows() bool {
	t := p.peek()
	return (isWord(t, "left") || isWord(t, "right") || isWord(t, "full")) && isWord(p.ahead(1), "outer")
}

// join reads the rest of a join after the filters and the window of its left source.
func (p *parser) join(left *StreamInput) *JoinInput {
	j := &JoinInput{Left: p.joinSide(left)}
	j.Pos = p.peek().pos
	j.Type = p.joinType()
	j.Right = p.joinSide(p.streamInput())
	p.noThirdSource()
	if p.accept("on") {
		j.On = p.expression("a condition after `on`")
		p.noThirdSource()
	}
	if t := p.peek(); isWord(t, "within") {
		p.fail(t.pos, "found `within`: it stands in joins with aggregations only, which are outside the language here; use a window such as `#window.time(…)`")
	}
	return j
}

func (p *parser) noThirdSource() {
	if t := p.peek(); p.joinFollows() {
		p.fail(t.pos, "found %s: a join has two sources; join the result of this one in a second query", describe(t))
	}
}

// joinSide reads what follows the filters and the window of a source.
func (p *parser) joinSide(in *StreamInput) *JoinSide {
	s := &JoinSide{StreamInput: *in}
	if p.accept("as") {
		s.As = p.name("another name for " + tick(in.Source.String()))
		if t := p.peek(); isPunct(t, "[") || isPunct(t, "#") {
			p.fail(t.pos, "found %s after the name %s: filters and the window stand before `as`", describe(t), tick(s.As.Text))
		}
	}
	s.Unidirectional = p.accept("unidirectional")
	return s
}

func (p *parser) joinType() JoinType {
	t := p.peek()
	kind := InnerJoin
	switch {
	case p.accept("inner"), isWord(t, "join"):
	case isWord(t, "outer"):
		p.fail(t.pos, "found `outer` alone: expected `left outer join`, `right outer join` or `full outer join`")
	case p.outerFollows():
		p.take()
		p.take()
		kind = map[string]JoinType{"left": LeftOuterJoin, "right": RightOuterJoin, "full": FullOuterJoin}[strings.ToLower(t.text)]
	default:
		p.unexpected("`join`, `left outer join`, `right outer join` or `full outer join`", "join", "inner", "left", "right", "full", "unidirectional")
	}
	p.expect("join", "")
	return kind
}

// joinWords write each kind of join.
var joinWords = [...]string{
	InnerJoin: "join ", LeftOuterJoin: "left outer join ", RightOuterJoin: "right outer join ", FullOuterJoin: "full outer join ",
}

func (in *JoinInput) print(p *printer) {
	in.Left.print(p)
	p.line(joinWords[in.Type])
	in.Right.print(p)
	if in.On != nil {
		p.line("on ")
		in.On.print(p)
	}
}

func (s *JoinSide) print(p *printer) {
	if s.Source.sign() == "" && isReservedStep(s.Source.Name) { // it would start a pattern
		p.write("`", s.Source.Name, "`")
		for _, h := range s.Handlers {
			h.print(p)
		}
	} else {
		s.StreamInput.print(p)
	}
	if s.As.Text != "" {
		p.write(" as ", quoteName(s.As.Text))
	}
	if s.Unidirectional {
		p.write(" unidirectional")
	}
}
