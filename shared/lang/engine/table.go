package engine

import (
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// valueFn computes a value for an attribute of a table; false if nothing equals it.
type valueFn func(r *row, v *table.Value) bool

// compileProbe compiles a value that an attribute is compared with for equality.
func compileProbe(x siddhiql.Expr, attr event.Attr) valueFn {
	switch {
	case attr.Type.Class() == event.Texts:
		text := compileText(x)
		return func(r *row, v *table.Value) (ok bool) {
			v.Text, ok = text(r)
			return ok
		}
	case attr.Type.Class() == event.Reals:
		number := compileReal(x)
		return func(r *row, v *table.Value) (ok bool) {
			v.Real, ok = number(r)
			return ok && v.Real == v.Real
		}
	case x.Holds().Class() == event.Reals: // a whole number may equal it
		number := compileReal(x)
		return func(r *row, v *table.Value) bool {
			n, ok := number(r)
			if !ok || n != math.Trunc(n) || n < math.MinInt64 || n >= math.MaxInt64 {
				return false
			}
			v.Int = int64(n)
			return true
		}
	}
	whole := compileInt(x)
	return func(r *row, v *table.Value) (ok bool) {
		v.Int, ok = whole(r)
		return ok
	}
}

// compileStore compiles a value that is stored in an attribute.
func compileStore(x siddhiql.Expr, attr event.Attr) valueFn {
	switch attr.Type.Class() {
	case event.Texts:
		text := compileRaw(x)
		return func(r *row, v *table.Value) bool {
			s, ok := text(r)
			v.Text, v.Null = s, !ok
			return true
		}
	case event.Reals:
		number, single := compileReal(x), attr.Type == event.Float
		return func(r *row, v *table.Value) bool {
			n, ok := number(r)
			if single {
				n = float64(float32(n))
			}
			v.Real, v.Null = n, !ok
			return true
		}
	}
	whole := compileInt(x)
	return func(r *row, v *table.Value) bool {
		n, ok := whole(r)
		v.Int, v.Null = n, !ok
		return true
	}
}

// finding finds the rows of a table that meet a condition together with another row.
type finding struct {
	id    int // of the table
	on    cond
	keys  []valueFn // of the primary key; nil: it is not required
	index int       // an attribute that is indexed, and value what it must have; -1: none
	value valueFn

	both      row      // the other row and one of the table
	fromRow   []int    // attributes of the other row that on reads
	fromTable [][2]int // attributes of the table, and where they are in both
	values    []table.Value
	one       [1]int32 // the row with a primary key
	found     []int32
}

// newFinding compiles a condition. More expressions may read the same two rows.
func newFinding(t *siddhiql.Table, other *event.Schema, on siddhiql.Expr, keys []siddhiql.TableKey, more ...siddhiql.Expr) *finding {
	f := &finding{id: t.ID, index: -1}
	base := len(other.Attrs)
	both := &event.Schema{Name: t.Name, Attrs: slices.Concat(other.Attrs, t.Schema.Attrs)}
	f.both.b = event.NewBatch(both)
	f.both.b.TS = append(f.both.b.TS, 0)
	var used []int
	for _, x := range append(more, on) {
		if x != nil {
			siddhiql.EachAttr(x, func(a int) { used = append(used, a) })
		}
	}
	slices.Sort(used)
	for _, a := range slices.Compact(used) {
		if a < base {
			f.fromRow = append(f.fromRow, a)
		} else {
			f.fromTable = append(f.fromTable, [2]int{a - base, a})
		}
	}
	if on != nil {
		f.on = compileCond(on)
	}
	of := func(attr int) valueFn {
		i := slices.IndexFunc(keys, func(k siddhiql.TableKey) bool { return k.Attr == attr })
		if i < 0 {
			return nil
		}
		return compileProbe(keys[i].Value, t.Schema.Attrs[attr])
	}
	for _, attr := range t.Key {
		v := of(attr)
		if v == nil {
			f.keys = nil
			break
		}
		f.keys = append(f.keys, v)
	}
	for _, attr := range t.Indexes {
		if v := of(attr); v != nil && f.value == nil {
			f.index, f.value = attr, v
		}
	}
	f.values = make([]table.Value, max(len(f.keys), 1))
	return f
}

// join makes both of a row and one of the table.
func (f *finding) join(r *row, t *table.Table, slot int32) *row {
	b := f.both.b
	for _, a := range f.fromRow {
		b.Cols[a].Truncate(0)
		b.Cols[a].AppendFrom(&r.b.Cols[a], r.i)
	}
	for _, a := range f.fromTable {
		b.Cols[a[1]].Truncate(0)
		t.AppendTo(&b.Cols[a[1]], slot, a[0])
	}
	f.both.ts, f.both.now, f.both.tables, f.both.work = r.ts, r.now, r.tables, r.work
	f.both.text = f.both.text[:0]
	return &f.both
}

// candidates returns the rows that may meet the condition, in order: those with the key that it
// requires, or all. The slice is valid until the table changes, or the next call.
func (f *finding) candidates(r *row) []int32 {
	t := r.tables[f.id]
	switch {
	case f.keys != nil:
		for i, v := range f.keys {
			if f.values[i] = (table.Value{}); !v(r, &f.values[i]) {
				return nil
			}
		}
		slot, ok := t.ByKey(f.values)
		if !ok {
			return nil
		}
		f.one[0] = slot
		return f.one[:]
	case f.value != nil:
		if f.values[0] = (table.Value{}); !f.value(r, &f.values[0]) {
			return nil
		}
		return t.ByIndex(f.index, &f.values[0])
	}
	return t.Rows()
}

// meets reports whether a candidate meets the condition.
func (f *finding) meets(r *row, slot int32) bool {
	r.work.step(0)
	return f.on == nil || f.on(f.join(r, r.tables[f.id], slot))
}

// compileIn compiles `condition in T`.
func compileIn(e *siddhiql.InRows) cond {
	schema := &event.Schema{Attrs: make([]event.Attr, e.Base)}
	types(e.On, schema.Attrs)
	f := newFinding(e.Table, schema, e.On, e.Keys)
	return func(r *row) bool {
		for _, slot := range f.candidates(r) {
			if f.meets(r, slot) {
				return true
			}
		}
		return false
	}
}

// types determines the types of the attributes that an expression reads.
func types(e siddhiql.Expr, attrs []event.Attr) {
	for i := range attrs {
		attrs[i].Type = event.Int // of those that it does not read
	}
	siddhiql.EachRef(e, func(a *siddhiql.Attr) {
		if a.Index < len(attrs) {
			attrs[a.Index] = a.Attr
		}
	})
}

// tableWrite is what a query does to a table.
type tableWrite struct {
	plan    *siddhiql.Write
	find    *finding
	set     []siddhiql.Set
	sets    []valueFn // by set
	own     row       // a row of the query
	row     []table.Value
	changes [][]table.Change
	changed *tableChanges // nil: the table is not published
	texts   []int         // attributes of the query's rows that are texts of keys
	refused RefusedRows
}

func newTableWrite(q *query) *tableWrite {
	p := q.plan.Write
	w := &tableWrite{plan: p, refused: RefusedRows{Table: p.Table.Name}, row: make([]table.Value, len(q.plan.Output.Attrs))}
	on, byKey := p.On, p.On != nil && p.Table.KeyDecides(p.On, p.Keys)
	if byKey {
		on = nil
	}
	var values []siddhiql.Expr
	for _, s := range p.Set {
		if byKey && keeps(p, s) {
			continue
		}
		values = append(values, s.Value)
		w.set = append(w.set, s)
		w.sets = append(w.sets, compileStore(s.Value, p.Table.Schema.Attrs[s.Attr]))
	}
	w.find = newFinding(p.Table, q.plan.Output, on, p.Keys, values...)
	for _, a := range slices.Concat(p.Table.Key, p.Table.Indexes) {
		if p.Table.Schema.Attrs[a].Type.Class() == event.Texts {
			w.texts = append(w.texts, a)
		}
	}
	w.own.tables, w.own.work = q.e.tables, &q.e.work
	if !p.Table.Stream.Sink.Off {
		w.changed = newTableChanges(p.Table)
	}
	return w
}

// keeps reports whether an assignment leaves a part of the primary key as it is: the row was found
// with the same value. Reals are not compared, because 0.0 and -0.0 are one key.
func keeps(p *siddhiql.Write, s siddhiql.Set) bool {
	value, ok := s.Value.(*siddhiql.Attr)
	return ok && p.Table.Schema.Attrs[s.Attr].Type.Class() != event.Reals && slices.ContainsFunc(p.Keys, func(k siddhiql.TableKey) bool {
		a, ok := k.Value.(*siddhiql.Attr)
		return ok && k.Attr == s.Attr && a.Index == value.Index
	})
}

// write applies the rows [from, to) of the query's output to the table, one at a time. They are
// the query's output, unless the table is published: then its changes are.
func (q *query) write(from, to int) {
	if q.table.changed == nil {
		q.e.output(q, from, to)
		q.apply(from, to)
	} else {
		first := q.table.changed.rows.Len()
		q.apply(from, to)
		q.e.output(q, first, q.table.changed.rows.Len())
	}
	q.deliverRefused()
}

func (q *query) apply(from, to int) {
	w, t := q.table, q.e.tables[q.plan.Write.Table.ID]
	r := &w.own
	r.b, r.now = q.out, q.e.env.Now
	for i := from; i < to; i++ {
		r.i, r.ts, r.text = i, q.out.TS[i], r.text[:0]
		if w.plan.On == nil {
			w.insert(q, t, i)
			continue
		}
		found := w.find.found[:0]
		for _, slot := range w.find.candidates(r) {
			if w.find.meets(r, slot) {
				found = append(found, slot)
			}
		}
		w.find.found = found
		switch {
		case w.plan.Delete:
			w.changed.add(q, t, found, window.Expired)
			t.Delete(found)
		case len(found) > 0:
			w.update(q, t, found)
		case w.plan.Insert:
			w.insert(q, t, i)
		}
	}
}

// insert inserts a row of the query, unless the table refuses it.
func (w *tableWrite) insert(q *query, t *table.Table, i int) {
	for a := range w.row {
		c, v := &q.out.Cols[a], &w.row[a]
		*v = table.Value{Null: c.IsNull(i)}
		switch {
		case v.Null:
		case c.Type.Class() == event.Reals:
			v.Real = c.Floats[i]
		case c.Type.Class() == event.Texts:
			v.Text = c.Text(i)
		default:
			v.Int = c.Ints[i]
		}
	}
	for _, a := range w.texts {
		q.checkKey("key of the table", len(w.row[a].Text))
	}
	if why := t.Insert(w.row); why != "" {
		q.refuseRow(i, why)
		return
	}
	w.changed.insert(q, i)
}

// update changes rows. Every value is computed before any row changes.
func (w *tableWrite) update(q *query, t *table.Table, found []int32) {
	for len(w.changes) < len(found) {
		w.changes = append(w.changes, make([]table.Change, len(w.sets)))
	}
	changes := w.changes[:len(found)]
	for n, slot := range found {
		both := w.find.join(&w.own, t, slot)
		list := changes[n]
		for i, set := range w.sets {
			c := &list[i]
			c.Attr, c.Value = w.set[i].Attr, table.Value{}
			set(both, &c.Value)
			if slices.Contains(w.texts, c.Attr) {
				q.checkKey("key of the table", len(c.Value.Text))
			}
			if len(found) > 1 {
				c.Value.Text = strings.Clone(c.Value.Text) // the next row uses the memory again
			}
		}
	}
	before := w.changed.leaving(q, t, found, changes)
	if why := t.Update(found, changes); why != "" {
		w.changed.truncate(before)
		q.refuseRow(w.own.i, why)
		return
	}
	w.changed.add(q, t, found, window.Current)
}

// tableSource is the state of a table.
type tableSource struct {
	*table.Table
	plan *siddhiql.Table
}

// Items implements state.Lister: the rows in order, each by its primary key or its number.
func (s tableSource) Items(visit func(state.Item)) bool {
	s.Keys(func(entry []byte) {
		if slot, ok := s.Find(entry); ok {
			visit(state.Item{Key: s.name(slot), Entry: slices.Clone(entry), Value: s.object(slot)})
		}
	})
	return true
}

// Item implements state.Lister.
func (s tableSource) Item(_ string, entry []byte) (json.RawMessage, bool) {
	slot, ok := s.Find(entry)
	if !ok {
		return nil, false
	}
	return s.object(slot), true
}

func (s tableSource) one(slot int32) *event.Batch {
	b := event.NewBatch(s.plan.Schema)
	for a := range b.Cols {
		s.AppendTo(&b.Cols[a], slot, a)
	}
	b.TS = append(b.TS, 0)
	return b
}

func (s tableSource) object(slot int32) json.RawMessage {
	return rowjson.AppendObject(nil, s.one(slot), 0)
}

// name returns the primary key of a row as people write it, parts divided by "/".
func (s tableSource) name(slot int32) string {
	if s.plan.Key == nil {
		return state.ItemName(s.Number(slot))
	}
	b := s.one(slot)
	var parts []string
	for _, a := range s.plan.Key {
		parts = append(parts, state.ItemName(string(rowjson.AppendText(nil, &b.Cols[a], 0))))
	}
	return strings.Join(parts, "/")
}
