package engine

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// adaptsWindow decides whether a window can take over the rows of another.
func adaptsWindow(old, next *query) (Outcome, string) {
	o, n := old.plan, next.plan
	switch {
	case o.Window.Name != n.Window.Name:
		return OutcomeRefused, fmt.Sprintf("a window %s cannot take over the rows of a window %s", n.Window.Name, o.Window.Name)
	case o.Source.Name != n.Source.Name:
		return OutcomeRefused, fmt.Sprintf("its rows are of stream %s and were of %s", n.Source.Name, o.Source.Name)
	case next.spec.Adapt == nil:
		return OutcomeRefused, fmt.Sprintf("a window %s cannot change", n.Window.Name)
	case !slices.EqualFunc(o.Window.Params, n.Window.Params, func(a, b window.Param) bool {
		return a.Constant() && b.Constant() || !a.Constant() && !b.Constant() && paramText(a, o.In) == paramText(b, n.In)
	}):
		return OutcomeRefused, "its parameters name other attributes"
	}
	if n.Bounds() && !slices.Equal(constants(o.Window), constants(n.Window)) {
		return OutcomeRefused, fmt.Sprintf("the batch that waits has other times than %s and %s would say", siddhiql.WindowStart+"()", siddhiql.WindowEnd+"()")
	}
	if err := next.spec.Adapt(o.Window.Params, n.Window.Params); err != nil {
		return OutcomeRefused, err.Error()
	}
	var changes, lacks []string
	if !slices.Equal(constants(o.Window), constants(n.Window)) {
		changes = append(changes, "its rows are taken over")
	}
	for _, a := range next.used {
		attr := n.In.Attrs[a]
		i := o.In.Index(attr.Name)
		switch {
		case i < 0 || !slices.Contains(old.used, i):
			lacks = append(lacks, attr.Name)
		case o.In.Attrs[i].Holds() == attr.Holds():
		case !widens(o.In.Attrs[i].Holds(), attr.Holds()):
			return OutcomeRefused, fmt.Sprintf("its rows hold attribute %s as %s, which cannot become %s", attr.Name, o.In.Attrs[i].Holds(), attr.Holds())
		default:
			changes = append(changes, fmt.Sprintf("%s becomes %s", attr.Name, attr.Holds()))
		}
	}
	if len(lacks) > 0 {
		changes = append(changes, fmt.Sprintf("%s is null in the rows so far", strings.Join(lacks, ", ")))
	}
	if o.Expired != n.Expired {
		changes = append(changes, "it gives out other kinds of events")
	}
	switch {
	case len(changes) > 0:
	case len(next.used) == len(old.used):
		changes = append(changes, "its attributes are in another order")
	default:
		changes = append(changes, "its rows keep fewer attributes")
	}
	return OutcomeAdapted, strings.Join(changes, "; ")
}

func constants(w *siddhiql.Window) (list []window.Param) {
	for _, p := range w.Params {
		if p.Constant() {
			list = append(list, p)
		}
	}
	return list
}

// widens reports whether every value of a type fits another.
func widens(from, to event.Type) bool {
	switch from {
	case event.Int:
		return to == event.Long || to == event.Double
	case event.Long, event.Float:
		return to == event.Double
	}
	return false
}

// adaptsAggregate decides whether the aggregators of a query can be kept.
func adaptsAggregate(old, next *query) (Outcome, string) {
	o, n := old.plan, next.plan
	switch {
	case groupText(o) != groupText(n):
		return OutcomeRefused, "its rows are grouped by other attributes"
	case groupClasses(o) != groupClasses(n):
		return OutcomeRefused, "an attribute of its group by has another type"
	case (o.Window == nil) != (n.Window == nil):
		return OutcomeRefused, "its aggregators hold the rows of a window that is new or gone"
	case len(o.Aggs) == 0 && old.countable():
		return OutcomeAdapted, "it is computed from the rows in the window"
	}
	counts := old.countable()
	if filterText(o) != filterText(n) {
		if !counts {
			return OutcomeRefused, "the filter after the window changed, and the window cannot list the rows that passed it"
		}
		return OutcomeAdapted, "it is computed again from the rows in the window"
	}
	added := false
	of := aggsOf(o, n)
	for _, i := range of {
		added = added || i < 0
	}
	switch {
	case !added && len(of) == len(o.Aggs):
		return OutcomeAdapted, "its aggregators go on in another order"
	case !added:
		return OutcomeAdapted, "the aggregators that are left go on"
	case o.Window == nil:
		return OutcomeAdapted, "a new aggregator starts from here"
	case !counts:
		return OutcomeRefused, "a new aggregator cannot catch up, because the window cannot list its rows"
	}
	return OutcomeAdapted, "a new aggregator is computed from the rows in the window"
}

