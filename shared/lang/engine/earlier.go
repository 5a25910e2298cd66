package engine

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// Earlier has the results of a deploy frame that belong to the version before it: time
// passes up to the change, and then the next version is in force. They come before the
// frame's other results.
type Earlier struct {
	// Plan is the plan of that version, and Version is its number.
	Plan    *siddhiql.Plan
	Version uint64

	outputs []Output
	rows    []*event.Batch
	kinds   [][]window.Kind
	causes  []Cause
}

// Outputs returns the chunks, in order.
func (r *Earlier) Outputs() []Output { return r.outputs }

// Causes returns what the outputs follow from, as Engine.Causes does.
func (r *Earlier) Causes() []Cause { return r.causes }

// Rows returns the rows that a query emitted, and their kinds.
func (r *Earlier) Rows(query int) (*event.Batch, []window.Kind) { return r.rows[query], r.kinds[query] }

// Earlier returns the results of the version before the one in force, since ResetOutputs;
// nil if there are none. Only an upgrade frame can have some.
func (e *Engine) Earlier() *Earlier { return e.earlier }

// setAside keeps the outputs so far as those of an earlier version.
func (e *Engine) setAside(version uint64) {
	if len(e.outputs) == 0 {
		return
	}
	r := &Earlier{Plan: e.plan, Version: version, outputs: e.outputs}
	for i, q := range e.queries {
		rows, kinds := e.Rows(i)
		r.rows, r.kinds = append(r.rows, rows), append(r.kinds, kinds)
		q.out, q.kinds = event.NewBatch(q.plan.Output), nil
		if q.table != nil && q.table.changed != nil {
			q.table.changed = newTableChanges(q.plan.Write.Table)
		}
	}
	e.outputs, e.earlier = nil, r
	if e.trace != nil {
		r.causes, e.trace.causes = e.trace.causes, nil
	}
}
