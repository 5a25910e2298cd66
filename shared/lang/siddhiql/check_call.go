package siddhiql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// call checks a call of a scalar function or an aggregator.
func (ex *exprChecker) call(n *Func, s *scope) Expr {
	name := n.full()
	if f, ok := ex.functions[name]; ok {
		return ex.scalar(n, f, s)
	}
	if spec, ok := aggregate.Lookup(name); ok {
		return ex.aggregator(n, spec, s)
	}
	if why, ok := refusedFunctions[name]; ok {
		ex.errorf(n.Pos, "%s is outside the language here: %s", tick(name), why)
		return nil
	}
	if _, ok := window.Lookup(name); ok {
		ex.errorf(n.Pos, "%s is a window, not a function: expected it after the stream, as in `from %s#window.%s(…)`", tick(name), s.stream, name)
		return nil
	}
	ex.errorf(n.Pos, "unknown function %s%s", tick(name), ex.meantFunction(n))
	return nil
}

// meantFunction is the end of a message about an unknown function: the likely one, or those
// of the same namespace.
func (ex *exprChecker) meantFunction(n *Func) string {
	name, all := n.full(), ex.functionNames()
	if meant := suggest(name, all); meant != "" {
		return ": did you mean " + tick(meant) + "?"
	}
	var same, elsewhere []string
	for _, f := range all {
		space, plain, named := strings.Cut(f, ":")
		if !named {
			space, plain = "", f
		}
		if space == n.Namespace {
			same = append(same, f)
		}
		if strings.EqualFold(plain, n.Name) {
			elsewhere = append(elsewhere, f)
		}
	}
	switch {
	case len(elsewhere) > 0:
		return ": did you mean " + listOf(elsewhere, "or") + "?"
	case len(same) == 0:
		return "; there is no namespace " + tick(n.Namespace) + ": `eventflux app functions` lists the functions"
	}
	return didYouMean(name, same) + "; `eventflux app functions` lists the functions"
}

func (ex *exprChecker) functionNames() []string {
	names := aggregate.Names()
	for name := range ex.functions {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// args checks arguments; false if one of them is wrong.
func (ex *exprChecker) args(list []Node, s *scope) ([]Expr, bool) {
	var args []Expr
	good := true
	for _, n := range list {
		e := ex.expr(n, s)
		good = good && e != nil
		args = append(args, e)
	}
	return args, good
}

func (ex *exprChecker) scalar(n *Func, f Function, s *scope) Expr {
	if n.Star {
		ex.errorf(n.Pos, "`*` stands only in count(*); usage: %s", tick(f.Usage))
		return nil
	}
	if f.Name == WindowStart || f.Name == WindowEnd {
		if !ex.windowBounds(n, s) {
			return nil
		}
	}
	nodes, target := n.Args, event.Type(0)
	if f.typed {
		if len(nodes) != 2 {
			ex.errorf(n.Pos, "function %s: found %s, expected 2; usage: %s", tick(textOf(n)), count(len(nodes), "argument"), tick(f.Usage))
			return nil
		}
		if target = ex.typeName(nodes[1], f); target == 0 {
			return nil
		}
		nodes = nodes[:1]
	}
	args, good := ex.args(nodes, s)
	if !good {
		return nil
	}
	t, held, err := f.result(args, target)
	if err != nil {
		ex.errorf(n.Pos, "function %s: %v; usage: %s", tick(textOf(n)), err, tick(f.Usage))
		return nil
	}
	if held == t {
		held = 0
	}
	return &Call{Func: f.Name, Args: args, T: t, Held: held}
}

// typeName reads the type argument of convert and cast, a string; 0 after an error.
func (ex *exprChecker) typeName(n Node, f Function) event.Type {
	l, ok := n.(*Literal)
	if !ok || l.Type != event.String {
		ex.errorf(start(n), "found %s, but a constant is needed: the type's name in quotes, as in %s", tick(textOf(n)), tick(f.Usage))
		return 0
	}
	t, ok := event.ParseType(l.Text)
	if !ok {
		ex.errorf(l.Pos, "unknown type '%s'%s", shorten(l.Text), didYouMeanType(l.Text))
	}
	return t
}

func (ex *exprChecker) aggregator(n *Func, spec aggregate.Spec, s *scope) Expr {
	if s.query == nil {
		ex.misplacedAggregator(n, s)
		return nil
	}
	key := textOf(n)
	if i, ok := s.shared[key]; ok {
		return &AggResult{Index: i, T: s.query.Aggs[i].Type}
	}
	args, good := ex.aggregatorArgs(n, s.in("an aggregator's argument"))
	if !good {
		return nil
	}
	types := make([]event.Type, len(args))
	for i, a := range args {
		types[i] = a.Type()
	}
	t, err := spec.Result(types)
	if err == nil && spec.Check != nil {
		err = spec.Check(FunctionArgs(args))
	}
	if err == nil && spec.Instead != "" && s.query.RowsLeave() {
		err = fmt.Errorf("it cannot take a row back, and rows leave this query: write `%s`, which is exact and can, or use no window, or %s without expired events", spec.Instead, listOf(resettingWindows(), "or"))
	}
	if err != nil {
		ex.errorf(n.Pos, "aggregator %s: %v; usage: %s", tick(key), err, tick(spec.Usage))
		return nil
	}
	i := len(s.query.Aggs)
	s.query.Aggs = append(s.query.Aggs, Agg{Name: n.full(), Args: args, Type: t})
	s.shared[key] = i
	return &AggResult{Index: i, T: t}
}

// aggregatorArgs checks arguments, where * stands for all attributes.
func (ex *exprChecker) aggregatorArgs(n *Func, s *scope) ([]Expr, bool) {
	switch {
	case n.Star && n.full() != "count":
		ex.errorf(n.Pos, "`*` stands only in count(*): expected an attribute in %s", tick(n.full()))
		return nil, false
	case n.Star && len(s.schema.Attrs) != 1:
		ex.errorf(n.Pos, "`count(*)` stands for all %d attributes of stream %s, but count takes one at most: write `count()`", len(s.schema.Attrs), tick(s.stream.String()))
		return nil, false
	case n.Star:
		return []Expr{&Attr{Index: 0, Attr: s.schema.Attrs[0]}}, true
	}
	args, good := ex.args(n.Args, s)
	for i, a := range args {
		good = good && ex.real(n.Args[i], a) != nil
	}
	return args, good
}

func (ex *exprChecker) misplacedAggregator(n *Func, s *scope) {
	what := tick(textOf(n))
	switch s.clause {
	case "having":
		ex.errorf(n.Pos, "aggregator %s in `having`: name it in select, as in `%s as x`, and write `x` here", what, shorten(textOf(n)))
	case "an aggregator's argument":
		ex.errorf(n.Pos, "aggregator %s inside another one: let a query before this one have it", what)
	case "a filter":
		ex.errorf(n.Pos, "aggregator %s in a filter, which sees single events: name it in select and use `having`", what)
	default:
		ex.errorf(n.Pos, "aggregator %s in %s: expected it in select", what, s.clause)
	}
}

// resettingWindows lists the windows that reset aggregators before each batch.
func resettingWindows() []string {
	return slices.DeleteFunc(window.Names(), func(name string) bool {
		spec, _ := window.Lookup(name)
		return !spec.Resets
	})
}
