package siddhiql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Table is a `define table`.
type Table struct {
	ID      int // index in Plan.Tables
	Name    string
	Schema  *event.Schema
	Key     []int // attributes of @PrimaryKey; none: rows are in order of insertion
	Indexes []int // attributes of @Index
	// Stream stands for the table as the target of queries. It brings no events. With a @sink, its
	// results are the changes of the table: rows as they are after a change, and rows that were
	// removed as expired ones.
	Stream *Stream
	// Bucket is the KV bucket that has the rows (@source(kv='…')); nil: queries write them.
	Bucket *Bucket
}

// Write says how the rows of a query change a table.
type Write struct {
	Table *Table
	// Insert rows, after an update only those that meet no row of the table. Update or delete
	// the rows that meet On.
	Insert, Update, Delete bool
	// On and the values of Set read a row of the query (attributes of its Output) and a row of
	// the table (attributes from Base on).
	On   Expr
	Base int
	Set  []Set
	Keys []TableKey // that On requires
}

// Set is a new value of an attribute of a table.
type Set struct {
	Attr  int
	Value Expr
}

// TableKey is a condition that a table's attribute has a value, which depends on the other row alone.
type TableKey struct {
	Attr  int // of the table
	Value Expr
}

// KeyDecides reports whether a condition says only that the primary key of t has the values of
// keys, so that the row with them meets it.
func (t *Table) KeyDecides(on Expr, keys []TableKey) bool {
	if len(keys) != len(t.Key) || len(conjuncts(on)) != len(keys) {
		return false
	}
	for _, attr := range t.Key {
		i := slices.IndexFunc(keys, func(k TableKey) bool { return k.Attr == attr })
		if i < 0 || keys[i].Value.Holds().Class() != t.Schema.Attrs[attr].Holds().Class() {
			return false
		}
	}
	return true
}

// InRows is `condition in T`. The condition reads a row of the stream, and one of the table
// from Base on.
type InRows struct {
	Table *Table
	On    Expr
	Base  int
	Keys  []TableKey
}

// Type implements Expr.
func (e *InRows) Type() event.Type { return event.Bool }

// Holds implements Expr.
func (e *InRows) Holds() event.Type { return event.Bool }

// tableNames resolves references where a table is looked at: T.a is the table's, and the rest
// is as outside.
type tableNames struct {
	table *Table
	base  int
	outer *scope
}

func (n *tableNames) ref(c *exprChecker, r *Ref, _ *scope) Expr {
	if r.Stream != n.table.Name || r.Inner {
		return c.ref(r, n.outer)
	}
	i := n.table.Schema.Index(r.Name)
	if i < 0 {
		c.errorf(r.Pos, "unknown attribute %s of table %s%s", tick(r.Name), tick(n.table.Name), didYouMean(r.Name, attrNames(n.table.Schema)))
		return nil
	}
	return &Attr{Index: n.base + i, Attr: n.table.Schema.Attrs[i]}
}

func (n *tableNames) absent(c *exprChecker, r *Ref, s *scope) Expr {
	if n.outer.names == nil {
		return nil
	}
	return n.outer.names.absent(c, r, s)
}

func (n *tableNames) star(*exprChecker, *QueryDef) []event.Attr { return nil }

// both returns the scope of a condition over a row of outer and one of a table.
func (t *Table) both(outer *scope, clause string) *scope {
	s := outer.in(clause)
	s.names = &tableNames{table: t, base: len(outer.schema.Attrs), outer: outer.in(clause)}
	return s
}

// tableChecker checks tables, and what queries change in them.
type tableChecker struct {
	*build
	catalog  *catalog
	exprs    *exprChecker
	mappings *mappingChecker
	sinks    *sinkChecker
}

