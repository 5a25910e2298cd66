package siddhiql

import "strings"

// clauses are the clauses of a query after its select, in order.
var clauses = []string{"group", "having", "order", "limit", "offset"}

// query reads `from … select … insert into …`.
func (p *parser) query(annotations []*Annotation) *QueryDef {
	q := &QueryDef{Pos: p.peek().pos, Annotations: annotations}
	p.expect("from", "")
	q.Input = p.input()
	switch t := p.peek(); {
	case isWord(t, "select"):
		p.selection(q)
	case isWord(t, "insert"), p.rateFollows(), p.writeFollows():
	case isClause(t):
		p.fail(t.pos, "found %s, expected `select` before it", describe(t))
	case isWord(t, "on"):
		p.onDemand(t)
	case isWord(t, "within") && isStream(q.Input):
		p.fail(t.pos, "found `within`: it bounds how long a match of a pattern takes, such as `every e1=A -> e2=B within 1 min`, and there is no pattern here; "+
			"for the events of the last second, write `#window.time(1 sec)` after the stream")
	default:
		p.unexpected("`[filter]`, `#window.…`, `join`, `select` or `insert into`", "select", "insert", "join")
	}
	p.rate(q)
	p.output(q)
	return q
}

// onDemand refuses a query on demand: one that reads or changes a table once.
func (p *parser) onDemand(t token) {
	p.fail(t.pos, "found %s, expected a query that reads a stream: queries on demand, such as `from T on … select …`, are outside the language here; to see the rows of a table, "+
		"use `eventflux state get table/T`; in an app, join the table with a stream, `from S join T on … select …`, or let a query change it, `from S select … update T on …`",
		describe(t))
}

func isStream(in Input) bool {
	_, ok := in.(*StreamInput)
	return ok
}

// input reads what a query reads.
func (p *parser) input() Input {
	if p.patternFollows() {
		return p.pattern()
	}
	in := p.streamInput()
	if p.joinFollows() {
		return p.join(in)
	}
	return in
}

// streamInput reads a stream with its filters and windows.
func (p *parser) streamInput() *StreamInput {
	if p.clauseFollows() {
		p.unexpected("the stream to read")
	}
	in := &StreamInput{Source: p.streamRef("the stream to read")}
	in.Handlers = p.handlers()
	return in
}

func isClause(t token) bool {
	for _, c := range clauses {
		if isWord(t, c) {
			return true
		}
	}
	return false
}

func (p *parser) streamRef(what string) StreamRef {
	r := StreamRef{Pos: p.peek().pos}
	r.Inner = p.acceptPunct("#")
	r.Fault = !r.Inner && p.acceptPunct(faultSign)
	r.Name = p.name(what).Text
	return r
}

// handlers reads filters and windows. The checker refuses more than one window.
func (p *parser) handlers() []*Handler {
	var list []*Handler
	for {
		t := p.peek()
		switch {
		case isPunct(t, "["):
			list = append(list, p.filter())
		case isPunct(t, "#"):
			p.take()
			if isPunct(p.peek(), "[") {
				list = append(list, p.filter())
			} else {
				list = append(list, p.window())
			}
		default:
			return list
		}
	}
}

func (p *parser) filter() *Handler {
	h := &Handler{Pos: p.take().pos}
	h.Filter = p.expression("a condition")
	p.expectPunct("]", " after the condition")
	return h
}

// window reads `window.name(…)` or `name(…)`, after the #.
func (p *parser) window() *Handler {
	name := p.name("a window such as `#window.length(5)`, or a filter")
	isLong, isFunction := strings.EqualFold(name.Text, "window"), false
	if isLong && p.acceptPunct(".") {
		name = p.name("the name of a window")
		if p.acceptPunct(":") {
			name.Text += ":" + p.name("the name of a window").Text
		}
	} else if strings.EqualFold(name.Text, "unique") && p.acceptPunct(":") {
		name.Text += ":" + p.name("`deduplicate`").Text
	} else if isPunct(p.peek(), ":") {
		next := p.ahead(1)
		if isLong && isName(next) {
			p.fail(p.peek().pos, "found `:`, expected `.`: write `#window.%s(…)`", next.text)
		}
		p.take()
		name.Text += ":" + p.name("the name of a stream function").Text
		isFunction = true
	} else if !isLong {
		isFunction = isStreamFunction(name.Text)
	}
	if isFunction {
		p.expectPunct("(", " and the arguments of the stream function "+tick("#"+name.Text))
		return &Handler{Pos: name.Pos, Window: name.Text, Function: true, Params: p.arguments("an argument of the stream function " + tick("#"+name.Text))}
	}
	p.expectPunct("(", " and the parameters of the window "+tick(name.Text))
	h := &Handler{Pos: name.Pos, Window: name.Text}
	h.Params = p.arguments("a parameter of the window " + tick(name.Text))
	return h
}

