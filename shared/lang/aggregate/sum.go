package aggregate

import "github.com/eventflux/eventflux/shared/lang/event"

func init() {
	Register(Spec{
		Name:    "sum",
		Version: "1.0.0",
		Usage:   "sum(number)",
		Doc:     "the sum, exact; nulls are ignored",
		Result: oneNumber(func(arg event.Type) event.Type {
			if arg.Class() == event.Reals {
				return event.Double
			}
			return event.Long
		}),
		New: func(args []event.Type) Aggregate {
			if args[0].Class() == event.Reals {
				return &realSum{}
			}
			return &intSum{}
		},
	})
	Register(Spec{
		Name:    "avg",
		Version: "1.0.0",
		Usage:   "avg(number)",
		Doc:     "the sum divided by the number of values",
		Result:  oneNumber(func(event.Type) event.Type { return event.Double }),
		New:     func(args []event.Type) Aggregate { return &average{class: args[0].Class()} },
	})
}

// intSum adds in 64 bits and wraps, so that adding and removing a value changes nothing. A
// join can take away values that it has not added: they stay in the sum.
type intSum struct{ groups []intTotal }

type intTotal struct{ sum, n int64 }

func (a *intSum) Add(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	g.sum += v.Int
	g.n++
}

func (a *intSum) Remove(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	g.sum -= v.Int
	g.n--
}

func (a *intSum) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	out.Int, out.Null = g.sum, g.n == 0
}

func (a *intSum) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot] = intTotal{}
}

type realSum struct{ groups []realTotal }

func (a *realSum) Add(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	a.groups[slot].add(v.Real)
}

func (a *realSum) Remove(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	a.groups[slot].remove(v.Real)
}

func (a *realSum) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	out.Real, out.Null = g.total(), g.n == 0
}

func (a *realSum) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot] = realTotal{}
}

type average struct {
	class  event.Class
	groups []realTotal
}

func (a *average) Add(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	a.groups[slot].add(real(v, a.class))
}

func (a *average) Remove(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	a.groups[slot].remove(real(v, a.class))
}

func (a *average) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	out.Null = g.n == 0
	if out.Null {
		out.Real = 0
		return
	}
	out.Real = g.mean()
}

func (a *average) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot] = realTotal{}
}
