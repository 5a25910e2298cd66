package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// patternNames resolves references to the steps of a pattern: in the filter of an item, or
// in select and the clauses after it.
type patternNames struct {
	plan   *Pattern
	defs   []*StepItem
	step   []int // by item
	schema *event.Schema
	held   *[]Held
	self   int // the item whose filter it is, or -1
	own    int // how many attributes of schema are those of the item's stream
}

// patternChecker checks patterns and sequences.
type patternChecker struct {
	*build
	catalog *catalog
	exprs   *exprChecker
}

// input checks a pattern or a sequence.
func (pc *patternChecker) input(in *PatternInput, d *QueryDef, q *Query) *scope {
	p := &Pattern{Sequence: in.Sequence, Within: -1}
	if in.Within != nil {
		p.Within = in.Within.Int
	}
	q.Pattern = p
	n := &patternNames{plan: p, schema: &event.Schema{Name: "the pattern"}, held: &p.Values, self: -1}
	sound := true
	for _, e := range in.Elems {
		first := len(p.Steps)
		for _, s := range e.Steps {
			sound = pc.step(s, n) && sound
		}
		if e.Every {
			p.Groups = append(p.Groups, Every{First: first, Last: len(p.Steps) - 1})
		}
	}
	pc.stepNames(n.defs)
	if !sound {
		q.Pattern = nil
		return nil
	}
	pc.shape(in, n)
	for i := range p.Items {
		pc.filter(i, n)
	}
	pc.warnings(in, d, n)
	return &scope{schema: n.schema, stream: in.Sources()[0], names: n, outputs: outputNames(d)}
}

// step adds a step to the plan; false if one of its streams is not known.
func (pc *patternChecker) step(d *StepDef, n *patternNames) bool {
	p := &printer{}
	d.print(p)
	step := Step{Or: d.Or, Min: 1, Max: 1, Text: p.b.String()}
	if d.Count != nil {
		step.Count, step.Min, step.Max = true, d.Count.Min, d.Count.Max
	}
	sound := true
	for _, def := range d.Items {
		text := &printer{}
		def.print(text)
		item := PatternItem{Name: def.Name.Text, Absent: def.Not, For: -1, Text: text.b.String()}
		if def.For != nil {
			item.For = def.For.Int
		}
		known := pc.catalog.find(def.Source)
		if w := pc.catalog.named(def.Source); w != nil {
			pc.errorf(def.Source.Pos, "%s is a window, and a pattern reads streams: let a query insert what comes into the window into a stream, and read that", tick(def.Source.Name))
			known = nil
		}
		if sound = sound && known != nil && !known.broken; sound {
			item.Stream = known.stream
		}
		step.Items = append(step.Items, len(n.plan.Items))
		n.plan.Items = append(n.plan.Items, item)
		n.defs = append(n.defs, def)
		n.step = append(n.step, len(n.plan.Steps))
	}
	n.plan.Steps = append(n.plan.Steps, step)
	return sound
}

// stepNames refuses names that stand twice.
func (pc *patternChecker) stepNames(defs []*StepItem) {
	first := map[string]Pos{}
	for _, d := range defs {
		if d.Name.Text == "" {
			continue
		}
		if at, taken := first[d.Name.Text]; taken {
			pc.errorf(d.Name.Pos, "the name %s stands for two steps: first at %s; give one another name", tick(d.Name.Text), at)
			continue
		}
		first[d.Name.Text] = d.Name.Pos
	}
}

// shape refuses steps that make no sense where they stand.
func (pc *patternChecker) shape(in *PatternInput, n *patternNames) {
	p := n.plan
	last := p.Steps[len(p.Steps)-1]
	if last.Count && last.Min == 0 {
		pc.errorf(n.defs[last.Items[0]].Pos, "the last step, %s, may have no event, so it would never be known to be over: write a count of at least 1, or leave the step out", tick(last.Text))
	}
	for i := range p.Items {
		item := &p.Items[i]
		if p.Within >= 0 && item.For > p.Within && n.step[i] > 0 {
			pc.errorf(n.defs[i].For.Pos, "%s lasts longer than the whole pattern may take, `within %s`: it would never match; expected a shorter time here or a longer one there",
				tick("for "+durationText(item.For)), durationText(p.Within))
		}
	}
}

