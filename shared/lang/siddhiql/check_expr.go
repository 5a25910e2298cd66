package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// scope is what an expression can refer to.
type scope struct {
	schema  *event.Schema
	stream  StreamRef
	as      string   // another name of stream, or ""
	names   names    // of an input with several sources; nil: attributes of schema alone
	clause  string   // where the expression is, for messages
	outputs []string // names that only the select gives
	input   *scope   // of clauses that see the output: the input, which they do not see
	// In select only: the query that collects aggregators, and its aggregators by their
	// text: equal calls share one.
	query  *Query
	shared map[string]int
}

// names resolves references where attributes have several sources: the sides of a join, or
// the steps of a pattern.
type names interface {
	// ref returns the attribute that a reference means; nil after an error.
	ref(c *exprChecker, r *Ref, s *scope) Expr
	// absent returns what `r is null` tests if r names a whole source instead of an
	// attribute; nil if it does not.
	absent(c *exprChecker, r *Ref, s *scope) Expr
	// star returns the attributes that `select *` selects, the first of the schema; nil after
	// an error.
	star(c *exprChecker, d *QueryDef) []event.Attr
}

// in returns the scope for another clause. Aggregators stay with select.
func (s *scope) in(clause string) *scope {
	t := *s
	t.clause, t.query, t.shared = clause, nil, nil
	return &t
}

// start returns where an expression starts.
func start(n Node) Pos {
	for {
		b, ok := n.(*Binary)
		if !ok {
			return n.At()
		}
		n = b.L
	}
}

// exprChecker checks expressions.
type exprChecker struct {
	*build
	catalog   *catalog
	functions map[string]Function
	negations map[*Negation]*Binary // the operator that binds less tightly than a `not`
}

// expr checks an expression; nil after an error.
func (ex *exprChecker) expr(n Node, s *scope) Expr {
	switch n := n.(type) {
	case *Literal:
		return &Const{T: n.Type, Int: n.Int, Real: n.Real, Text: n.Text}
	case *Ref:
		return ex.ref(n, s)
	case *Binary:
		return ex.binary(n, s)
	case *InTable:
		return ex.inRows(n, s)
	case *Negation:
		if x := ex.negated(n, s); x != nil {
			return &Not{X: x}
		}
		return nil
	case *NullTest:
		if r, ok := n.X.(*Ref); ok && s.names != nil {
			if test := s.names.absent(ex, r, s); test != nil {
				return test
			}
		}
		if x := ex.expr(n.X, s); x != nil {
			return &IsNull{X: x}
		}
		return nil
	case *Func:
		if p, ok := s.names.(interface {
			eventTime(*exprChecker, *Func, *scope) Expr
		}); ok {
			if e := p.eventTime(ex, n, s); e != nil {
				return e
			}
		}
		return ex.call(n, s)
	}
	return nil
}

// condition checks an expression of type bool.
func (ex *exprChecker) condition(n Node, s *scope, what string) Expr {
	e := ex.expr(n, s)
	switch {
	case e == nil:
		return nil
	case e.Type() != event.Bool:
		ex.errorf(start(n), "%s is %s, but %s takes a condition (bool)", tick(textOf(n)), e.Type(), what)
		return nil
	}
	return ex.real(n, e)
}

// real returns e if its value has the type that it claims, else nil after an error.
func (ex *exprChecker) real(n Node, e Expr) Expr {
	if err := realValue(e); err != nil {
		ex.errorf(start(n), "%s: %v", tick(textOf(n)), err)
		return nil
	}
	return e
}

// negated checks the operand of a `not`, and explains how tightly `not` binds.
func (ex *exprChecker) negated(n *Negation, s *scope) Expr {
	b := ex.negations[n]
	if b == nil {
		return ex.condition(n.X, s, "`not`")
	}
	x := ex.expr(n.X, s)
	switch {
	case x == nil:
		return nil
	case x.Type() == event.Bool:
		return ex.real(n.X, x)
	}
	ex.errorf(n.Pos, "`not` takes a condition (bool), but %s is %s: `not` binds tighter than `%s`, so write `not (%s)`",
		tick(textOf(n.X)), x.Type(), b.Op, shorten(withoutNot(b, n)))
	return nil
}

