package siddhiql

// table reads `define table T (a int, …)`.
func (p *parser) table(a *App, annotations []*Annotation) {
	d := &TableDef{StreamDef{Pos: p.take().pos, Annotations: annotations}}
	p.take()
	d.Name = p.name("the name of the table")
	p.attributes(&d.StreamDef)
	if len(a.Elements) == 0 {
		a.Tables = append(a.Tables, d)
	}
}

// writeFollows reports whether a query goes on with a change of a table.
func (p *parser) writeFollows() bool {
	t, next := p.peek(), p.ahead(1)
	return isName(next) && (isWord(t, "delete") || isWord(t, "update"))
}

// change reads `delete T on …`, `update T set … on …` or `update or insert into T …`.
func (p *parser) change(q *QueryDef) {
	t := p.take()
	w := &WriteDef{Pos: t.pos, Kind: Update}
	switch {
	case isWord(t, "delete"):
		w.Kind = Delete
	case p.accept("or"):
		w.Kind = UpdateOrInsert
		p.expect("insert", " after `update or`")
		p.expect("into", " after `update or insert`")
	}
	q.Write = w
	q.Target = p.streamRef("the table to change")
	if p.accept("for") {
		p.eventKinds(q)
	}
	if w.Kind != Delete && p.accept("set") {
		w.Set = append(w.Set, p.assignment())
		for p.acceptPunct(",") {
			w.Set = append(w.Set, p.assignment())
		}
	}
	p.expect("on", " and the condition that finds the rows of "+tick(q.Target.Name))
	w.On = p.expression("a condition after `on`")
}

// assignment reads `T.a = value`.
func (p *parser) assignment() *SetDef {
	t := p.peek()
	if !isName(t) {
		p.unexpected("an attribute of the table, such as `T.a`")
	}
	attr := &Ref{Pos: t.pos, Name: p.take().text}
	if p.acceptPunct(".") {
		attr.Stream, attr.Name = attr.Name, p.name("the name of an attribute").Text
	}
	p.expectPunct("=", " and the new value of "+tick(textOf(attr)))
	return &SetDef{Attr: attr, Value: p.expression("a value after `=`")}
}

// eventKinds reads which events a query inserts, or changes a table for.
func (p *parser) eventKinds(q *QueryDef) {
	switch {
	case p.accept("all"):
		q.Events = AllEvents
		p.expect("events", " after `all`")
	case p.accept("expired"):
		q.Events = ExpiredEvents
		p.expect("events", " after `expired`")
	case p.accept("current"):
		p.expect("events", " after `current`")
	default:
		p.accept("events")
	}
}

// InTable is `X in T`: a row of the table meets the condition X.
type InTable struct {
	Pos   Pos // of the `in`
	X     Node
	Table Name
}

// At implements Node.
func (n *InTable) At() Pos { return n.Pos }

func (n *InTable) print(p *printer) {
	p.operand(n.X, OpEqual.precedence())
	p.write(" in ", quoteName(n.Table.Text))
}

// inTable reads `in T` after a condition, as often as it follows.
func (p *parser) inTable(x Node) Node {
	for isWord(p.peek(), "in") {
		n := &InTable{Pos: p.take().pos, X: x}
		if t := p.peek(); isPunct(t, "(") {
			p.fail(t.pos, "found `(`, expected the name of a table after `in`: it looks a row up in a table; for a list of values, write `x == 1 or x == 2`")
		}
		n.Table = p.name("the name of a table after `in`")
		x = n
	}
	return x
}

func (d *TableDef) print(p *printer) {
	p.annotations(d.Annotations)
	p.write("define table ")
	d.printAttrs(p)
}

// printChange prints what a query does to a table.
func (q *QueryDef) printChange(p *printer) {
	p.line([...]string{Update: "update ", UpdateOrInsert: "update or insert into ", Delete: "delete "}[q.Write.Kind])
	q.Target.print(p)
	p.write([...]string{CurrentEvents: "", ExpiredEvents: " for expired events", AllEvents: " for all events"}[q.Events])
	for i, s := range q.Write.Set {
		p.separate(i, ", ")
		if i == 0 {
			p.line("set ")
		}
		s.Attr.print(p)
		p.write(" = ")
		s.Value.print(p)
	}
	p.line("on ")
	q.Write.On.print(p)
}
