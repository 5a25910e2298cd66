package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// Functions that return when the batch of a row starts and ends.
const (
	WindowStart = "windowStart"
	WindowEnd   = "windowEnd"
)

const boundsCalls = "`" + WindowStart + "()` or `" + WindowEnd + "()`"

// windowBounds checks that a call of windowStart() or windowEnd() stands where a row has a
// batch.
func (ex *exprChecker) windowBounds(n *Func, s *scope) bool {
	call := tick(textOf(n))
	if s.query == nil {
		what := clauseText(s.clause)
		if s.clause == "having" {
			ex.errorf(n.Pos, "%s in %s, which sees only what select names: name it in select, as in `%s as x`, and write `x` here", call, what, textOf(n))
		} else {
			ex.errorf(n.Pos, "%s in %s: expected it in select", call, what)
		}
		return false
	}
	q := s.query
	switch {
	case q.Join != nil:
		ex.errorf(n.Pos, "%s in a join, whose rows are of two sources: let a query before this one select it", call)
	case q.Pattern != nil:
		ex.errorf(n.Pos, "%s in a pattern, which has no window: select `eventTimestamp(…)` of its steps", call)
	case q.Window == nil && q.Source.Window != nil:
		ex.errorf(n.Pos, "%s in a query that reads the named window %s: rows leave a named window without the times of their batches; expected a window of the query's own, such as `#window.timeBatch(1 min)`", call, tick(q.Source.Name))
	case q.Window == nil:
		ex.errorf(n.Pos, "%s in a query without a window: expected %s after the stream", call, listOf(boundedWindows(), "or"))
	case !bounded(q.Window.Name):
		ex.errorf(n.Pos, "%s in a query with the window %s, which has no batches with a fixed start and end: expected %s; `min(eventTimestamp())` and `max(eventTimestamp())` are the times of the events", call, tick(q.Window.Name), listOf(boundedWindows(), "or"))
	case q.Expired:
		ex.errorf(n.Pos, "%s in a query that inserts expired events, which were of an earlier batch: expected `insert into`", call)
	default:
		return true
	}
	return false
}

// Bounds reports whether select has windowStart() or windowEnd().
func (q *Query) Bounds() bool {
	return slices.ContainsFunc(q.Select, func(e Expr) bool { return calls(e, WindowStart, WindowEnd) })
}

func bounded(name string) bool {
	spec, _ := window.Lookup(name)
	return spec.Bounded
}

// boundedWindows lists the windows whose batches have a start and an end.
func boundedWindows() []string {
	return slices.DeleteFunc(window.Names(), func(name string) bool { return !bounded(name) })
}