// withoutNot returns b's text without the `not` at its start.
func withoutNot(b *Binary, not *Negation) string {
	bare := *b
	if b.L == Node(not) {
		bare.L = not.X
		return textOf(&bare)
	}
	if l, ok := b.L.(*Binary); ok {
		return withoutNot(l, not) + " " + b.Op.String() + " " + operandText(b.R, b.Op.precedence()+1)
	}
	return textOf(b)
}

func operandText(n Node, precedence int) string {
	p := &printer{}
	p.operand(n, precedence)
	return p.b.String()
}

func (ex *exprChecker) binary(n *Binary, s *scope) Expr {
	if n.Op >= OpEqual {
		ex.noteNegation(n)
	}
	if n.Op == OpOr || n.Op == OpAnd {
		return ex.logical(n, s)
	}
	l, r := ex.expr(n.L, s), ex.expr(n.R, s)
	if l == nil || r == nil {
		return nil
	}
	if n.Op >= OpAdd {
		return ex.arith(n, l, r)
	}
	return ex.compare(n, l, r)
}

// noteNegation remembers which operator a `not` at the start of its text was perhaps meant
// to negate: the outermost one, which is seen first.
func (ex *exprChecker) noteNegation(n *Binary) {
	for l := n.L; ; {
		switch x := l.(type) {
		case *Negation:
			if ex.negations[x] == nil {
				ex.negations[x] = n
			}
			return
		case *Binary:
			if x.Op < OpEqual {
				return
			}
			l = x.L
		default:
			return
		}
	}
}

func (ex *exprChecker) logical(n *Binary, s *scope) Expr {
	what := tick(n.Op.String())
	l, r := ex.condition(n.L, s, what), ex.condition(n.R, s, what)
	switch {
	case l == nil || r == nil:
		return nil
	case n.Op == OpAnd:
		return &And{L: l, R: r}
	default:
		return &Or{L: l, R: r}
	}
}

// join checks `+` with a text on one side: it joins the texts of both.
func (ex *exprChecker) join(n *Binary, l, r Expr) Expr {
	if ex.real(n.L, l) == nil || ex.real(n.R, r) == nil {
		return nil
	}
	if left, ok := l.(*Call); ok && left.Func == JoinTexts {
		return &Call{Func: JoinTexts, Args: append(slices.Clone(left.Args), r), T: event.String}
	}
	return &Call{Func: JoinTexts, Args: []Expr{l, r}, T: event.String}
}

func (ex *exprChecker) arith(n *Binary, l, r Expr) Expr {
	lt, rt := l.Type(), r.Type()
	if n.Op == OpAdd && (lt == event.String && rt != event.Object || rt == event.String && lt != event.Object) {
		return ex.join(n, l, r)
	}
	for _, side := range []struct {
		n Node
		e Expr
	}{{n.L, l}, {n.R, r}} {
		if side.e.Type().Numeric() || side.e.Type() == event.String && n.Op == OpAdd && (lt == event.Object || rt == event.Object) {
			continue
		}
		hint := ""
		switch {
		case side.e.Type() == event.Object && (lt == event.String || rt == event.String) && n.Op == OpAdd:
			ex.errorf(n.Pos, "`+` cannot join %s, an object: write `convert(%s, 'string')`", tick(textOf(side.n)), shorten(textOf(side.n)))
			return nil
		case side.e.Type() == event.Object:
			hint = "; to read an object as a number, write `cast(…, 'double')`"
		}
		ex.errorf(n.Pos, "`%s` takes numbers, but %s is %s%s", n.Op, tick(textOf(side.n)), side.e.Type(), hint)
		return nil
	}
	if ex.real(n.L, l) == nil || ex.real(n.R, r) == nil {
		return nil
	}
	symbol := ArithOp(n.Op.String()[0])
	return &Arith{Op: symbol, L: l, R: r, T: promote(l.Type(), r.Type())}
}

