package aggregate

import (
	"math"

	"eventflux/shared/event"
)

func init() {
	Register(Spec{
		Name:    "sum",
		Version: "1.0.0",
		Usage:   "sum(number)",
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
		Result:  oneNumber(func(event.Type) event.Type { return event.Double }),
		New:     func(args []event.Type) Aggregate { return &average{class: args[0].Class()} },
	})
}

// intSum adds in 64 bits and wraps, so that what is added and removed again
// leaves nothing behind.
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
	out.Real = g.total() / float64(g.n)
}

func (a *average) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot] = realTotal{}
}

// realTotal is a sum of doubles with Neumaier's compensation (A. Neumaier,
// Rundungsfehleranalyse einiger Verfahren zur Summation endlicher Summen, 1974),
// so that a huge value that came and went takes no digits with it. Values that
// are not finite are only counted: subtracted from a sum, they would stay in it.
type realTotal struct {
	sum, lost float64
	n         int64
	odd       *oddCounts // nil: all values were finite
}

type oddCounts struct{ nan, above, below int64 }

func (t *realTotal) add(v float64) {
	t.n++
	if v-v != 0 { // NaN or infinite
		t.count(v, 1)
		return
	}
	t.accumulate(v)
}

func (t *realTotal) remove(v float64) {
	t.n--
	if v-v != 0 {
		t.count(v, -1)
		return
	}
	if t.n == 0 {
		t.sum, t.lost = 0, 0
		return
	}
	t.accumulate(-v)
}

func (t *realTotal) accumulate(v float64) {
	s := t.sum + v
	if math.Abs(t.sum) >= math.Abs(v) {
		t.lost += (t.sum - s) + v
	} else {
		t.lost += (v - s) + t.sum
	}
	t.sum = s
}

func (t *realTotal) count(v float64, by int64) {
	if t.odd == nil {
		t.odd = &oddCounts{}
	}
	switch {
	case math.IsNaN(v):
		t.odd.nan += by
	case v > 0:
		t.odd.above += by
	default:
		t.odd.below += by
	}
	if *t.odd == (oddCounts{}) {
		t.odd = nil
	}
	if t.n == 0 {
		t.sum, t.lost = 0, 0
	}
}

func (t *realTotal) total() float64 {
	if t.odd != nil {
		switch o := *t.odd; {
		case o.nan > 0 || o.above > 0 && o.below > 0:
			return math.NaN()
		case o.above > 0:
			return math.Inf(1)
		case o.below > 0:
			return math.Inf(-1)
		}
	}
	switch {
	case t.sum != t.sum:
		return math.NaN() // always the same one, whatever the processor yields
	case t.sum-t.sum != 0: // finite values whose sum is none
		return t.sum
	}
	return t.sum + t.lost
}
