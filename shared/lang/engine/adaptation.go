package engine

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// adaptation converts the memories of one query.
type adaptation struct {
	t                 *transition
	q                 *query
	before            *query
	window, aggregate Outcome

	nothing   bool // to do
	newWindow bool // memories get another window
	takesRows bool // that takes over the rows
	newAggs   bool // or other aggregators
	recount   bool // which are all computed from the window
	of        []int
	toNew     *converter
}

// plan decides what to do for each memory.
func (a *adaptation) plan() {
	o, n := a.before, a.q
	same := o.plan.In.Same(n.plan.In)
	if n.plan.Window != nil {
		a.takesRows = o.plan.Window != nil && a.window == OutcomeAdapted
		a.newWindow = a.window != OutcomeKept || !same || o.plan.Expired != n.plan.Expired
	} else {
		a.newWindow = o.plan.Window != nil
	}
	a.newAggs = a.aggregate != OutcomeKept && len(o.plan.Aggs)+len(n.plan.Aggs) > 0
	a.nothing = !a.newWindow && !a.newAggs && same && slices.Equal(o.plan.GroupBy, n.plan.GroupBy)
	if o.plan.Window != nil && n.plan.Window != nil {
		a.toNew = newConverter(o.plan.In, n.plan.In, o.used, n.used)
	}
	if a.aggregate == OutcomeAdapted {
		a.recount = filterText(o.plan) != filterText(n.plan) || len(o.plan.Aggs) == 0
		a.of = aggsOf(o.plan, n.plan)
	}
	if a.aggregate == OutcomeDropped && a.window != OutcomeDropped && o.plan.Window != nil {
		a.recount = true // what leaves the window must have been counted
	}
}

// memory converts one memory.
func (a *adaptation) memory(s *memory) {
	old := s.win
	s.touch()
	if a.newWindow {
		a.replaceWindow(s, old)
	}
	schema := a.q.plan.In
	if a.newAggs || a.groupsAnew() {
		a.replaceAggregates(s, old)
	} else if s.groups != nil {
		s.groups.attrs = a.q.plan.GroupBy
		if len(s.groups.attrs) == 1 {
			s.groups.single = schema.Attrs[s.groups.attrs[0]].Holds().Class()
		}
	}
}

// groupsAnew reports whether the groups are replaced: their keys changed, and groups without
// aggregators have no state.
func (a *adaptation) groupsAnew() bool {
	return len(a.q.plan.Aggs) == 0 && (groupText(a.before.plan) != groupText(a.q.plan) || groupClasses(a.before.plan) != groupClasses(a.q.plan))
}

func (a *adaptation) replaceWindow(s *memory, old window.Window) {
	s.win, s.emit = nil, nil
	s.untime()
	if a.q.plan.Window == nil {
		return
	}
	s.win, s.emit = a.q.newWindow(), s.emitter()
	switch {
	case a.takesRows:
		s.win.(window.Successor).TakeOver(old, a.toNew.convert)
		a.t.rowsTaken = append(a.t.rowsTaken, s)
	case a.window == OutcomeKept:
		if err := moveEntries(entriesOf(old), s.win); err != nil {
			panic(fmt.Sprintf("engine: a window refuses its own entries: %v", err))
		}
	}
	s.reschedule(windows)
}

// replaceAggregates creates the aggregators of the next version. Those that continue keep their
// state; the others are computed from the window, if it existed before.
func (a *adaptation) replaceAggregates(s *memory, old window.Window) {
	aggs, groups := s.aggs, s.groups
	s.aggs, s.segmented, s.gone = nil, nil, nil
	anew := a.recount || a.of == nil
	if s.groups = nil; len(a.q.plan.GroupBy) > 0 {
		s.groups = newGroups(a.q.plan.GroupBy, a.q.plan.In)
		if !anew && groups != nil {
			groups.attrs, groups.single = s.groups.attrs, s.groups.single
			s.groups = groups
		}
	}
	var counted []int // aggregators that start from nothing
	for i := range a.q.plan.Aggs {
		if anew || a.of[i] < 0 {
			counted = append(counted, i)
			s.keepAggregate(a.q.newAggregate(&a.q.plan.Aggs[i]))
		} else {
			s.keepAggregate(aggs[a.of[i]])
		}
	}
	if a.toNew == nil || len(counted) == 0 || a.of == nil && !a.recount {
		return
	}
	a.catchUp(s, old.(window.Holding), counted, anew)
}

// catchUp feeds aggregators the rows that were in the window before the change. enter is set if
// the groups start empty, too.
func (a *adaptation) catchUp(s *memory, old window.Holding, counted []int, enter bool) {
	q, e := a.q, a.t.e
	var args []aggregate.Value
	old.Held(func(r window.Row) {
		in := a.toNew.convert(r)
		e.row.at(&in, e.env.Now)
		for _, c := range q.after {
			if !c(&e.row) {
				return
			}
		}
		slot := 0
		if s.groups != nil {
			slot = s.groups.slot(in.B, int(in.I))
			if enter {
				s.groups.enter(slot)
			}
		}
		for _, i := range counted {
			args = args[:0]
			for _, x := range q.plan.Aggs[i].Args {
				var v aggregate.Value
				compileArg(x)(&e.row, &v)
				args = append(args, v)
			}
			s.aggs[i].Add(slot, args)
		}
	})
}