// definition checks a `define table`.
func (tb *tableChecker) definition(d *TableDef) {
	name := d.Name.Text
	if first, taken := tb.catalog.outer[name]; taken {
		tb.errorf(d.Name.Pos, "%s is defined twice: first at %s", tick(name), first.at)
		return
	}
	if first := tb.catalog.tables[name]; first != nil {
		tb.errorf(d.Name.Pos, "table %s is defined twice", tick(name))
		return
	}
	t := &Table{ID: len(tb.plan.Tables), Name: name, Schema: tb.schema(&d.StreamDef)}
	t.Stream = &Stream{ID: len(tb.plan.Streams), Name: name, Schema: t.Schema, Block: -1, TimeAttr: -1, Sink: Sink{Off: true}, Table: t}
	tb.plan.Streams = append(tb.plan.Streams, t.Stream)
	tb.plan.Tables = append(tb.plan.Tables, t)
	tb.catalog.tables[name] = t
	tb.known(d.Annotations, onTable)
	for _, a := range d.Annotations {
		switch {
		case is(a, "primarykey"):
			t.Key = tb.attrs(a, t)
		case is(a, "index"):
			attrs := tb.attrs(a, t)
			if len(attrs) > 1 {
				tb.errorf(a.Pos, "`@Index` has %d attributes: expected one `@Index` for each", len(attrs))
			}
			t.Indexes = append(t.Indexes, attrs...)
		case is(a, "sink"):
			tb.sinks.pending = append(tb.sinks.pending, pendingSink{a, name})
		}
	}
	slices.Sort(t.Indexes)
	t.Indexes = slices.Compact(t.Indexes)
	for _, a := range d.Annotations {
		if !is(a, "source") {
			continue
		}
		if t.Bucket != nil {
			tb.errorf(a.Pos, "table %s has two `@source`: expected one bucket", tick(name))
			return
		}
		tb.source(a, t)
	}
	if tb.plan.Partitions > 1 && t.Bucket == nil {
		tb.errorf(d.Name.Pos, "table %s is shared by all keys, but the app has %d partitions that share nothing: leave `@app:partitions` out, or fill the table from a KV bucket with `@source(kv='…')`, which every partition then has", tick(name), tb.plan.Partitions)
	}
}

// attrs reads the attributes that an annotation lists.
func (tb *tableChecker) attrs(a *Annotation, t *Table) (attrs []int) {
	if len(a.Elems) == 0 {
		tb.errorf(a.Pos, "`@%s` names no attribute: write `@%s('%s')`", a.Name, a.Name, t.Schema.Attrs[0].Name)
	}
	for _, e := range a.Elems {
		i := t.Schema.Index(e.Value)
		switch {
		case e.Key != "" || e.Nested != nil:
			tb.errorf(e.Pos, "`@%s` lists attributes: write `@%s('%s')`", a.Name, a.Name, t.Schema.Attrs[0].Name)
		case i < 0:
			tb.errorf(e.Pos, "table %s has no attribute %s%s", tick(t.Name), tick(e.Value), didYouMean(e.Value, attrNames(t.Schema)))
		case t.Schema.Attrs[i].Type == event.Object:
			tb.errorf(e.Pos, "attribute %s is an object, which cannot be found by its value: expected another attribute in `@%s`", tick(e.Value), a.Name)
		case slices.Contains(attrs, i):
			tb.errorf(e.Pos, "`@%s` names %s twice", a.Name, tick(e.Value))
		default:
			attrs = append(attrs, i)
		}
	}
	return attrs
}

// noTable refuses a table where events are read.
func (ct *catalog) noTable(r StreamRef) bool {
	if ct.tables[r.Name] == nil || r.Inner || r.Fault {
		return false
	}
	ct.errorf(r.Pos, "%s is a table, which brings no events: join it with a stream, or test `… in %s` in a filter", tick(r.Name), r.Name)
	return true
}

