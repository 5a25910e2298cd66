package model

import (
	"fmt"
	"slices"
	"strings"
)

// genTable is a generated table. Queries write and look up its rows.
type genTable struct {
	name  string
	attrs []genAttr
	keys  []string // attributes that a look-up may find rows by
}

// qualified returns the attributes as conditions name them.
func (t *genTable) qualified() []genAttr {
	list := slices.Clone(t.attrs)
	for i := range list {
		list[i].name = t.name + "." + list[i].name
	}
	return list
}

// define generates tables and named windows.
func (g *generator) define() string {
	if !g.opts.Tables {
		return ""
	}
	var b strings.Builder
	for n := range g.between("tables", 1, 2) {
		t := &genTable{name: fmt.Sprintf("Tab%d", n+1)}
		for _, a := range []genAttr{
			{name: "k", typ: "string", exact: true},
			{name: "g", typ: "int", exact: true},
			{name: "t", typ: "long", exact: true},
			{name: "d", typ: "double"},
			{name: "f", typ: "float"},
			{name: "b", typ: "bool", exact: true},
		} {
			if len(t.attrs) < 2 || g.chance("attribute", 40) {
				t.attrs = append(t.attrs, a)
			}
		}
		if g.chance("primary key", 70) {
			for range pick(g, "parts", 1, 1, 2) {
				if k := pick(g, "part", t.attrs...).name; !slices.Contains(t.keys, k) {
					t.keys = append(t.keys, k)
				}
			}
			fmt.Fprintf(&b, "@PrimaryKey('%s') ", strings.Join(t.keys, "', '"))
		}
		if g.chance("index", 40) {
			k := pick(g, "indexed", t.attrs...).name
			t.keys = append(t.keys, k)
			fmt.Fprintf(&b, "@Index('%s') ", k)
		}
		fmt.Fprintf(&b, "define table %s (%s);\n", t.name, shape(t.attrs))
		g.tables = append(g.tables, t)
	}
	for n := range g.between("named windows", 0, 2) {
		s := &genStream{name: fmt.Sprintf("Win%d", n+1), attrs: slices.Clone(g.streams[0].attrs), block: -1, named: true}
		w := g.window(s)
		if w == "" {
			w = "#length(3)"
		}
		kinds := pick(g, "output", "", " output all events", " output all events", " output current events", " output expired events")
		s.partial = strings.Contains(w, "sort(") || len(kinds) > len(" output all events")
		_, w, _ = strings.Cut(w, "#")
		fmt.Fprintf(&b, "define window %s (%s) %s%s;\n", s.name, s.shape(), strings.TrimPrefix(w, "window."), kinds)
		g.streams = append(g.streams, s)
	}
	return b.String()
}

// fill generates queries that write to each named window and each table.
func (g *generator) fill() (queries []string) {
	for _, s := range g.streams {
		if s.named {
			from := pick(g, "writer", g.streams[0], g.streams[2])
			from.use()
			queries = append(queries, fmt.Sprintf("from %s insert into %s", from.name, s.name))
		}
	}
	for _, t := range g.tables {
		source := pick(g, "writer", g.readable(-1)...)
		source.use()
		queries = append(queries, "from "+source.name+g.write(t, &exprs{generator: g, attrs: source.attrs}, source.grown))
	}
	return queries
}

// row generates a selection that yields rows of a table.
func (g *generator) row(t *genTable, e *exprs) string {
	var items []string
	for _, a := range t.attrs {
		text, _ := e.of(a.typ, pick(g, "depth", 0, 0, 1))
		if a.typ == "long" && g.chance("counted", 15) {
			text = "count()"
		}
		items = append(items, text+" as "+a.name)
	}
	group := ""
	if plain := e.plain(); len(plain) > 0 && g.chance("group by", 20) {
		group = " group by " + pick(g, "group attr", plain...).name
	}
	return "\nselect " + strings.Join(items, ", ") + group
}

