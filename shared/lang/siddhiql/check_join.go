package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// joinNames resolves references to the two sides of a join.
type joinNames struct {
	refs  [2]StreamRef // as the query calls the sides
	sides *[2]Side
	join  *Join
}

// joinChecker checks joins.
type joinChecker struct {
	*build
	catalog  *catalog
	exprs    *exprChecker
	handlers *handlerChecker
}

// input checks a join and returns what the rest of the query can refer to; nil if too little is
// known of its sources.
func (jn *joinChecker) input(in *JoinInput, d *QueryDef, q *Query) *scope {
	j := &Join{Type: in.Type}
	names := &joinNames{sides: &j.Sides, join: j}
	written := [2]*JoinSide{in.Left, in.Right}
	good := true
	for i, side := range written {
		good = jn.side(side, &j.Sides[i]) && good
		names.refs[i] = side.name()
		j.Sides[i].Name = names.refs[i].String()
	}
	if !good || !jn.sources(in, j, names) {
		return nil
	}
	l, r := &j.Sides[0], &j.Sides[1]
	r.Base = len(l.Stream.Schema.Attrs)
	l.Preserved = in.Type == LeftOuterJoin || in.Type == FullOuterJoin
	r.Preserved = in.Type == RightOuterJoin || in.Type == FullOuterJoin
	schema := &event.Schema{Name: l.Name + " and " + r.Name}
	schema.Attrs = slices.Concat(l.Stream.Schema.Attrs, r.Stream.Schema.Attrs,
		[]event.Attr{{Name: l.Name, Type: event.Bool}, {Name: r.Name, Type: event.Bool}})
	q.Join = j
	s := &scope{schema: schema, stream: in.Left.Source, names: names, outputs: outputNames(d)}
	if in.On != nil {
		j.On = jn.exprs.condition(in.On, s.in("the condition of the join"), "`on`")
		j.takeApart()
	}
	return s
}

// name returns how a query calls a side.
func (s *JoinSide) name() StreamRef {
	if s.As.Text != "" {
		return StreamRef{Pos: s.As.Pos, Name: s.As.Text}
	}
	return s.Source
}

// side checks one source; false if too little is known of it.
func (jn *joinChecker) side(d *JoinSide, side *Side) bool {
	if t := jn.catalog.tables[d.Source.Name]; t != nil && !d.Source.Inner && !d.Source.Fault {
		return jn.table(d, side, t)
	}
	source := jn.catalog.find(d.Source)
	if source == nil || source.broken || !jn.handlers.noFunctions(&d.StreamInput, "a join") {
		return false
	}
	if !jn.named(d) {
		return false
	}
	side.Stream = source.stream
	side.Triggers = true
	s := &scope{schema: side.Stream.Schema, stream: d.Source, as: d.As.Text}
	for i, h := range d.Handlers {
		if h.Filter != nil && i > 0 && d.Handlers[i-1].Filter == nil {
			jn.errorf(h.Pos, "a filter after the window of %s: a source of a join has its filters before the window; write the condition into `on`", tick(d.Source.String()))
			return false
		}
	}
	side.Before, side.Window, _ = jn.handlers.handlers(&d.StreamInput, s)
	return true
}

// table checks a table as a source.
func (jn *joinChecker) table(d *JoinSide, side *Side, t *Table) bool {
	side.Stream = t.Stream
	switch {
	case len(d.Handlers) > 0:
		jn.errorf(d.Handlers[0].Pos, "%s is a table: write its condition into `on`", tick(t.Name))
		return false
	case d.Unidirectional:
		jn.errorf(d.Source.Pos, "%s is a table and brings no rows: put `unidirectional` after the other source", tick(t.Name))
		return false
	}
	return true
}

// sources checks what the two sources must not be together.
func (jn *joinChecker) sources(in *JoinInput, j *Join, names *joinNames) bool {
	l, r := in.Left, in.Right
	switch {
	case names.refs[0].String() == names.refs[1].String():
		jn.errorf(names.refs[1].Pos, "both sources of the join are called %s: give each a name of its own, as in `%s as a join %s as b`", tick(names.refs[1].String()), l.Source, r.Source)
		return false
	case l.As.Text == r.Source.String() || r.As.Text == l.Source.String():
		alias := l.As
		if r.As.Text == l.Source.String() {
			alias = r.As
		}
		jn.errorf(alias.Pos, "the name %s of one source is the name of the other: choose another one after `as`", tick(alias.Text))
		return false
	case j.Sides[0].Stream.Table != nil && j.Sides[1].Stream.Table != nil:
		jn.errorf(in.Pos, "a join needs a stream that brings rows: %s and %s are tables", tick(l.Source.String()), tick(r.Source.String()))
		return false
	case l.Unidirectional && r.Unidirectional:
		jn.errorf(r.Source.Pos, "both sources are `unidirectional`: at most one is, and only its rows start a look-up")
		return false
	}
	if l.Unidirectional {
		j.Sides[1].Triggers = false
	}
	if r.Unidirectional {
		j.Sides[0].Triggers = false
	}
	if j.SelfJoin() && j.Sides[0].Stream.Window != nil {
		j.Sides[1].Triggers = false // each row of the window is looked up once
	}
	return jn.keeps(in, j)
}

