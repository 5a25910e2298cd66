package engine

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// tableFinder finds the rows of a table for the rows of the other source.
type tableFinder struct {
	nothing
	s     *memory
	find  *finding
	table *table.Table
	sure  bool         // the rows that it finds have all keys of the join
	used  []int        // attributes of the table that joined rows have
	one   *event.Batch // scratch: the row that is found
}

// newTableFinder returns the finder of the table that is a side of the join.
func (j *joined) newTableFinder(t *siddhiql.Table, side int) *tableFinder {
	f := &tableFinder{s: j.s, table: j.s.q.e.tables[t.ID], one: event.NewBatch(t.Schema)}
	f.one.TS = append(f.one.TS, 0)
	for _, c := range j.sides[side].columns {
		if c.from >= 0 {
			f.used = append(f.used, c.from)
		}
	}
	slices.Sort(f.used)
	f.used = slices.Compact(f.used)
	var keys []siddhiql.TableKey
	sure := len(j.plan.Keys) == len(t.Key)
	for _, k := range j.plan.Keys {
		sure = sure && k.Class == k.Of[0].Holds().Class() && k.Class == k.Of[1].Holds().Class()
		if a, ok := k.Of[side].(*siddhiql.Attr); ok && a.Holds() == a.Type() {
			keys = append(keys, siddhiql.TableKey{Attr: a.Index, Value: k.Of[1-side]})
		}
	}
	f.find = newFinding(t, j.sides[1-side].plan.Stream.Schema, nil, keys)
	f.sure = sure && f.find.keys != nil && len(keys) == len(t.Key)
	return f
}

// look calls visit with the rows that may match a row of the other source, in order: those
// that have its key, if the table finds rows by that, or all.
func (f *tableFinder) look(r *window.Row, visit func(window.Row) bool) {
	x := &f.s.q.e.row
	x.at(r, f.s.q.e.env.Now)
	for _, slot := range f.find.candidates(x) {
		x.work.step(0)
		for _, a := range f.used {
			f.one.Cols[a].Truncate(0)
			f.table.AppendTo(&f.one.Cols[a], slot, a)
		}
		if !visit(window.Row{B: f.one, TS: r.TS}) {
			return
		}
	}
}
