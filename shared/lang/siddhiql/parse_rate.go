package siddhiql

import "github.com/eventflux/eventflux/shared/lang/ratelimit"

// rate reads `output [all|first|last] every …` or `output snapshot every …`, if it follows.
func (p *parser) rate(q *QueryDef) {
	if !p.rateFollows() {
		return
	}
	r := &RateDef{Pos: p.take().pos}
	for _, w := range rateWords {
		if p.accept(w.String()) {
			r.Which = w
			break
		}
	}
	if !p.accept("every") {
		p.unexpected("`every`, or `all`, `first`, `last` or `snapshot` before it", "every", "all", "first", "last", "snapshot")
	}
	if t, next := p.peek(), p.ahead(1); t.kind == tokenNumber && (isWord(next, "events") || isWord(next, "event")) {
		p.take()
		p.take()
		r.Every, r.Events = p.literal(t.pos, "", t), true
	} else {
		r.Every = p.period("`5 events` or a time such as `10 sec` after `every`")
	}
	q.Rate = r
	if t := p.peek(); isClause(t) || isWord(t, "select") {
		p.fail(t.pos, "found %s after the output rate, expected it before `output`", describe(t))
	}
}

// rateWords are the words that say which rows of a period come out.
var rateWords = []ratelimit.Which{ratelimit.All, ratelimit.First, ratelimit.Last, ratelimit.Snapshot}

// rateFollows reports whether an `output` starts an output rate. It may be a name.
func (p *parser) rateFollows() bool {
	if !isWord(p.peek(), "output") {
		return false
	}
	next := p.ahead(1)
	for _, w := range rateWords {
		if isWord(next, w.String()) {
			return true
		}
	}
	return isWord(next, "every") || next.kind == tokenNumber
}

// period reads a time literal; with another expression it leaves the statement.
func (p *parser) period(what string) *Literal {
	t := p.peek()
	l, ok := p.expression(what).(*Literal)
	if !ok || !l.Time {
		p.fail(t.pos, "found %s, expected %s", describe(t), what)
	}
	return l
}

// oneKind refuses `current events` and `expired events` after a snapshot.
func (p *parser) oneKind(q *QueryDef) {
	t := p.peek()
	if q.Rate != nil && q.Rate.Which == ratelimit.Snapshot && (isWord(t, "current") || isWord(t, "expired")) {
		p.errorf(t.pos, "found %s: a snapshot shows what the query holds, so its rows are of no other kind; expected `into` or `all events into`", describe(t))
	}
}

func (r *RateDef) print(p *printer) {
	p.line("output ", r.Which.String(), " every ", literalText(r.Every))
	if r.Events {
		p.write(" events")
	}
}
