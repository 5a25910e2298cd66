package model

import (
	"fmt"
	"slices"
	"strings"
)

// selection generates select and its clauses, and returns the attributes of its rows.
func (g *generator) selection(source *genStream) (string, []genAttr) {
	e := &exprs{generator: g, attrs: source.attrs}
	if source.block < 0 {
		e.from = source.name
	}
	var b strings.Builder
	var out []genAttr
	choices := []string{"items", "items", "items", "items", "items", "*", "nothing"}
	if source.joined { // both sources may have an attribute of the same name
		choices = choices[:5]
	}
	switch pick(g, "select", choices...) {
	case "nothing":
		return "", slices.Clone(source.attrs)
	case "*":
		b.WriteString("\nselect *")
		out = slices.Clone(source.attrs)
	default:
		var items []string
		items, out = g.items(e)
		b.WriteString("\nselect " + strings.Join(items, ", "))
	}
	if plain := e.plain(); len(plain) > 0 && g.chance("group by", 40) {
		var by []string
		for range g.between("group attrs", 1, 2) {
			if a := pick(g, "group attr", plain...).name; !slices.Contains(by, a) {
				by = append(by, a)
			}
		}
		b.WriteString(" group by " + strings.Join(by, ", "))
	}
	b.WriteString(g.clauses(out, source.match...))
	return b.String(), out
}

// clauses generates having, order by, limit and offset. match are attributes that having may read
// beside those of the output.
func (g *generator) clauses(out []genAttr, match ...genAttr) string {
	var b strings.Builder
	e := &exprs{generator: g, attrs: out, time: true}
	if g.chance("having", 20) {
		e.in = true
		if len(match) > 0 && g.chance("having over the match", 50) {
			e.attrs = slices.Concat(out, match)
		}
		b.WriteString(" having " + e.condition(2))
		e.in, e.attrs = false, out
	}
	if plain := e.plain(); len(plain) > 0 && g.chance("order by", 25) {
		var by []string
		for range g.between("order attrs", 1, 2) {
			by = append(by, pick(g, "order attr", plain...).name+pick(g, "direction", "", " asc", " desc"))
		}
		b.WriteString(" order by " + strings.Join(by, ", "))
	}
	if g.chance("limit", 12) {
		fmt.Fprintf(&b, " limit %d", 3-g.between("limit", 0, 3))
	}
	if g.chance("offset", 8) {
		fmt.Fprintf(&b, " offset %d", g.between("offset", 0, 2))
	}
	return b.String()
}

// items generates one to four items of a select, with or without aggregators.
func (g *generator) items(e *exprs) (items []string, out []genAttr) {
	aggregated := g.chance("aggregated", 70)
	for range g.between("items", 1, 4) {
		switch pick(g, "item", "aggregate", "aggregate", "aggregate", "attr", "expr") {
		case "attr":
			a := pick(g, "attr", e.attrs...)
			if strings.Contains(a.name, ".") {
				text := e.ref(a)
				a.name = g.name("y")
				items, out = append(items, text+" as "+a.name), append(out, a)
				continue
			}
			if !slices.ContainsFunc(out, func(o genAttr) bool { return o.name == a.name }) {
				items, out = append(items, e.ref(a)), append(out, a)
			}
			continue
		case "aggregate":
			if aggregated {
				text, a := e.aggregate()
				a.name = g.name("a")
				items, out = append(items, text+" as "+a.name), append(out, a)
				continue
			}
		}
		a := genAttr{name: g.name("x"), typ: pick(g, "type", scalarTypes...)}
		if g.chance("cast", 5) {
			var text string
			text, a.typ = e.cast()
			a.cast = true
			items, out = append(items, text+" as "+a.name), append(out, a)
			continue
		}
		e.time, e.in = !g.timeless, !g.timeless
		var text string
		text, a.exact = e.of(a.typ, 2)
		e.time, e.in = false, false
		items, out = append(items, text+" as "+a.name), append(out, a)
	}
	if len(items) == 0 {
		a := e.attrs[0]
		text := a.name
		a.name = g.name("y")
		return []string{text + " as " + a.name}, []genAttr{a}
	}
	return items, out
}

// aggregate generates an aggregator, sometimes inside a larger expression.
func (e *exprs) aggregate() (string, genAttr) {
	text, a := e.bareAggregate()
	if a.typ == "string" || !e.chance("nested", 15) {
		return text, a
	}
	switch pick(e.generator, "nesting", "arithmetic", "branch", "ratio") {
	case "branch":
		return fmt.Sprintf("ifThenElse(%s, %s, %s)", e.condition(1), text, e.literal(a.typ)), a
	case "ratio":
		a.exact = a.exact && (a.typ == "long" || a.typ == "int")
		if a.typ == "int" {
			a.typ = "long"
		}
		return text + " / count()", a
	default:
		return text + " + " + e.literal(a.typ), a
	}
}

func (e *exprs) bareAggregate() (string, genAttr) {
	name := pick(e.generator, "aggregator", "sum", "count", "count of", "avg", "min", "max", "distinctCount")
	switch name {
	case "count":
		return "count()", genAttr{typ: "long", exact: true}
	case "count of":
		return fmt.Sprintf("count(%s)", e.ref(pick(e.generator, "attr", e.attrs...))), genAttr{typ: "long", exact: true}
	case "distinctCount":
		typ := pick(e.generator, "argument", "string", "int", "long", "double", "float")
		text, _ := e.argument(typ)
		return fmt.Sprintf("distinctCount(%s)", text), genAttr{typ: "long", exact: true}
	}
	typ := pick(e.generator, "argument", "int", "double", "long", "float")
	text, exact := e.argument(typ)
	if !exact && name != "max" {
		name = "min"
	}
	switch {
	case name == "sum" && (typ == "int" || typ == "long"):
		typ = "long"
	case name == "sum":
		typ = "double"
	case name == "avg":
		typ, exact = "double", false
	}
	return fmt.Sprintf("%s(%s)", name, text), genAttr{typ: typ, exact: exact}
}

// argument generates an expression that is mostly a single attribute.
func (e *exprs) argument(typ string) (string, bool) {
	if e.chance("expression", 20) {
		return e.of(typ, 1)
	}
	return e.of(typ, 0)
}
