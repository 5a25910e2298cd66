package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// ref implements names.
func (n *patternNames) ref(c *exprChecker, r *Ref, s *scope) Expr {
	if r.Stream == "" && r.Index == nil {
		return n.bare(c, r, s)
	}
	item := n.find(c, r, s)
	if item < 0 || !n.reachable(c, r, s, item) {
		return nil
	}
	stream := n.plan.Items[item].Stream
	attr := stream.Schema.Index(r.Name)
	if attr < 0 {
		c.errorf(r.Pos, "unknown attribute %s of %s, an event of stream %s%s", tick(r.Name), tick(n.title(item)), tick(streamText(stream)), didYouMean(r.Name, attrNames(stream.Schema)))
		return nil
	}
	return n.value(c, r, item, attr)
}

// value returns attribute attr of the event that a reference means.
func (n *patternNames) value(c *exprChecker, r *Ref, item, attr int) Expr {
	step := &n.plan.Steps[n.step[item]]
	a := n.plan.Items[item].Stream.Schema.Attrs[attr]
	if a.Type == 0 {
		return nil // its definition was reported
	}
	v := Held{Item: item, Attr: attr}
	switch {
	case item == n.self && r.Index == nil, item == n.self && !step.Count && r.Index.N == 0:
		return &Attr{Index: attr, Attr: a}
	case r.Index != nil:
		v.Last, v.N = r.Index.Last, r.Index.N
	case step.Count && n.self < 0:
		c.errorf(r.Pos, "%s collects several events: write %s or %s", tick(n.title(item)), tick(n.title(item)+"[0]."+r.Name), tick(n.title(item)+"[last]."+r.Name))
		return nil
	case step.Count:
		v.Last = true
	}
	if !step.Count && v.N == 0 {
		v.Last = false // both are its one event
	}
	return n.add(v, a)
}

// add returns a value of the match as an attribute of the schema.
func (n *patternNames) add(v Held, a event.Attr) Expr {
	at := slices.Index(*n.held, v)
	if at < 0 {
		at = len(*n.held)
		*n.held = append(*n.held, v)
		n.schema.Attrs = append(n.schema.Attrs, a)
	}
	return &Attr{Index: n.own + at, Attr: a}
}

// bare resolves an attribute without a step: of the own stream in a filter, else of the one
// step whose stream has it.
func (n *patternNames) bare(c *exprChecker, r *Ref, s *scope) Expr {
	if n.self >= 0 {
		stream := n.plan.Items[n.self].Stream
		i := stream.Schema.Index(r.Name)
		if i < 0 {
			c.errorf(r.Pos, "unknown attribute %s of stream %s: %s; attributes of earlier events are written with their step, as in `e1.%s`",
				tick(r.Name), tick(streamText(stream)), "it has "+listOf(attrNames(stream.Schema), "and"), shorten(r.Name))
			return nil
		}
		return n.value(c, r, n.self, i)
	}
	var have []int
	for i := range n.plan.Items {
		if item := &n.plan.Items[i]; !item.Absent && item.Stream.Schema.Index(r.Name) >= 0 {
			have = append(have, i)
		}
	}
	switch len(have) {
	case 0:
		hint := didYouMean(r.Name, n.attrs())
		if slices.Contains(s.outputs, r.Name) {
			hint = ": it is named by select, which " + clauseText(s.clause) + " does not see"
		}
		c.errorf(r.Pos, "no step of the pattern has an attribute %s%s", tick(r.Name), hint)
		return nil
	case 1:
		if n.plan.Steps[n.step[have[0]]].Count { // the first event
			r = &Ref{Pos: r.Pos, Name: r.Name, Index: &RefIndex{}}
		}
		return n.value(c, r, have[0], n.plan.Items[have[0]].Stream.Schema.Index(r.Name))
	}
	c.errorf(r.Pos, "the steps %s each have an attribute %s: write which one, as in %s", listOf(n.titles(have), "and"), tick(r.Name), tick(n.title(have[0])+"."+r.Name))
	return nil
}

// attrs lists the attributes of all steps.
func (n *patternNames) attrs() []string {
	var list []string
	for i := range n.plan.Items {
		for _, name := range attrNames(n.plan.Items[i].Stream.Schema) {
			if !slices.Contains(list, name) {
				list = append(list, name)
			}
		}
	}
	return list
}

func (n *patternNames) titles(items []int) []string {
	list := make([]string, len(items))
	for i, item := range items {
		list[i] = n.title(item)
	}
	return list
}

// title is the name of an item, or of its stream.
func (n *patternNames) title(item int) string {
	if name := n.defs[item].Name.Text; name != "" {
		return name
	}
	return n.defs[item].Source.String()
}

// lookup returns the item that a name stands for: the one with this name, else the first
// without a name that reads this stream; -1 if there is none.
func (n *patternNames) lookup(name string, inner bool) int {
	for i, d := range n.defs {
		if !inner && d.Name.Text == name {
			return i
		}
	}
	absent := -1
	for i, d := range n.defs {
		if d.Name.Text == "" && d.Source.Name == name && d.Source.Inner == inner && !d.Source.Fault {
			if !d.Not {
				return i
			}
			if absent < 0 {
				absent = i
			}
		}
	}
	return absent
}

