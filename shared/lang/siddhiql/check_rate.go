package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/ratelimit"
)

// Rate says when the rows of a query come out.
type Rate struct {
	Which  ratelimit.Which
	Events int64 // after so many rows; 0: after a time
	Period int64 // ms
	// Of a snapshot: the values of select that hold an aggregate, and those that an expired
	// row shares with its current one.
	Totals, Names []int
}

// rate checks an output rate.
func (qc *queryChecker) rate(d *QueryDef, q *Query) {
	r := d.Rate
	if r == nil {
		return
	}
	q.Rate = &Rate{Which: r.Which}
	switch {
	case r.Which == ratelimit.Snapshot && r.Events:
		qc.errorf(r.Every.Pos, "a snapshot comes after a time: expected one such as `output snapshot every 10 sec`")
	case r.Events && r.Every.Type != event.Int:
		qc.errorf(r.Every.Pos, "found the %s %s, expected a whole number of events", r.Every.Type, tick(literalText(r.Every)))
	case r.Every.Int <= 0 && r.Events:
		qc.errorf(r.Every.Pos, "found %d events, expected at least 1", r.Every.Int)
	case r.Every.Int <= 0:
		qc.errorf(r.Every.Pos, "found the time %s, expected one above 0", tick(literalText(r.Every)))
	case r.Events:
		q.Rate.Events = r.Every.Int
	default:
		q.Rate.Period = r.Every.Int
	}
	if r.Which == ratelimit.Snapshot {
		if q.Bounds() {
			qc.errorf(d.Pos, "%s in a query with `output snapshot`, whose rows come out after their batch: expected another output rate, or none", boundsCalls)
		}
		q.Current, q.Expired = true, true // a row leaves the picture when it expires
		q.Rate.columns(q.Select)
	}
}

// columns sorts the values of select.
func (r *Rate) columns(values []Expr) {
	for i, e := range values {
		switch {
		case e == nil:
		case aggregates(e):
			r.Totals = append(r.Totals, i)
		case !readsClock(e):
			r.Names = append(r.Names, i)
		}
	}
}

// aggregates reports whether an expression holds an aggregate.
func aggregates(e Expr) bool {
	switch e := e.(type) {
	case *AggResult:
		return true
	case *Arith:
		return aggregates(e.L) || aggregates(e.R)
	case *Compare:
		return aggregates(e.L) || aggregates(e.R)
	case *And:
		return aggregates(e.L) || aggregates(e.R)
	case *Or:
		return aggregates(e.L) || aggregates(e.R)
	case *Not:
		return aggregates(e.X)
	case *IsNull:
		return aggregates(e.X)
	case *Call:
		return slices.ContainsFunc(e.Args, aggregates)
	}
	return false
}
