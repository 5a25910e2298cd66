package model

import (
	"fmt"
	"slices"
	"strings"
)

// join generates a query that joins a stream with another one or with itself.
func (g *generator) join(left *genStream, block *int) string {
	readable := g.readable(-1)
	if block != nil {
		readable = g.readable(*block)
	}
	right := left
	if !g.chance("self join", 25) {
		right = pick(g, "other source", readable...)
	}
	windowed := g.between("windowed side", 0, 1)
	table := len(g.tables) > 0 && g.chance("table", 50)
	if table {
		t := pick(g, "table", g.tables...)
		right = &genStream{name: t.name, attrs: t.attrs, table: true, grown: true}
	}
	first, second := g.joinSide(left, "a", windowed == 0), g.joinSide(right, "b", windowed == 1)
	switch one := pick(g, "unidirectional", "", "", "", "left", "right"); {
	case one == "left":
		first += " unidirectional"
	case one == "right" && !table:
		second += " unidirectional"
	}
	both := &genStream{block: 0, joined: true}
	for _, a := range left.attrs {
		a.name = "a." + a.name
		both.attrs = append(both.attrs, a)
	}
	for _, a := range right.attrs {
		a.name = "b." + a.name
		both.attrs = append(both.attrs, a)
	}
	var b strings.Builder
	kind := pick(g, "join", "join", "inner join", "left outer join", "right outer join", "full outer join")
	fmt.Fprintf(&b, "from %s\n%s %s", first, kind, second)
	if on := g.on(left, right, both); on != "" {
		b.WriteString("\non " + on)
	}
	if len(g.tables) > 0 && g.chance("write", 25) {
		return b.String() + g.write(pick(g, "table", g.tables...), &exprs{generator: g, attrs: both.attrs}, left.grown || right.grown)
	}
	selection, out := g.selection(both)
	b.WriteString(selection)
	if g.opts.Tables {
		rate, _ := g.rate("", false)
		b.WriteString(rate)
	}
	kinds := pick(g, "kinds", "", "current events ", "all events ", "all events ", "expired events ")
	later := left
	if slices.Index(g.streams, right) > slices.Index(g.streams, left) {
		later = right
	}
	fmt.Fprintf(&b, "\ninsert %sinto %s", kinds, g.target(later, block, out, left.grown || right.grown))
	return b.String()
}

// joinSide generates one source of a join.
func (g *generator) joinSide(s *genStream, as string, windowed bool) string {
	s.use()
	text := s.name
	if s.table || s.named {
		return text + " as " + as
	}
	if g.chance("filter before", 20) {
		e := &exprs{generator: g, attrs: s.attrs}
		text += "[" + e.condition(1) + "]"
	}
	switch w := g.window(s); {
	case w != "":
		text += w
	case windowed || g.chance("windowed", 60):
		text += "#window.length(2)"
	}
	return text + " as " + as
}

// on generates the condition of a join, mostly with an equality.
func (g *generator) on(left, right, both *genStream) string {
	e := &exprs{generator: g, attrs: both.attrs}
	var parts []string
	for range pick(g, "equalities", 1, 1, 0, 2) {
		typ := pick(g, "key type", "string", "int", "bool", "long", "double", "float")
		l, r := left.of(typ), right.of(typ)
		if typ != "string" && typ != "bool" && g.chance("mixed types", 40) {
			r = right.of(pick(g, "other type", "int", "long", "double", "float"))
		}
		if len(l) > 0 && len(r) > 0 {
			sides := []string{"a." + pick(g, "left key", l...), "b." + pick(g, "right key", r...)}
			if g.chance("turned", 30) {
				slices.Reverse(sides)
			}
			parts = append(parts, sides[0]+" == "+sides[1])
		}
	}
	if g.chance("more", 30) {
		parts = append(parts, "("+e.condition(1)+")")
	}
	return strings.Join(parts, " and ")
}
