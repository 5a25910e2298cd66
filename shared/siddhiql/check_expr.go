package siddhiql

import (
	"slices"

	"eventflux/shared/aggregate"
	"eventflux/shared/event"
	"eventflux/shared/window"
)

// scope is what an expression can see.
type scope struct {
	schema  *event.Schema
	stream  StreamRef
	clause  string   // where the expression stands, for messages
	outputs []string // names that only the select gives
	input   *scope   // of clauses that see the output: what they do not see
	// In select only: the query that collects aggregators, and those it has, by
	// their text: equal calls share one.
	query  *Query
	shared map[string]int
}

// in returns the scope as another clause has it. Aggregators stay with select.
func (s *scope) in(clause string) *scope {
	t := *s
	t.clause, t.query, t.shared = clause, nil, nil
	return &t
}

// start returns where an expression begins.
func start(n Node) Pos {
	for {
		b, ok := n.(*Binary)
		if !ok {
			return n.At()
		}
		n = b.L
	}
}

// expr checks an expression; nil after an error.
func (c *checker) expr(n Node, s *scope) Expr {
	switch n := n.(type) {
	case *Literal:
		return &Const{T: n.Type, Int: n.Int, Real: n.Real, Text: n.Text}
	case *Ref:
		return c.ref(n, s)
	case *Binary:
		return c.binary(n, s)
	case *Negation:
		if x := c.negated(n, s); x != nil {
			return &Not{X: x}
		}
		return nil
	case *NullTest:
		if x := c.expr(n.X, s); x != nil {
			return &IsNull{X: x}
		}
		return nil
	case *Func:
		return c.call(n, s)
	}
	return nil
}

// condition checks an expression of type bool.
func (c *checker) condition(n Node, s *scope, what string) Expr {
	e := c.expr(n, s)
	switch {
	case e == nil:
		return nil
	case e.Type() != event.Bool:
		c.errorf(start(n), "%s is %s, but %s takes a condition (bool)", tick(textOf(n)), e.Type(), what)
		return nil
	}
	return c.real(n, e)
}

// real returns e if its value is what its type says, else nil after an error.
func (c *checker) real(n Node, e Expr) Expr {
	if err := realValue(e); err != nil {
		c.errorf(start(n), "%s: %v", tick(textOf(n)), err)
		return nil
	}
	return e
}

// negated checks what `not` is before, and explains how tightly that binds.
func (c *checker) negated(n *Negation, s *scope) Expr {
	b := c.negations[n]
	if b == nil {
		return c.condition(n.X, s, "`not`")
	}
	x := c.expr(n.X, s)
	switch {
	case x == nil:
		return nil
	case x.Type() == event.Bool:
		return c.real(n.X, x)
	}
	c.errorf(n.Pos, "`not` takes a condition (bool), but %s is %s: `not` binds tighter than `%s`, so write `not (%s)`",
		tick(textOf(n.X)), x.Type(), b.Op, shorten(withoutNot(b, n)))
	return nil
}

// withoutNot returns b's text as if the `not` at its beginning were not there.
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

func (c *checker) binary(n *Binary, s *scope) Expr {
	if n.Op >= OpEqual {
		c.noteNegation(n)
	}
	if n.Op == OpOr || n.Op == OpAnd {
		return c.logical(n, s)
	}
	l, r := c.expr(n.L, s), c.expr(n.R, s)
	if l == nil || r == nil {
		return nil
	}
	if n.Op >= OpAdd {
		return c.arith(n, l, r)
	}
	return c.compare(n, l, r)
}