func (ex *exprChecker) compare(n *Binary, l, r Expr) Expr {
	lt, rt := l.Type(), r.Type()
	ordered := n.Op >= OpLess
	switch {
	case lt == event.Object || rt == event.Object:
		side := n.L
		if lt != event.Object {
			side = n.R
		}
		ex.errorf(n.Pos, "`%s` cannot compare %s, an object: to read it as a value, write `cast(…, 'string')` or the like", n.Op, tick(textOf(side)))
		return nil
	case lt != rt && (!lt.Numeric() || !rt.Numeric()):
		ex.errorf(n.Pos, "`%s` cannot compare %s, which is %s, with %s, which is %s: expected two numbers, two strings or two bools",
			n.Op, tick(textOf(n.L)), lt, tick(textOf(n.R)), rt)
		return nil
	case ordered && !lt.Numeric():
		ex.errorf(n.Pos, "`%s` takes numbers, but %s is %s: only `==` and `!=` compare those", n.Op, tick(textOf(n.L)), lt)
		return nil
	}
	if ex.real(n.L, l) == nil || ex.real(n.R, r) == nil {
		return nil
	}
	return &Compare{Op: CompareOp(n.Op - OpEqual), L: l, R: r}
}

// ref resolves an attribute.
func (ex *exprChecker) ref(r *Ref, s *scope) Expr {
	if s.names != nil {
		return s.names.ref(ex, r, s)
	}
	if r.Stream != "" && r.Stream == s.as && !r.Inner {
		r = &Ref{Pos: r.Pos, Name: r.Name}
	}
	if r.Stream != "" && (r.Stream != s.stream.Name || r.Inner != s.stream.Inner || s.input != nil) {
		ex.foreign(r, s)
		return nil
	}
	i := s.schema.Index(r.Name)
	if i < 0 {
		ex.unknownAttr(r, s)
		return nil
	}
	if s.schema.Attrs[i].Type == 0 {
		return nil // its expression, or its definition, was reported
	}
	return &Attr{Index: i, Attr: s.schema.Attrs[i]}
}

// foreign reports why an attribute of another stream cannot be used.
func (ex *exprChecker) foreign(r *Ref, s *scope) {
	stream := StreamRef{Inner: r.Inner, Name: r.Stream}
	if s.input != nil {
		ex.errorf(r.Pos, "found %s in `%s`, which sees only what select names: expected one of %s", tick(textOf(r)), s.clause, listOf(attrNames(s.schema), "or"))
		return
	}
	ex.errorf(r.Pos, "found %s, but %s reads only the stream %s", tick(stream.String()+"."+r.Name), clauseText(s.clause), tick(s.stream.String()))
}

// clauseText writes the name of a clause, with keywords in back-quotes.
func clauseText(clause string) string {
	switch clause {
	case "select", "having", "group by", "order by":
		return tick(clause)
	}
	return clause
}

func (ex *exprChecker) unknownAttr(r *Ref, s *scope) {
	switch {
	case s.input != nil && s.input.schema.Index(r.Name) >= 0:
		ex.errorf(r.Pos, "attribute %s is of the input: `%s` sees only what select names, so name it there, too", tick(r.Name), s.clause)
	case s.input != nil:
		ex.errorf(r.Pos, "%s is not named by select, which is all that `%s` sees%s", tick(r.Name), s.clause, didYouMean(r.Name, attrNames(s.schema)))
	case slices.Contains(s.outputs, r.Name):
		ex.errorf(r.Pos, "%s is named by select: %s sees only the attributes of stream %s", tick(r.Name), clauseText(s.clause), tick(s.stream.String()))
	default:
		ex.errorf(r.Pos, "unknown attribute %s of stream %s%s", tick(r.Name), tick(s.stream.String()), didYouMean(r.Name, attrNames(s.schema)))
	}
}

func attrNames(s *event.Schema) []string {
	names := make([]string, len(s.Attrs))
	for i, a := range s.Attrs {
		names[i] = a.Name
	}
	return names
}
