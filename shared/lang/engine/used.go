package engine

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// usedBehindWindow lists, in order, the attributes of a query's source that its window or a
// later step reads. An attribute that the window need not keep costs no memory, no time and
// no bytes in a checkpoint.
func usedBehindWindow(plan *siddhiql.Query) []int {
	var used []int
	add := func(attr int) { used = append(used, attr) }
	for _, p := range plan.Window.Params {
		if p.Attr >= 0 {
			add(p.Attr)
		}
	}
	if c := plan.Window.Condition; c != nil {
		eachAttr(c.Expr, add)
		for _, a := range c.Aggs {
			for _, e := range a.Args {
				eachAttr(e, add)
			}
		}
	}
	for _, e := range plan.After {
		eachAttr(e, add)
	}
	for _, a := range plan.Aggs {
		for _, e := range a.Args {
			eachAttr(e, add)
		}
	}
	for _, e := range plan.Select {
		eachAttr(e, add)
	}
	for _, attr := range plan.GroupBy {
		add(attr)
	}
	slices.Sort(used)
	return slices.Compact(used)
}

// eachAttr calls visit for every attribute that e reads.
func eachAttr(e siddhiql.Expr, visit func(attr int)) {
	switch e := e.(type) {
	case *siddhiql.Attr:
		visit(e.Index)
	case *siddhiql.Arith:
		eachAttr(e.L, visit)
		eachAttr(e.R, visit)
	case *siddhiql.Compare:
		eachAttr(e.L, visit)
		eachAttr(e.R, visit)
	case *siddhiql.And:
		eachAttr(e.L, visit)
		eachAttr(e.R, visit)
	case *siddhiql.Or:
		eachAttr(e.L, visit)
		eachAttr(e.R, visit)
	case *siddhiql.Not:
		eachAttr(e.X, visit)
	case *siddhiql.IsNull:
		eachAttr(e.X, visit)
	case *siddhiql.Call:
		for _, a := range e.Args {
			eachAttr(a, visit)
		}
	}
}