// changes checks what a query does to a table.
func (tb *tableChecker) changes(d *QueryDef, q *Query, out []event.Attr) {
	t := tb.catalog.tables[d.Target.Name]
	if t == nil || d.Target.Inner || d.Target.Fault {
		var names []string
		for name := range tb.catalog.tables {
			names = append(names, name)
		}
		slices.Sort(names)
		if tb.catalog.named(d.Target) != nil {
			tb.errorf(d.Target.Pos, "%s is a window, whose rows leave by themselves: only rows of a table can be changed", tick(d.Target.Name))
			return
		}
		tb.errorf(d.Target.Pos, "%s is no table%s", tick(d.Target.String()), didYouMean(d.Target.String(), names))
		return
	}
	if tb.noWrites(d, t) {
		return
	}
	q.Target, q.Output = t.Stream, &event.Schema{Name: t.Name, Attrs: out}
	q.Write = &Write{Table: t, Insert: d.Write == nil, Base: len(out)}
	if slices.ContainsFunc(out, func(a event.Attr) bool { return a.Type == 0 }) {
		return
	}
	if d.Write == nil || d.Write.Kind == UpdateOrInsert {
		tb.sameAsTable(d, t, out)
	}
	if d.Write == nil {
		return
	}
	q.Write.Insert, q.Write.Update, q.Write.Delete = d.Write.Kind == UpdateOrInsert, d.Write.Kind != Delete, d.Write.Kind == Delete
	output := &scope{schema: q.Output, stream: d.Target}
	s := t.both(output, "`on`")
	q.Write.On = tb.exprs.condition(d.Write.On, s, "`on`")
	if q.Write.On != nil {
		if !reads(q.Write.On, q.Write.Base) {
			tb.errorf(start(d.Write.On), "%s does not read the table: write `%s.%s` for its attribute", tick(textOf(d.Write.On)), t.Name, t.Schema.Attrs[0].Name)
		}
		q.Write.Keys = tableKeys(q.Write.On, q.Write.Base)
	}
	if q.Write.Update {
		tb.sets(d, q, t, s)
	}
}

// sameAsTable refuses rows that are not those of the table.
func (tb *tableChecker) sameAsTable(d *QueryDef, t *Table, out []event.Attr) {
	rows := &event.Schema{Name: t.Name, Attrs: out}
	for i := range max(len(out), len(t.Schema.Attrs)) {
		if i < len(out) && i < len(t.Schema.Attrs) && out[i] == t.Schema.Attrs[i] {
			continue
		}
		tb.errorf(d.Target.Pos, "the query yields %s, but the table is %s: expected the same attributes in the same order", tick(rows.String()), tick(t.Schema.String()))
		return
	}
}

// sets checks what an update changes: without `set`, all attributes of the rows.
func (tb *tableChecker) sets(d *QueryDef, q *Query, t *Table, s *scope) {
	if d.Write.Set == nil {
		for i, a := range q.Output.Attrs {
			n := t.Schema.Index(a.Name)
			if n < 0 || t.Schema.Attrs[n].Type != a.Type || a.Holds() != a.Type {
				tb.errorf(d.Target.Pos, "the query yields %s, but table %s has no such attribute: name what changes with `set %s.… = …`", tick(a.Name+" "+a.Type.String()), tick(t.Schema.String()), t.Name)
				return
			}
			q.Write.Set = append(q.Write.Set, Set{Attr: n, Value: &Attr{Index: i, Attr: a}})
		}
		return
	}
	for _, set := range d.Write.Set {
		n := t.Schema.Index(set.Attr.Name)
		if set.Attr.Stream != t.Name && set.Attr.Stream != "" || n < 0 {
			tb.errorf(set.Attr.Pos, "%s is no attribute of table %s%s", tick(textOf(set.Attr)), tick(t.Name), didYouMean(set.Attr.Name, attrNames(t.Schema)))
			continue
		}
		if slices.ContainsFunc(q.Write.Set, func(o Set) bool { return o.Attr == n }) {
			tb.errorf(set.Attr.Pos, "`set` names %s twice", tick(set.Attr.Name))
			continue
		}
		v := tb.exprs.expr(set.Value, s.in("`set`"))
		if v == nil {
			continue
		}
		if want := t.Schema.Attrs[n].Type; v.Holds() != v.Type() || !widens(v.Type(), want) {
			tb.errorf(start(set.Value), "%s is %s, but attribute %s of table %s is %s", tick(textOf(set.Value)), v.Holds(), tick(set.Attr.Name), tick(t.Name), want)
			continue
		}
		q.Write.Set = append(q.Write.Set, Set{Attr: n, Value: v})
	}
}

