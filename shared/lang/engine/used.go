package engine

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// usedBehindWindow lists, in order, the attributes of a query's input that its window or a
// later step reads. An attribute that the window need not keep costs no memory, no time and
// no bytes in a checkpoint.
func usedBehindWindow(plan *siddhiql.Query) []int {
	var used []int
	add := func(attr int) { used = append(used, attr) }
	if plan.Window != nil {
		eachWindowAttr(plan.Window, add)
	}
	for _, e := range plan.After {
		siddhiql.EachAttr(e, add)
	}
	for _, a := range plan.Aggs {
		for _, e := range a.Args {
			siddhiql.EachAttr(e, add)
		}
	}
	for _, e := range plan.Select {
		siddhiql.EachAttr(e, add)
	}
	for _, attr := range plan.GroupBy {
		add(attr)
	}
	slices.Sort(used)
	return slices.Compact(used)
}

// eachWindowAttr calls visit for every attribute that a window reads.
func eachWindowAttr(w *siddhiql.Window, visit func(attr int)) {
	for _, p := range w.Params {
		if p.Attr >= 0 {
			visit(p.Attr)
		}
	}
	if c := w.Condition; c != nil {
		siddhiql.EachAttr(c.Expr, visit)
		for _, a := range c.Aggs {
			for _, e := range a.Args {
				siddhiql.EachAttr(e, visit)
			}
		}
	}
}
