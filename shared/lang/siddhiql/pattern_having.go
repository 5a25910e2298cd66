package siddhiql

import "github.com/eventflux/eventflux/shared/lang/event"

// havingNames resolves references in the having clause of a pattern: bare names are outputs, and
// e1.v is an attribute of a step. The values of the match come after the outputs.
type havingNames struct {
	*patternNames
	out *event.Schema
}

// having returns the scope of the having clause. s is the scope of the outputs.
func (n *patternNames) having(s *scope) *scope {
	steps := *n
	steps.own = len(s.schema.Attrs)
	h := *s
	h.names = &havingNames{patternNames: &steps, out: s.schema}
	h.schema = &event.Schema{Name: s.schema.Name, Attrs: s.schema.Attrs}
	return &h
}

// ref implements names.
func (n *havingNames) ref(c *exprChecker, r *Ref, s *scope) Expr {
	if r.Stream != "" || r.Index != nil {
		return n.patternNames.ref(c, r, s)
	}
	i := n.out.Index(r.Name)
	switch {
	case i < 0:
		c.unknownAttr(r, s)
		return nil
	case n.out.Attrs[i].Type == 0:
		return nil // its expression was reported
	}
	return &Attr{Index: i, Attr: n.out.Attrs[i]}
}

// absent implements names. An output hides a step of its name.
func (n *havingNames) absent(c *exprChecker, r *Ref, s *scope) Expr {
	if r.Stream == "" && r.Index == nil && n.out.Index(r.Name) >= 0 {
		return nil
	}
	return n.patternNames.absent(c, r, s)
}