// countable reports whether the query's aggregators can be computed from its window.
func (q *query) countable() bool {
	if q.plan.Window == nil {
		return false
	}
	h, ok := q.newWindow().(window.Holding)
	return ok && h.Holds()
}

// aggsOf returns, for each aggregator of the next version, the old one that it continues; -1 if
// it is new.
func aggsOf(old, next *siddhiql.Query) []int {
	of := make([]int, len(next.Aggs))
	used := make([]bool, len(old.Aggs))
	for i := range next.Aggs {
		of[i] = -1
		for j := range old.Aggs {
			if !used[j] && aggText(old, j) == aggText(next, i) {
				of[i], used[j] = j, true
				break
			}
		}
	}
	return of
}

// converter turns rows of one version of a stream into rows of the next.
type converter struct {
	from []int // by attribute of the new schema: the old one; -1: null
	used []int // attributes of the new schema that are wanted
	row  *event.Batch
}

// newConverter returns a converter of rows with the attributes has to rows with the
// attributes wants.
func newConverter(old, next *event.Schema, has, wants []int) *converter {
	c := &converter{from: make([]int, len(next.Attrs)), used: wants, row: event.NewBatch(next)}
	for i, a := range next.Attrs {
		if c.from[i] = old.Index(a.Name); c.from[i] >= 0 && !slices.Contains(has, c.from[i]) {
			c.from[i] = -1
		}
	}
	return c
}

// convert returns the row in the new shape; it is valid until the next call.
func (c *converter) convert(r window.Row) window.Row {
	c.row.Reset()
	for _, a := range c.used {
		dst := &c.row.Cols[a]
		if c.from[a] < 0 || !appendAs(dst, &r.B.Cols[c.from[a]], int(r.I)) {
			dst.AppendNull()
		}
	}
	c.row.TS = append(c.row.TS, r.TS)
	return window.Row{B: c.row, TS: r.TS, Kind: r.Kind}
}

// appendAs appends row i of src to a column of perhaps another type. It returns false, and
// appends nothing, if the value does not fit.
func appendAs(dst, src *event.Column, i int) bool {
	from, to := src.Type, dst.Type
	switch {
	case src.IsNull(i):
		dst.AppendNull()
	case from == to:
		dst.AppendFrom(src, i)
	case !from.Numeric() || !to.Numeric():
		return false
	case from.Class() == event.Integers && to.Class() == event.Integers:
		v := src.Ints[i]
		if to == event.Int && v != int64(int32(v)) {
			return false
		}
		dst.AppendInt(v)
	case to.Class() == event.Reals:
		v := 0.0
		if from.Class() == event.Reals {
			v = src.Floats[i]
		} else {
			v = float64(src.Ints[i])
		}
		if to == event.Float && v == v && float64(float32(v)) != v {
			return false
		}
		dst.AppendFloat(v)
	default:
		v := src.Floats[i]
		if v != math.Trunc(v) || v < -1<<63 || v >= 1<<63 || to == event.Int && (v < math.MinInt32 || v > math.MaxInt32) {
			return false
		}
		dst.AppendInt(int64(v))
	}
	return true
}

// newWindow returns an empty window of the query.
func (q *query) newWindow() window.Window {
	return q.spec.New(q.windowConfig())
}

// newAggregate returns an empty aggregator.
func (q *query) newAggregate(a *siddhiql.Agg) aggregate.Aggregate {
	spec, _ := aggregate.Lookup(a.Name)
	args := siddhiql.FunctionArgs(a.Args)
	for i, x := range a.Args {
		args[i].Type = read(x)
	}
	return spec.Make(aggregate.Config{Args: args, Leaves: q.plan.RowsLeave()})
}
