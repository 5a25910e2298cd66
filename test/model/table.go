package model

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// table is B: the rows of a `define table`, in order of insertion.
type table struct {
	plan *siddhiql.Table
	rows [][]any
}

// found returns the rows in the order of B10: ascending by primary key, if there is one.
func (t *table) found() [][]any {
	rows := slices.Clone(t.rows)
	if len(t.plan.Key) > 0 {
		slices.SortFunc(rows, func(a, b []any) int {
			for _, k := range t.plan.Key {
				if c := compareValues(a[k], b[k]); c != 0 {
					return c
				}
			}
			return 0
		})
	}
	return rows
}

// taken reports whether one of the rows has the primary key of row, or row has a null in it
// (B4, B9).
func (t *table) taken(rows [][]any, row []any) bool {
	if len(t.plan.Key) == 0 {
		return false
	}
	if slices.ContainsFunc(t.plan.Key, func(k int) bool { return row[k] == nil }) {
		return true
	}
	return slices.ContainsFunc(rows, func(other []any) bool {
		return !slices.ContainsFunc(t.plan.Key, func(k int) bool { return compareValues(row[k], other[k]) != 0 })
	})
}

// meets reports whether a row of the table meets a condition over another row and it.
func (m *Model) meets(on siddhiql.Expr, other scope, row []any) bool {
	other.values, other.m = slices.Concat(other.values, row), m
	return other.holds(on)
}

// in is B8.
func (x *scope) in(e *siddhiql.InRows) bool {
	return slices.ContainsFunc(x.m.tables[e.Table.ID].found(), func(row []any) bool {
		return x.m.meets(e.On, scope{values: x.values[:e.Base], ts: x.ts, now: x.now}, row)
	})
}

// write applies the rows of a query to its table, each as the one before left it (B1, B5).
func (m *Model) write(q *siddhiql.Query, rows []item) {
	w, t := q.Write, m.tables[q.Write.Table.ID]
	for _, r := range rows {
		here := scope{values: r.values, ts: r.ts, now: m.clock, m: m}
		var chosen []int // of t.rows
		for i, row := range t.rows {
			if w.On != nil && m.meets(w.On, here, row) {
				chosen = append(chosen, i)
			}
		}
		switch {
		case w.Delete:
			for n := range chosen {
				i := chosen[len(chosen)-1-n]
				t.rows = slices.Delete(slices.Clone(t.rows), i, i+1)
			}
		case len(chosen) > 0:
			t.update(w, here, chosen)
		case w.Insert && !t.taken(t.rows, r.values):
			t.rows = append(t.rows, slices.Clone(r.values))
		}
	}
}

// update is B5 do: all values come from the rows as they were, and if a row would get the key of
// another, nothing changes.
func (t *table) update(w *siddhiql.Write, here scope, chosen []int) {
	var changed, rows [][]any
	for i, old := range t.rows {
		if !slices.Contains(chosen, i) {
			rows = append(rows, old)
			continue
		}
		here := here
		here.values = slices.Concat(here.values, old)
		row := slices.Clone(old)
		for _, s := range w.Set {
			v := here.eval(s.Value)
			if isNumber(v) {
				v = convert(v, t.plan.Schema.Attrs[s.Attr].Type)
			}
			row[s.Attr] = v
		}
		changed = append(changed, row)
	}
	for _, row := range changed {
		if t.taken(rows, row) {
			return
		}
		rows = append(rows, row)
	}
	t.rows = slices.Clone(t.rows)
	for n, i := range chosen {
		t.rows[i] = changed[n]
	}
}