// arguments reads expressions up to the closing parenthesis.
func (p *parser) arguments(what string) []Node {
	var list []Node
	for !p.acceptPunct(")") {
		if len(list) > 0 {
			p.expectPunct(",", " or `)`")
		}
		list = append(list, p.expression(what))
	}
	return list
}

// selection reads `select …` and the clauses that belong to it.
func (p *parser) selection(q *QueryDef) {
	p.expect("select", "")
	if p.acceptPunct("*") {
		if t := p.peek(); isPunct(t, ",") {
			p.fail(t.pos, "found `,`: `*` stands alone in a select; expected all attributes by name, or only `*`")
		}
	} else {
		q.Items = p.items()
	}
	if p.accept("group") {
		p.expect("by", " after `group`")
		q.GroupBy = p.refs("group by")
	}
	if p.accept("having") {
		q.Having = p.expression("a condition after `having`")
	}
	if p.accept("order") {
		p.expect("by", " after `order`")
		q.OrderBy = p.order()
	}
	if p.accept("limit") {
		q.Limit = p.expression("a number after `limit`")
	}
	if p.accept("offset") {
		q.Offset = p.expression("a number after `offset`")
	}
}

func (p *parser) items() []*Item {
	list := []*Item{p.item()}
	for p.acceptPunct(",") {
		list = append(list, p.item())
	}
	return list
}

// item reads one value of a select. Only a plain attribute has a name of its own.
func (p *parser) item() *Item {
	t := p.peek()
	if isPunct(t, "*") {
		p.fail(t.pos, "found `*`: it stands alone in a select; expected all attributes by name, or only `*`")
	}
	n := &Item{Expr: p.expression("a value to select")}
	next := p.peek()
	_, plain := n.Expr.(*Ref)
	switch {
	case p.accept("as"):
		n.As = p.name("a name after `as`")
	case plain:
	case isName(next) && !isClause(next) && !isWord(next, "insert") && !p.rateFollows() && !p.writeFollows():
		p.unexpected("`as` and a name for " + tick(textOf(n.Expr)))
	default:
		p.errorf(t.pos, "the expression %s has no name: write `%s as …`", tick(textOf(n.Expr)), shorten(textOf(n.Expr)))
	}
	return n
}

// refs reads the attributes of a clause.
func (p *parser) refs(clause string) []*Ref {
	list := []*Ref{p.ref(clause)}
	for p.acceptPunct(",") {
		list = append(list, p.ref(clause))
	}
	return list
}

// ref reads an attribute. An expression instead does not end the statement.
func (p *parser) ref(clause string) *Ref {
	t := p.peek()
	n := p.expression("an attribute after `" + clause + "`")
	if r, ok := n.(*Ref); ok {
		return r
	}
	hint := "name the expression in the select of a query before this one"
	if clause == "order by" {
		hint = "name the expression in select, and order by that name"
	}
	p.errorf(t.pos, "found %s, expected an attribute: `%s` takes attributes only; %s", tick(textOf(n)), clause, hint)
	return &Ref{Pos: t.pos}
}

func (p *parser) order() []*OrderItem {
	var list []*OrderItem
	for {
		n := &OrderItem{Attr: p.ref("order by")}
		if n.Desc = p.accept("desc"); !n.Desc {
			p.accept("asc")
		}
		list = append(list, n)
		if !p.acceptPunct(",") {
			return list
		}
	}
}

// output reads `insert … into …`.
func (p *parser) output(q *QueryDef) {
	if t := p.peek(); isClause(t) {
		p.fail(t.pos, "found %s, expected `insert into`: clauses stand once each, in the order group by, having, order by, limit, offset", describe(t))
	}
	if p.writeFollows() {
		p.change(q)
		return
	}
	if !p.accept("insert") {
		p.unexpected("`as`, `,`, a clause such as `group by`, or `insert into`",
			append([]string{"insert", "as", "desc", "output"}, clauses...)...)
	}
	p.oneKind(q)
	p.eventKinds(q)
	if !p.accept("into") {
		p.unexpected("`into`, `all events into`, `expired events into` or `current events into`", "into", "all", "expired", "current", "events")
	}
	q.Target = p.streamRef("the stream to insert into")
}
