package model

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/ratelimit"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// selector is section 4: select, group by, having, order by, limit and offset.
type selector struct {
	m      *Model
	q      *siddhiql.Query
	groups map[string][]aggregator // by group key; one aggregator per q.Aggs
	rows   map[string]int          // of a join, by group key: current rows minus expired rows
}

func newSelector(m *Model, q *siddhiql.Query) *selector {
	return &selector{m: m, q: q, groups: map[string][]aggregator{}, rows: map[string]int{}}
}

// candidate is a row with its group, its input, and whether it is dropped.
type candidate struct {
	group   string
	row     item
	input   []any // values of the query's input row
	number  int   // index among the rows of the chunk
	dropped bool  // of a snapshot: the row is not emitted
	there   bool
}

func itemsOf(list []candidate) (rows []item) {
	for _, c := range list {
		rows = append(rows, c.row)
	}
	return rows
}

// process passes a chunk through the selector and returns the resulting rows.
func (s *selector) process(chunk []item, now int64) []candidate {
	var passed, all []candidate
	for _, i := range chunk {
		if i.kind == reset {
			s.groups = map[string][]aggregator{} // 4.1: all groups
			s.rows = map[string]int{}
			continue
		}
		group := s.groupKey(i)
		s.count(group, i.kind)
		row := i.as(i.kind, i.ts)
		row.values = s.selectValues(i, group, now)
		c := candidate{group: group, row: row, input: i.values}
		if c.dropped = !s.allowed(i.kind) || !s.having(row, i.values, now); !c.dropped {
			c.number = len(all)
			passed = append(passed, c)
		}
		all = append(all, c)
	}
	if s.q.Rate != nil && s.q.Rate.Which == ratelimit.Snapshot {
		// A snapshot skips compaction, and also needs the rows that limit drops.
		s.order(passed)
		for i := range all {
			all[i].dropped = true
		}
		for _, c := range s.limit(passed) {
			all[c.number].dropped = false
		}
		return all
	}
	rows := s.compact(passed)
	if !s.single() {
		s.order(rows)
	}
	return s.limit(rows)
}

// count resets a group without rows, of a query that may have removed values that it had not
// added: a join, or the reader of a named window.
func (s *selector) count(group string, k kind) {
	if s.q.Join == nil && (s.q.Source == nil || s.q.Source.Window == nil) || len(s.q.GroupBy) == 0 {
		return
	}
	if s.rows[group] == 0 {
		delete(s.groups, group)
	}
	if k == current {
		s.rows[group]++
	} else {
		s.rows[group]--
	}
}

// groupKey is 4.4 do: a typed composite key; null is its own group.
func (s *selector) groupKey(i item) string {
	var b strings.Builder
	for _, attr := range s.q.GroupBy {
		t := fmt.Sprintf("%T %v", i.values[attr], i.values[attr])
		fmt.Fprintf(&b, "%d:%s;", len(t), t)
	}
	return b.String()
}

// selectValues is 4.1: every aggregator adds on a current row and removes on an expired one,
// whether or not that kind is emitted, and in every branch of an expression (3.5 do:).
func (s *selector) selectValues(i item, group string, now int64) []any {
	if s.groups[group] == nil {
		for _, a := range s.q.Aggs {
			s.groups[group] = append(s.groups[group], newAggregator(a))
		}
	}
	x := scope{values: i.values, ts: i.ts, now: now, m: s.m}
	var results []any
	for n, a := range s.q.Aggs {
		var argument any
		if len(a.Args) > 0 {
			argument = x.eval(a.Args[0])
		}
		agg := s.groups[group][n]
		if i.kind == current {
			agg.add(argument)
		} else {
			agg.remove(argument)
		}
		results = append(results, agg.result())
	}
	if s.q.StarOnly {
		return i.values
	}
	x.aggregates = results
	out := make([]any, len(s.q.Select))
	for n, e := range s.q.Select {
		out[n] = x.eval(e)
	}
	return out
}

func (s *selector) allowed(k kind) bool {
	return k == current && s.q.Current || k == expired && s.q.Expired
}

// having is 4.5: it reads the output attributes of one row. Of a pattern, it also reads the match
// (P9.1).
func (s *selector) having(row item, match []any, now int64) bool {
	if s.q.Having == nil {
		return true
	}
	values := row.values
	if s.q.Pattern != nil {
		values = slices.Concat(values, match)
	}
	x := scope{values: values, ts: row.ts, now: now, m: s.m}
	return x.holds(s.q.Having)
}

// single reports shape (b) of 4.2: aggregators without group by.
func (s *selector) single() bool { return len(s.q.Aggs) > 0 && len(s.q.GroupBy) == 0 }

// compact is 4.2.
func (s *selector) compact(passed []candidate) []candidate {
	var rows []candidate
	if s.single() { // (b): the last row, whatever its kind
		if len(passed) > 0 {
			rows = append(rows, passed[len(passed)-1])
		}
		return rows
	}
	place := map[string]int{}
	for _, c := range passed {
		at, seen := place[c.group]
		if seen && len(s.q.GroupBy) > 0 { // (c): the value is replaced, the position stays
			rows[at] = c
			continue
		}
		place[c.group] = len(rows)
		rows = append(rows, c) // (a): every row
	}
	return rows
}

// order is 4.6: runs of equal kind are sorted separately.
func (s *selector) order(rows []candidate) {
	if len(s.q.OrderBy) == 0 {
		return
	}
	for from := 0; from < len(rows); {
		to := from
		for to < len(rows) && rows[to].row.kind == rows[from].row.kind {
			to++
		}
		slices.SortStableFunc(rows[from:to], s.compareRows)
		from = to
	}
}

func (s *selector) compareRows(a, b candidate) int {
	for _, o := range s.q.OrderBy {
		if c := compareNullsLast(a.row.values[o.Attr], b.row.values[o.Attr], o.Desc); c != 0 {
			return c
		}
	}
	return 0
}

// limit is 4.7 with correction 7: offset first, rows of either kind.
func (s *selector) limit(rows []candidate) []candidate {
	rows = rows[min(int64(len(rows)), max(s.q.Offset, 0)):]
	if s.q.Limit >= 0 {
		rows = rows[:min(int64(len(rows)), s.q.Limit)]
	}
	return rows
}