// write generates a selection for a table and what its rows do there. e has the attributes of the
// query. Rows that may be as many as those of a table are not inserted: a table could double with
// each event.
func (g *generator) write(t *genTable, e *exprs, grown bool) string {
	selection := g.row(t, e)
	clauses := g.clauses(t.attrs)
	kinds := pick(g, "kinds", "", "", "current events", "all events", "expired events")
	for_ := ""
	if kinds != "" {
		for_, kinds = " for "+kinds, kinds+" "
	}
	on := "\non " + g.onTable(t, &exprs{generator: g, attrs: t.attrs})
	choices := []string{"insert", "insert", "upsert", "upsert", "update", "delete"}
	if grown {
		choices = choices[4:]
	}
	switch pick(g, "write", choices...) {
	case "upsert":
		return fmt.Sprintf("%s%s\nupdate or insert into %s%s%s%s", selection, clauses, t.name, for_, g.set(t), on)
	case "update":
		return fmt.Sprintf("%s%s\nupdate %s%s%s%s", selection, clauses, t.name, for_, g.set(t), on)
	case "delete":
		return fmt.Sprintf("%s%s\ndelete %s%s%s", selection, clauses, t.name, for_, on)
	default:
		return fmt.Sprintf("%s%s\ninsert %sinto %s", selection, clauses, kinds, t.name)
	}
}

// onTable generates a condition over the attributes of e and of a table, mostly one by its keys.
func (g *generator) onTable(t *genTable, e *exprs) string {
	both := &exprs{generator: g, attrs: slices.Concat(e.attrs, t.qualified())}
	var parts []string
	keys := t.keys
	if len(keys) == 0 || g.chance("other attribute", 20) {
		keys = []string{pick(g, "attribute", t.attrs...).name}
	}
	for _, k := range keys {
		a := t.attrs[slices.IndexFunc(t.attrs, func(a genAttr) bool { return a.name == k })]
		typ := a.typ
		if typ != "string" && typ != "bool" && g.chance("mixed types", 20) {
			typ = pick(g, "other type", numericTypes...)
		}
		value, _ := e.of(typ, pick(g, "depth", 0, 0, 0, 1))
		sides := []string{t.name + "." + k, value}
		if g.chance("turned", 30) {
			slices.Reverse(sides)
		}
		parts = append(parts, strings.Join(sides, pick(g, "comparison", " == ", " == ", " == ", " == ", " != ")))
	}
	if g.chance("more", 25) {
		parts = append(parts, "("+both.condition(1)+")")
	}
	return strings.Join(parts, pick(g, "joined by", " and ", " and ", " and ", " or "))
}

// set generates the assignments of an update; without, all attributes are assigned.
func (g *generator) set(t *genTable) string {
	if g.chance("all attributes", 40) {
		return ""
	}
	e := &exprs{generator: g, attrs: slices.Concat(t.attrs, t.qualified())}
	var sets []string
	for _, a := range t.attrs {
		if len(sets) > 0 && !g.chance("assigned", 40) || slices.Contains(t.keys, a.name) && !g.chance("key", 20) {
			continue
		}
		typ := a.typ
		if i := slices.Index(numericTypes, typ); i > 0 && g.chance("widened", 25) {
			typ = numericTypes[g.between("narrower", 0, i)]
		}
		text, _ := e.of(typ, 1)
		sets = append(sets, fmt.Sprintf("%s.%s = %s", t.name, a.name, text))
	}
	if len(sets) == 0 {
		return ""
	}
	return "\nset " + strings.Join(sets, ", ")
}

// inTable generates `condition in T`.
func (e *exprs) inTable() string {
	t := pick(e.generator, "table", e.generator.tables...)
	inner := &exprs{generator: e.generator, attrs: e.attrs}
	return fmt.Sprintf("((%s) in %s)", e.onTable(t, inner), t.name)
}
