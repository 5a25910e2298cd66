package siddhiql

import (
	"github.com/eventflux/eventflux/shared/lang/event"
)

// rowTime stands for the time of a row where a reference names an attribute. No attribute has
// this name.
const rowTime = "eventTimestamp()"

// windowCondition checks the text of a condition over the rows of a window; nil after an error.
func (hd *handlerChecker) windowCondition(l *Literal, in *scope) *Condition {
	n := hd.parseInside(l)
	if n == nil {
		return nil
	}
	collector := &Query{}
	s := in.in("the condition of a window")
	s.query, s.shared, s.names, s.input = collector, map[string]int{}, heldRows{}, nil
	e := hd.exprs.condition(timesOfRows(n), s, "the window")
	if e == nil {
		return nil
	}
	return &Condition{Expr: e, Aggs: collector.Aggs}
}

// parseInside parses the expression that a text literal holds; nil after an error.
func (hd *handlerChecker) parseInside(l *Literal) (n Node) {
	inner := &report{}
	shift := func(at Pos) Pos {
		if at.Line == 1 {
			at.Column += l.Pos.Column
		}
		at.Line += l.Pos.Line - 1
		return at
	}
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(bailout); !ok {
				panic(r)
			}
		}
		if len(inner.errs) > 0 {
			n = nil
		}
		for _, err := range inner.errs {
			hd.errorf(err.Pos, "%s", err.Msg)
		}
	}()
	tokens := scan(l.Text, inner)
	for _, err := range inner.errs {
		err.Pos = shift(err.Pos)
	}
	for i := range tokens {
		tokens[i].pos = shift(tokens[i].pos)
	}
	p := &parser{report: inner, tokens: tokens}
	n = p.expression("a condition")
	if p.peek().kind != tokenEOF {
		p.unexpected("an operator, or the end of the condition")
	}
	return n
}

// timesOfRows replaces eventTimestamp(first) and eventTimestamp(last) by references that
// heldRows knows.
func timesOfRows(n Node) Node {
	switch n := n.(type) {
	case *Binary:
		b := *n
		b.L, b.R = timesOfRows(n.L), timesOfRows(n.R)
		return &b
	case *Negation:
		return &Negation{Pos: n.Pos, X: timesOfRows(n.X)}
	case *NullTest:
		return &NullTest{Pos: n.Pos, X: timesOfRows(n.X)}
	case *Func:
		f := *n
		f.Args = nil
		for _, a := range n.Args {
			f.Args = append(f.Args, timesOfRows(a))
		}
		if r, ok := theOnly(n.Args).(*Ref); ok && n.Name == "eventTimestamp" && r.Stream == "" && (r.Name == "first" || r.Name == "last") {
			return &Ref{Pos: n.Pos, Stream: r.Name, Name: rowTime}
		}
		return &f
	}
	return n
}

func theOnly(nodes []Node) Node {
	if len(nodes) == 1 {
		return nodes[0]
	}
	return nil
}

// heldRows resolves references in the condition of a window: `first.a` is of the oldest row
// that is held, `last.a` and `a` are of the newest.
type heldRows struct{}

func (heldRows) ref(c *exprChecker, r *Ref, s *scope) Expr {
	plain := *r
	plain.Stream = ""
	bare := *s
	bare.names = nil
	switch {
	case r.Stream == "" || r.Stream == s.stream.Name:
		return c.ref(&plain, &bare)
	case r.Stream != "first" && r.Stream != "last":
		return c.ref(r, &bare)
	case s.query == nil:
		c.errorf(r.Pos, "%s inside an aggregator, which reads every row that is held: write %s", tick(textOf(r)), tick(r.Name))
		return nil
	}
	var e Expr
	if r.Name == rowTime {
		e = &Call{Func: "eventTimestamp", T: event.Long}
	} else if e = c.ref(&plain, &bare); e == nil || c.real(r, e) == nil {
		return nil
	}
	if r.Stream == "last" {
		return e
	}
	key := "first." + r.Name
	i, ok := s.shared[key]
	if !ok {
		i = len(s.query.Aggs)
		s.query.Aggs = append(s.query.Aggs, Agg{Args: []Expr{e}, Type: e.Type()})
		s.shared[key] = i
	}
	return &AggResult{Index: i, T: e.Type()}
}

func (heldRows) absent(*exprChecker, *Ref, *scope) Expr { return nil }

func (heldRows) star(*exprChecker, *QueryDef) []event.Attr { return nil }