// keeps refuses a join where nothing is ever found.
func (jn *joinChecker) keeps(in *JoinInput, j *Join) bool {
	for i := range j.Sides {
		if j.Sides[i].keeps() {
			return true
		}
	}
	for _, side := range [2]*JoinSide{in.Left, in.Right} {
		if slices.ContainsFunc(side.Handlers, func(h *Handler) bool { return h.Filter == nil }) {
			return true // it was reported
		}
	}
	jn.errorf(in.Pos, "neither %s nor %s has a window, so neither keeps rows that the other could find: write a window after one of them, such as `%s#window.time(1 min)`",
		tick(j.Sides[0].Name), tick(j.Sides[1].Name), in.Right.Source)
	return false
}

// keeps reports whether the other side can find rows.
func (s *Side) keeps() bool {
	return s.Window != nil || s.Stream.Table != nil || s.Stream.Window != nil
}

// side returns the side that a reference names.
func (n *joinNames) side(r *Ref) int {
	for i, ref := range n.refs {
		if r.Stream == ref.Name && r.Inner == ref.Inner && !ref.Fault {
			return i
		}
	}
	return -1
}

func (n *joinNames) ref(c *exprChecker, r *Ref, s *scope) Expr {
	side := 0
	switch l, right := n.index(0, r), n.index(1, r); {
	case r.Stream != "":
		if side = n.side(r); side < 0 {
			c.errorf(r.Pos, "unknown source %s in %s: the sources of this join are %s", tick(StreamRef{Inner: r.Inner, Name: r.Stream}.String()), clauseText(s.clause), listOf([]string{n.sides[0].Name, n.sides[1].Name}, "and"))
			return nil
		}
	case l >= 0 && right >= 0:
		c.errorf(r.Pos, "%s is an attribute of both sources: write `%s.%s` or `%s.%s`", tick(r.Name), n.sides[0].Name, r.Name, n.sides[1].Name, r.Name)
		return nil
	case l < 0 && right < 0:
		n.unknown(c, r, s)
		return nil
	case right >= 0:
		side = 1
	}
	i := n.index(side, r)
	if i < 0 {
		c.errorf(r.Pos, "unknown attribute %s of %s%s", tick(r.Name), tick(n.sides[side].Name), didYouMean(r.Name, attrNames(n.sides[side].Stream.Schema)))
		return nil
	}
	a := n.sides[side].Stream.Schema.Attrs[i]
	if a.Type == 0 {
		return nil // its definition was reported
	}
	return &Attr{Index: n.sides[side].Base + i, Attr: a}
}

func (n *joinNames) index(side int, r *Ref) int { return n.sides[side].Stream.Schema.Index(r.Name) }

func (n *joinNames) unknown(c *exprChecker, r *Ref, s *scope) {
	if slices.Contains(s.outputs, r.Name) {
		c.errorf(r.Pos, "%s is named by select: %s sees only the attributes of the sources", tick(r.Name), clauseText(s.clause))
		return
	}
	var all []string
	for i := range n.sides {
		all = append(all, attrNames(n.sides[i].Stream.Schema)...)
	}
	c.errorf(r.Pos, "neither %s nor %s has an attribute %s%s", tick(n.sides[0].Name), tick(n.sides[1].Name), tick(r.Name), didYouMean(r.Name, all))
}

func (n *joinNames) absent(_ *exprChecker, r *Ref, _ *scope) Expr {
	whole := &Ref{Stream: r.Name}
	if r.Stream != "" || n.index(0, r) >= 0 || n.index(1, r) >= 0 || n.side(whole) < 0 {
		return nil
	}
	side := n.side(whole)
	return &IsNull{X: &Attr{Index: n.join.Present(side), Attr: event.Attr{Name: r.Name, Type: event.Bool}}}
}

func (n *joinNames) star(c *exprChecker, d *QueryDef) []event.Attr {
	l, r := n.sides[0].Stream.Schema, n.sides[1].Stream.Schema
	for _, a := range r.Attrs {
		if l.Index(a.Name) >= 0 {
			c.errorf(d.Input.(*JoinInput).Pos, "`select *` yields the attribute %s twice: both sources have it; select the attributes by name", tick(a.Name))
			return []event.Attr{{Name: a.Name}}
		}
	}
	return slices.Concat(l.Attrs, r.Attrs)
}