// filter checks the filters of an item, and splits them into what can be tested on
// the event alone, equalities with earlier events, and the rest.
func (pc *patternChecker) filter(i int, n *patternNames) {
	item := &n.plan.Items[i]
	stream := item.Stream.Schema
	item.Schema = &event.Schema{Name: stream.Name, Attrs: slices.Clone(stream.Attrs)}
	names := *n
	names.schema, names.held, names.self, names.own = item.Schema, &item.Held, i, len(stream.Attrs)
	s := &scope{schema: item.Schema, stream: n.defs[i].Source, names: &names, clause: "a filter"}
	for _, f := range n.defs[i].Filters {
		if e := pc.exprs.condition(f, s, "a filter"); e != nil {
			names.split(item, e)
		}
	}
}

// split adds the parts of a condition to an item.
func (n *patternNames) split(item *PatternItem, e Expr) {
	if and, ok := e.(*And); ok {
		n.split(item, and.L)
		n.split(item, and.R)
		return
	}
	own, held := n.uses(e)
	switch {
	case !held:
		item.Own = append(item.Own, e)
		return
	case own:
		if eq, ok := n.equality(e); ok {
			item.Equal = append(item.Equal, eq)
			return
		}
	}
	item.Rest = append(item.Rest, e)
}

// uses reports whether an expression reads the event itself, and earlier ones.
func (n *patternNames) uses(e Expr) (own, held bool) {
	for _, a := range attrsOf(e) {
		own, held = own || a < n.own, held || a >= n.own
	}
	return own, held
}

func (n *patternNames) equality(e Expr) (Equality, bool) {
	cmp, ok := e.(*Compare)
	if !ok || cmp.Op != Equal {
		return Equality{}, false
	}
	for _, eq := range []Equality{{cmp.L, cmp.R}, {cmp.R, cmp.L}} {
		ownL, heldL := n.uses(eq.Own)
		ownR, heldR := n.uses(eq.Held)
		if ownL && !heldL && heldR && !ownR && !readsClock(eq.Held) && !testsTable(eq.Held) && n.fixed(eq.Held) {
			return eq, true
		}
	}
	return Equality{}, false
}

// fixed reports whether an expression over earlier events keeps its value while a match
// waits at the step.
func (n *patternNames) fixed(e Expr) bool {
	for _, a := range attrsOf(e) {
		v := (*n.held)[a-n.own]
		if v.Item == n.self {
			return false // the step collects while the match waits
		}
		from := n.step[v.Item]
		step := &n.plan.Steps[from]
		if !step.Count || !v.Last && v.N < step.Min {
			continue
		}
		collecting := true // until a step in between has had an event
		for s := from + 1; s < n.step[n.self]; s++ {
			collecting = collecting && n.plan.Steps[s].Count && n.plan.Steps[s].Min == 0
		}
		if collecting {
			return false
		}
	}
	return true
}

// attrsOf lists the attributes that an expression reads.
func attrsOf(e Expr) (list []int) {
	EachAttr(e, func(a int) { list = append(list, a) })
	return list
}

// testsTable reports whether an expression looks into a table, whose rows may change.
func testsTable(e Expr) bool {
	switch e := e.(type) {
	case *InRows:
		return true
	case *Arith:
		return testsTable(e.L) || testsTable(e.R)
	case *Compare:
		return testsTable(e.L) || testsTable(e.R)
	case *And:
		return testsTable(e.L) || testsTable(e.R)
	case *Or:
		return testsTable(e.L) || testsTable(e.R)
	case *Not:
		return testsTable(e.X)
	case *IsNull:
		return testsTable(e.X)
	case *Call:
		return slices.ContainsFunc(e.Args, testsTable)
	}
	return false
}
