package engine

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/pattern"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
)

// ahead prefetches what one reader of a stream will need for events that are about to be sent.
type ahead interface {
	prefetch(stream *siddhiql.Stream, b *event.Batch, from, end int)
}

// Announce says that the events of b from the given one on are sent next, one after another. It
// reads the rows and matches that they need, and returns the first event that it has not
// announced. It changes no result.
func (e *Engine) Announce(stream *siddhiql.Stream, b *event.Batch, from int) (end int) {
	list := e.ahead[stream.ID]
	if len(list) == 0 {
		return b.Len()
	}
	end = min(from+pattern.Announced, b.Len())
	for _, a := range list {
		a.prefetch(stream, b, from, end)
	}
	return end
}

// lookAhead finds what can be prefetched for each stream: the rows of tables that queries outside
// partitions find by key, and the matches of their patterns.
func (e *Engine) lookAhead() {
	e.ahead = make([][]ahead, len(e.streams))
	for _, q := range e.queries {
		if q.plan.Block >= 0 {
			continue
		}
		for _, s := range q.plan.Reads() {
			if a := q.lookAhead(s); a != nil {
				e.ahead[s.ID] = append(e.ahead[s.ID], a)
			}
		}
	}
}

func (q *query) lookAhead(s *siddhiql.Stream) ahead {
	switch {
	case q.pattern != nil:
		return patternAhead{q.memories[0].more.input.(*patternInput)}
	case q.join != nil:
		return q.joinAhead(s)
	case q.plan.Write != nil && q.plan.Window == nil && q.plan.Functions == nil:
		return q.writeAhead()
	}
	return nil
}

// tableAhead prefetches rows of a table by their key.
type tableAhead struct {
	ahead *table.Ahead
	table *table.Table
}

func (a tableAhead) prefetch(_ *siddhiql.Stream, b *event.Batch, from, end int) {
	a.ahead.Prefetch(a.table, b, from, end)
}

// joinAhead returns nil unless the other side is a table whose primary key is in s.
func (q *query) joinAhead(s *siddhiql.Stream) ahead {
	for i := range q.join.sides {
		t := q.join.sides[i].plan.Stream.Table
		if t == nil || q.join.sides[1-i].plan.Stream != s || q.join.sides[1-i].plan.Window != nil {
			continue
		}
		values := map[int]siddhiql.Expr{}
		for _, k := range q.join.plan.Keys {
			if a, ok := k.Of[i].(*siddhiql.Attr); ok {
				values[a.Index] = k.Of[1-i]
			}
		}
		var used []int
		for _, c := range q.join.sides[i].columns {
			if c.from >= 0 {
				used = append(used, c.from)
			}
		}
		return q.e.tableAhead(t, values, used)
	}
	return nil
}

// writeAhead returns nil unless the primary key of the table is in the events that the query reads.
func (q *query) writeAhead() ahead {
	values := map[int]siddhiql.Expr{}
	var used []int
	for _, s := range q.table.set {
		used = append(used, s.Attr)
	}
	for _, a := range q.table.find.fromTable {
		used = append(used, a[0])
	}
	slices.Sort(used)
	used = slices.Compact(used)
	if w := q.plan.Write; w.On == nil {
		for i, x := range q.plan.Select {
			values[i] = x
		}
	} else {
		for _, k := range w.Keys {
			if a, ok := k.Value.(*siddhiql.Attr); ok && a.Index < len(q.plan.Select) {
				values[k.Attr] = q.plan.Select[a.Index]
			}
		}
	}
	return q.e.tableAhead(q.plan.Write.Table, values, used)
}

// tableAhead returns what prefetches rows of a table. values are those that attributes of the table
// must have: nil is returned unless all of the primary key are attributes of events. used are the
// attributes that are read or written.
func (e *Engine) tableAhead(t *siddhiql.Table, values map[int]siddhiql.Expr, used []int) ahead {
	var columns []int
	for _, attr := range t.Key {
		a, ok := values[attr].(*siddhiql.Attr)
		if !ok || a.Holds().Class() != t.Schema.Attrs[attr].Holds().Class() {
			return nil
		}
		columns = append(columns, a.Index)
	}
	if columns == nil {
		return nil
	}
	return tableAhead{table.NewAhead(columns, used), e.tables[t.ID]}
}

// patternAhead prefetches the matches that wait for an event.
type patternAhead struct{ in *patternInput }

func (a patternAhead) prefetch(stream *siddhiql.Stream, b *event.Batch, from, end int) {
	if !a.in.matcher.Prefetches() {
		return
	}
	a.in.rows = refer(a.in.rows[:0], b, from, end)
	a.in.announce(a.in.s.q.pattern.streams[stream.ID], a.in.rows)
}

// feed finds the item whose event has all that the equalities of item next read of a match.
func (x *patternQuery) feed(spec *pattern.Spec, p *siddhiql.Pattern, next int) {
	item, from := &p.Items[next], -1
	var key []keyPart
	for _, eq := range item.Equal {
		a, ok := eq.Held.(*siddhiql.Attr)
		if !ok {
			return
		}
		v := item.Held[a.Index-len(item.Stream.Schema.Attrs)]
		if v.Attr < 0 || v.N > 0 || from >= 0 && v.Item != from {
			return
		}
		from = v.Item
		real := class(eq.Own) == event.Reals || class(eq.Held) == event.Reals
		key = append(key, compileKey(&siddhiql.Attr{Index: v.Attr, Attr: a.Attr}, real))
	}
	if from >= 0 {
		spec.Items[from].Feeds = append(spec.Items[from].Feeds, next)
		x.items[from].fed = append(x.items[from].fed, key)
	}
}

// Fed implements pattern.Evaluator.
func (x *patternQuery) Fed(item, n int, e *pattern.Event, dst []byte) ([]byte, bool) {
	x.at(e)
	return x.key(x.items[item].fed[n], dst)
}
