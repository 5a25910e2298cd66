package siddhiql

import "github.com/eventflux/eventflux/shared/lang/event"

// Join is the input of a query that reads two sources together. The rows of Query.In have the
// attributes of the left source, then those of the right one, then two of type bool that are
// true where a row has a left, and a right, source row, and null where it has none.
type Join struct {
	Sides [2]Side // the left and the right one
	Type  JoinType
	On    Expr // over In, of type Bool; nil: every pair
	// Keys and Rest are On taken apart: a pair meets On if all keys are equal, as Compare
	// compares them, and Rest holds. Rest is nil if nothing is left.
	Keys []JoinKey
	Rest Expr
}

// Side is one source of a join.
type Side struct {
	Stream *Stream
	Name   string // that the query calls it
	Base   int    // its first attribute in In
	// Triggers is set if its rows are looked up in the other side.
	Triggers bool
	// Preserved is set if its rows come out without a match, too.
	Preserved bool
	Before    []Expr  // filters, over Stream
	Window    *Window // nil: none
}

// JoinKey is one equality of a condition. Each expression is over its side's stream alone.
type JoinKey struct {
	Of [2]Expr
	// Class is how both are compared: numbers as Reals if one of them is.
	Class event.Class
}

// KeysOf returns the parts of the keys that a side has, and how they are compared.
func (j *Join) KeysOf(side int) (exprs []Expr, classes []event.Class) {
	for _, k := range j.Keys {
		exprs, classes = append(exprs, k.Of[side]), append(classes, k.Class)
	}
	return exprs, classes
}

func (j *Join) reads() []*Stream {
	var streams []*Stream
	for i := range j.Sides {
		s := j.Sides[i].Stream
		if s.Table == nil && (len(streams) == 0 || streams[0] != s) {
			streams = append(streams, s)
		}
	}
	return streams
}

func (j *Join) origin(a int) (*Stream, int, bool) {
	for i := range j.Sides {
		s := &j.Sides[i]
		if n := a - s.Base; n >= 0 && n < len(s.Stream.Schema.Attrs) {
			return s.Stream, n, true
		}
	}
	return nil, 0, false
}

// Present returns the attribute of In that is null where a row has no source row of a side.
func (j *Join) Present(side int) int {
	return len(j.Sides[0].Stream.Schema.Attrs) + len(j.Sides[1].Stream.Schema.Attrs) + side
}

// SelfJoin reports whether both sides are the same stream.
func (j *Join) SelfJoin() bool { return j.Sides[0].Stream == j.Sides[1].Stream }

// takeApart finds the keys of the condition.
func (j *Join) takeApart() {
	j.Rest = nil
	for _, e := range conjuncts(j.On) {
		if k, ok := j.key(e); ok {
			j.Keys = append(j.Keys, k)
		} else if j.Rest == nil {
			j.Rest = e
		} else {
			j.Rest = &And{L: j.Rest, R: e}
		}
	}
}

// conjuncts returns the conditions that all must hold for e to hold; none if e is nil.
func conjuncts(e Expr) []Expr {
	switch e := e.(type) {
	case nil:
		return nil
	case *And:
		return append(conjuncts(e.L), conjuncts(e.R)...)
	}
	return []Expr{e}
}

func (j *Join) key(e Expr) (k JoinKey, ok bool) {
	c, ok := e.(*Compare)
	if !ok || c.Op != Equal || readsClock(c) {
		return k, false
	}
	l, r := j.sideOf(c.L), j.sideOf(c.R)
	if l < 0 || r < 0 || l == r {
		return k, false
	}
	k.Of[l], k.Of[r] = shifted(c.L, j.Sides[l].Base), shifted(c.R, j.Sides[r].Base)
	k.Class = keyClass(c)
	return k, true
}

// keyClass returns how the sides of a comparison are compared.
func keyClass(c *Compare) event.Class {
	l, r := valueType(c.L).Class(), valueType(c.R).Class()
	if l == event.Reals || r == event.Reals {
		return event.Reals
	}
	return l
}

// valueType is the type that an expression's values are compared as.
func valueType(e Expr) event.Type {
	if e.Holds() == event.Object {
		return e.Type()
	}
	return e.Holds()
}

// sideOf returns the one side that an expression reads; -1 if it reads none, or both.
func (j *Join) sideOf(e Expr) int {
	side := -1
	both := false
	EachAttr(e, func(a int) {
		of := 0
		switch {
		case a >= j.Present(0):
			both = true
		case a >= j.Sides[1].Base:
			of = 1
		}
		both = both || side >= 0 && side != of
		side = of
	})
	if both {
		return -1
	}
	return side
}

// EachAttr calls visit for every attribute that an expression reads.
func EachAttr(e Expr, visit func(attr int)) { EachRef(e, func(a *Attr) { visit(a.Index) }) }

// EachRef is EachAttr with the attributes themselves.
func EachRef(e Expr, visit func(*Attr)) {
	switch e := e.(type) {
	case *Attr:
		visit(e)
	case *InRows:
		EachRef(e.On, func(a *Attr) {
			if a.Index < e.Base {
				visit(a)
			}
		})
	case *Arith:
		EachRef(e.L, visit)
		EachRef(e.R, visit)
	case *Compare:
		EachRef(e.L, visit)
		EachRef(e.R, visit)
	case *And:
		EachRef(e.L, visit)
		EachRef(e.R, visit)
	case *Or:
		EachRef(e.L, visit)
		EachRef(e.R, visit)
	case *Not:
		EachRef(e.X, visit)
	case *IsNull:
		EachRef(e.X, visit)
	case *Call:
		for _, a := range e.Args {
			EachRef(a, visit)
		}
	}
}

// shifted returns e with all attributes base lower.
func shifted(e Expr, base int) Expr {
	switch e := e.(type) {
	case *Attr:
		return &Attr{Index: e.Index - base, Attr: e.Attr}
	case *Arith:
		return &Arith{Op: e.Op, L: shifted(e.L, base), R: shifted(e.R, base), T: e.T}
	case *Compare:
		return &Compare{Op: e.Op, L: shifted(e.L, base), R: shifted(e.R, base)}
	case *And:
		return &And{L: shifted(e.L, base), R: shifted(e.R, base)}
	case *Or:
		return &Or{L: shifted(e.L, base), R: shifted(e.R, base)}
	case *Not:
		return &Not{X: shifted(e.X, base)}
	case *IsNull:
		return &IsNull{X: shifted(e.X, base)}
	case *Call:
		c := *e
		c.Args = make([]Expr, len(e.Args))
		for i, a := range e.Args {
			c.Args[i] = shifted(a, base)
		}
		return &c
	}
	return e
}