// widens reports whether values of one type can be stored as another: int, long, float and
// double in this order.
func widens(from, to event.Type) bool {
	order := []event.Type{event.Int, event.Long, event.Float, event.Double}
	i, j := slices.Index(order, from), slices.Index(order, to)
	return from == to || i >= 0 && i <= j
}

// farBase is past all attributes of a row.
const farBase = 1 << 20

// inRows checks `X in T`.
func (ex *exprChecker) inRows(n *InTable, s *scope) Expr {
	t := ex.catalog.tables[n.Table.Text]
	if t == nil && ex.catalog.named(StreamRef{Name: n.Table.Text}) != nil {
		ex.errorf(n.Table.Pos, "%s is a window, and `in` tests the rows of a table: join the window instead", tick(n.Table.Text))
		return nil
	}
	if t == nil {
		ex.errorf(n.Table.Pos, "%s is no table: `in` tests the rows of a table, such as `(T.a == a) in T`", tick(n.Table.Text))
		return nil
	}
	if !slices.Contains([]string{"a filter", "select", "having"}, s.clause) {
		ex.errorf(n.Pos, "`in %s` cannot stand in %s: write it into a filter, select or having", n.Table.Text, clauseText(s.clause))
		return nil
	}
	both := t.both(s, "the condition of `in`")
	both.names.(*tableNames).base = farBase // a pattern's schema grows with each reference
	e := ex.condition(n.X, both, "`in`")
	if e == nil {
		return nil
	}
	in := &InRows{Table: t, On: e, Base: len(s.schema.Attrs)}
	EachAttr(e, func(a int) {
		if a < farBase {
			in.Base = max(in.Base, a+1)
		}
	})
	EachRef(e, func(a *Attr) {
		if a.Index >= farBase {
			a.Index += in.Base - farBase
		}
	})
	if !reads(e, in.Base) {
		ex.errorf(start(n.X), "%s does not read the table: write `%s.%s` for its attribute", tick(textOf(n.X)), t.Name, t.Schema.Attrs[0].Name)
		return nil
	}
	in.Keys = tableKeys(e, in.Base)
	return in
}

// reads reports whether an expression reads an attribute from base on.
func reads(e Expr, base int) (found bool) {
	EachAttr(e, func(a int) { found = found || a >= base })
	return found
}

// tableKeys returns the equalities that a condition requires between an attribute of the table
// and a value of the other row.
func tableKeys(e Expr, base int) []TableKey {
	switch e := e.(type) {
	case *And:
		return append(tableKeys(e.L, base), tableKeys(e.R, base)...)
	case *Compare:
		if e.Op != Equal {
			return nil
		}
		for _, side := range [2][2]Expr{{e.L, e.R}, {e.R, e.L}} {
			if a, ok := side[0].(*Attr); ok && a.Index >= base && a.Holds() == a.Type() && !reads(side[1], base) {
				return []TableKey{{Attr: a.Index - base, Value: side[1]}}
			}
		}
	}
	return nil
}

// String writes the table as its definition has it, with its key.
func (t *Table) String() string {
	names := make([]string, len(t.Key))
	for i, a := range t.Key {
		names[i] = t.Schema.Attrs[a].Name
	}
	text := fmt.Sprintf("table %s, primary key (%s)", t.Schema, strings.Join(names, ", "))
	if t.Bucket != nil {
		text += ", rows of KV bucket " + t.Bucket.Name
	}
	return text
}