// find returns the item that a reference names; -1 after an error.
func (n *patternNames) find(c *exprChecker, r *Ref, s *scope) int {
	if i := n.lookup(r.Stream, r.Inner); i >= 0 {
		return i
	}
	for i, d := range n.defs {
		if d.Source.Name == r.Stream && d.Source.Inner == r.Inner && d.Name.Text != "" {
			c.errorf(r.Pos, "found %s, but the step that reads stream %s has the name %s: write %s", tick(textOf(r)), tick(d.Source.String()), tick(n.title(i)), tick(n.title(i)+"."+r.Name))
			return -1
		}
	}
	var names []string
	for i := range n.defs {
		if !n.defs[i].Not {
			names = append(names, n.title(i))
		}
	}
	c.errorf(r.Pos, "no step of the pattern is called %s%s", tick(StreamRef{Inner: r.Inner, Name: r.Stream}.String()), didYouMean(r.Stream, names))
	return -1
}

// reachable refuses references to events that are not there yet, or never are.
func (n *patternNames) reachable(c *exprChecker, r *Ref, s *scope, item int) bool {
	if n.plan.Items[item].Absent && item != n.self {
		c.errorf(r.Pos, "found %s, but %s must not come: it has no attributes to read", tick(textOf(r)), tick(n.defs[item].Source.String()))
		return false
	}
	if n.self < 0 || item == n.self {
		return true
	}
	switch at, own := n.step[item], n.step[n.self]; {
	case at > own:
		c.errorf(r.Pos, "found %s in a filter of the step before it: expected the event itself or one of an earlier step; write the condition in the filter of %s", tick(textOf(r)), tick(n.title(item)))
		return false
	case at == own:
		c.errorf(r.Pos, "found %s in a filter of its partner: either of the two may come first; write the condition after `having`, or let a query after this one have it", tick(textOf(r)))
		return false
	}
	return true
}

// absent implements names.
func (n *patternNames) absent(c *exprChecker, r *Ref, s *scope) Expr {
	name := r.Stream
	if r.Index == nil {
		if r.Stream != "" {
			return nil
		}
		if name = r.Name; n.lookup(name, r.Inner) < 0 || n.hasOwn(name) {
			return nil
		}
	} else if r.Name != "" {
		return nil
	}
	item := n.find(c, &Ref{Pos: r.Pos, Inner: r.Inner, Stream: name, Name: "…"}, s)
	if item < 0 || !n.reachable(c, r, s, item) {
		return nil
	}
	v := Held{Item: item, Attr: HeldPresent}
	if r.Index != nil {
		v.Last, v.N = r.Index.Last, r.Index.N
	}
	return &IsNull{X: n.add(v, event.Attr{Name: name, Type: event.Bool})}
}

// hasOwn reports whether the stream of the filter has an attribute of this name.
func (n *patternNames) hasOwn(name string) bool {
	return n.self >= 0 && n.plan.Items[n.self].Stream.Schema.Index(name) >= 0
}

// eventTime checks eventTimestamp(e1); nil if n is another call.
func (n *patternNames) eventTime(c *exprChecker, f *Func, s *scope) Expr {
	if f.Name != "eventTimestamp" || len(f.Args) != 1 {
		return nil
	}
	r, ok := f.Args[0].(*Ref)
	if !ok || r.Stream != "" && r.Name != "" {
		return nil
	}
	name := r.Stream + r.Name
	item := n.lookup(name, r.Inner)
	if item < 0 || !n.reachable(c, r, s, item) {
		return nil
	}
	v := Held{Item: item, Attr: HeldTime}
	if r.Index != nil {
		v.Last, v.N = r.Index.Last, r.Index.N
	}
	return n.add(v, event.Attr{Name: name, Type: event.Long})
}

// star implements names: the attributes of all steps, in the order written.
func (n *patternNames) star(c *exprChecker, d *QueryDef) []event.Attr {
	first := map[string]int{}
	for i := range n.plan.Items {
		item := &n.plan.Items[i]
		if item.Absent {
			continue
		}
		if n.plan.Steps[n.step[i]].Count {
			c.errorf(d.Pos, "`select *` of a pattern with %s, which collects several events: name what to select, as in `%s[0].%s as …`",
				tick(n.title(i)), n.title(i), item.Stream.Schema.Attrs[0].Name)
			return nil
		}
		for a, attr := range item.Stream.Schema.Attrs {
			if other, taken := first[attr.Name]; taken {
				c.errorf(d.Pos, "`select *` of a pattern where %s and %s both have an attribute %s: name what to select, as in `%s.%s as …`",
					tick(n.title(other)), tick(n.title(i)), tick(attr.Name), n.title(i), attr.Name)
				return nil
			}
			first[attr.Name] = i
			n.add(Held{Item: i, Attr: a}, attr)
		}
	}
	return n.schema.Attrs
}