// noteNegation remembers which operator a `not` at its beginning was perhaps
// meant to negate: the outermost one, which is seen first.
func (c *checker) noteNegation(n *Binary) {
	for l := n.L; ; {
		switch x := l.(type) {
		case *Negation:
			if c.negations[x] == nil {
				c.negations[x] = n
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

func (c *checker) logical(n *Binary, s *scope) Expr {
	what := tick(n.Op.String())
	l, r := c.condition(n.L, s, what), c.condition(n.R, s, what)
	switch {
	case l == nil || r == nil:
		return nil
	case n.Op == OpAnd:
		return &And{L: l, R: r}
	default:
		return &Or{L: l, R: r}
	}
}

func (c *checker) arith(n *Binary, l, r Expr) Expr {
	for _, side := range []struct {
		n Node
		e Expr
	}{{n.L, l}, {n.R, r}} {
		if side.e.Type().Numeric() {
			continue
		}
		hint := ""
		switch {
		case side.e.Type() == event.String && n.Op == OpAdd:
			hint = "; strings cannot be joined here"
		case side.e.Type() == event.Object:
			hint = "; to read an object as a number, write `cast(…, 'double')`"
		}
		c.errorf(n.Pos, "`%s` takes numbers, but %s is %s%s", n.Op, tick(textOf(side.n)), side.e.Type(), hint)
		return nil
	}
	if c.real(n.L, l) == nil || c.real(n.R, r) == nil {
		return nil
	}
	symbol := ArithOp(n.Op.String()[0])
	return &Arith{Op: symbol, L: l, R: r, T: promote(l.Type(), r.Type())}
}

func (c *checker) compare(n *Binary, l, r Expr) Expr {
	lt, rt := l.Type(), r.Type()
	ordered := n.Op >= OpLess
	switch {
	case lt == event.Object || rt == event.Object:
		side := n.L
		if lt != event.Object {
			side = n.R
		}
		c.errorf(n.Pos, "`%s` cannot compare %s, an object: to read it as a value, write `cast(…, 'string')` or the like", n.Op, tick(textOf(side)))
		return nil
	case lt != rt && (!lt.Numeric() || !rt.Numeric()):
		c.errorf(n.Pos, "`%s` cannot compare %s, which is %s, with %s, which is %s: expected two numbers, two strings or two bools",
			n.Op, tick(textOf(n.L)), lt, tick(textOf(n.R)), rt)
		return nil
	case ordered && !lt.Numeric():
		c.errorf(n.Pos, "`%s` takes numbers, but %s is %s: only `==` and `!=` compare those", n.Op, tick(textOf(n.L)), lt)
		return nil
	}
	if c.real(n.L, l) == nil || c.real(n.R, r) == nil {
		return nil
	}
	return &Compare{Op: CompareOp(n.Op - OpEqual), L: l, R: r}
}

// ref resolves an attribute.
func (c *checker) ref(r *Ref, s *scope) Expr {
	if r.Stream != "" && (r.Stream != s.stream.Name || r.Inner != s.stream.Inner || s.input != nil) {
		c.foreign(r, s)
		return nil
	}
	i := s.schema.Index(r.Name)
	if i < 0 {
		c.unknownAttr(r, s)
		return nil
	}
	if s.schema.Attrs[i].Type == 0 {
		return nil // its expression was reported
	}
	return &Attr{Index: i, Attr: s.schema.Attrs[i]}
}

// foreign says why an attribute of another stream cannot be seen.
func (c *checker) foreign(r *Ref, s *scope) {
	stream := StreamRef{Inner: r.Inner, Name: r.Stream}
	if s.input != nil {
		c.errorf(r.Pos, "found %s in `%s`, which sees only what select names: expected one of %s", tick(textOf(r)), s.clause, listOf(attrNames(s.schema), "or"))
		return
	}
	c.errorf(r.Pos, "found %s, but %s reads only the stream %s", tick(stream.String()+"."+r.Name), clauseText(s.clause), tick(s.stream.String()))
}

// clauseText writes the name of a clause: keywords stand in back-quotes.
func clauseText(clause string) string {
	switch clause {
	case "select", "having", "group by", "order by":
		return tick(clause)
	}
	return clause
}

func (c *checker) unknownAttr(r *Ref, s *scope) {
	switch {
	case s.input != nil && s.input.schema.Index(r.Name) >= 0:
		c.errorf(r.Pos, "attribute %s is of the input: `%s` sees only what select names, so name it there, too", tick(r.Name), s.clause)
	case s.input != nil:
		c.errorf(r.Pos, "%s is not named by select, which is all that `%s` sees%s", tick(r.Name), s.clause, didYouMean(r.Name, attrNames(s.schema)))
	case slices.Contains(s.outputs, r.Name):
		c.errorf(r.Pos, "%s is named by select: %s sees only the attributes of stream %s", tick(r.Name), clauseText(s.clause), tick(s.stream.String()))
	default:
		c.errorf(r.Pos, "unknown attribute %s of stream %s%s", tick(r.Name), tick(s.stream.String()), didYouMean(r.Name, attrNames(s.schema)))
	}
}

func attrNames(s *event.Schema) []string {
	names := make([]string, len(s.Attrs))
	for i, a := range s.Attrs {
		names[i] = a.Name
	}
	return names
}

// call checks a call of a scalar function or an aggregator.
func (c *checker) call(n *Func, s *scope) Expr {
	if f, ok := c.functions[n.Name]; ok {
		return c.scalar(n, f, s)
	}
	if spec, ok := aggregate.Lookup(n.Name); ok {
		return c.aggregator(n, spec, s)
	}
	if why, ok := refusedFunctions[n.Name]; ok {
		c.errorf(n.Pos, "%s is outside the language here: %s", tick(n.Name), why)
		return nil
	}
	if _, ok := window.Lookup(n.Name); ok {
		c.errorf(n.Pos, "%s is a window, not a function: expected it behind the stream, as in `from %s#window.%s(…)`", tick(n.Name), s.stream, n.Name)
		return nil
	}
	c.errorf(n.Pos, "unknown function %s%s", tick(n.Name), didYouMean(n.Name, c.functionNames()))
	return nil
}

func (c *checker) functionNames() []string {
	names := aggregate.Names()
	for _, f := range functions() {
		names = append(names, f.Name)
	}
	slices.Sort(names)
	return names
}

// args checks arguments; false if one of them is at fault.
func (c *checker) args(list []Node, s *scope) ([]Expr, bool) {
	var args []Expr
	good := true
	for _, n := range list {
		e := c.expr(n, s)
		good = good && e != nil
		args = append(args, e)
	}
	return args, good
}

func (c *checker) scalar(n *Func, f Function, s *scope) Expr {
	if n.Star {
		c.errorf(n.Pos, "`*` stands only in count(*): expected %s", tick(f.Usage))
		return nil
	}
	nodes, target := n.Args, event.Type(0)
	if f.typed {
		if len(nodes) != 2 {
			c.errorf(n.Pos, "function %s: found %s, expected 2; expected %s", tick(textOf(n)), count(len(nodes), "argument"), tick(f.Usage))
			return nil
		}
		if target = c.typeName(nodes[1], f); target == 0 {
			return nil
		}
		nodes = nodes[:1]
	}
	args, good := c.args(nodes, s)
	if !good {
		return nil
	}
	t, held, err := f.result(args, target)
	if err != nil {
		c.errorf(n.Pos, "function %s: %v; expected %s", tick(textOf(n)), err, tick(f.Usage))
		return nil
	}
	if held == t {
		held = 0
	}
	return &Call{Func: f.Name, Args: args, T: t, Held: held}
}

// typeName reads the type that convert and cast are given as a string; 0 after an error.
func (c *checker) typeName(n Node, f Function) event.Type {
	l, ok := n.(*Literal)
	if !ok || l.Type != event.String {
		c.errorf(start(n), "found %s, but a constant is needed: the type's name in quotes, as in %s", tick(textOf(n)), tick(f.Usage))
		return 0
	}
	t, ok := event.ParseType(l.Text)
	if !ok {
		c.errorf(l.Pos, "unknown type '%s'%s", shorten(l.Text), didYouMeanType(l.Text))
	}
	return t
}

func (c *checker) aggregator(n *Func, spec aggregate.Spec, s *scope) Expr {
	if s.query == nil {
		c.misplacedAggregator(n, s)
		return nil
	}
	key := textOf(n)
	if i, ok := s.shared[key]; ok {
		return &AggResult{Index: i, T: s.query.Aggs[i].Type}
	}
	args, good := c.aggregatorArgs(n, s.in("an aggregator's argument"))
	if !good {
		return nil
	}
	types := make([]event.Type, len(args))
	for i, a := range args {
		types[i] = a.Type()
	}
	t, err := spec.Result(types)
	if err != nil {
		c.errorf(n.Pos, "aggregator %s: %v; expected %s", tick(key), err, tick(spec.Usage))
		return nil
	}
	i := len(s.query.Aggs)
	s.query.Aggs = append(s.query.Aggs, Agg{Name: n.Name, Args: args, Type: t})
	s.shared[key] = i
	return &AggResult{Index: i, T: t}
}

// aggregatorArgs checks arguments, where * stands for all attributes.
func (c *checker) aggregatorArgs(n *Func, s *scope) ([]Expr, bool) {
	switch {
	case n.Star && n.Name != "count":
		c.errorf(n.Pos, "`*` stands only in count(*): expected an attribute in %s", tick(n.Name))
		return nil, false
	case n.Star && len(s.schema.Attrs) != 1:
		c.errorf(n.Pos, "`count(*)` stands for all %d attributes of stream %s, but count takes one at most: write `count()`", len(s.schema.Attrs), tick(s.stream.String()))
		return nil, false
	case n.Star:
		return []Expr{&Attr{Index: 0, Attr: s.schema.Attrs[0]}}, true
	}
	args, good := c.args(n.Args, s)
	for i, a := range args {
		good = good && c.real(n.Args[i], a) != nil
	}
	return args, good
}

func (c *checker) misplacedAggregator(n *Func, s *scope) {
	what := tick(textOf(n))
	switch s.clause {
	case "having":
		c.errorf(n.Pos, "aggregator %s in `having`: name it in select, as in `%s as x`, and write `x` here", what, shorten(textOf(n)))
	case "an aggregator's argument":
		c.errorf(n.Pos, "aggregator %s inside another one: let a query before this one have it", what)
	case "a filter":
		c.errorf(n.Pos, "aggregator %s in a filter, which sees single events: name it in select and use `having`", what)
	default:
		c.errorf(n.Pos, "aggregator %s in %s: expected it in select", what, s.clause)
	}
}
