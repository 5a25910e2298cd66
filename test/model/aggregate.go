package model

import (
	"fmt"
	"math"
	"math/big"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// aggregator is one aggregator of one group (6).
type aggregator interface {
	add(v any)
	remove(v any)
	result() any
}

func newAggregator(a siddhiql.Agg) aggregator {
	switch a.Name {
	case "count":
		return &count{}
	case "sum":
		if a.Type == event.Long {
			return &sumLong{}
		}
		return &sumDouble{}
	case "avg":
		return &avg{}
	case "min":
		return &extreme{sign: -1}
	case "max":
		return &extreme{sign: 1}
	case "distinctCount":
		return &distinct{counts: map[any]int{}}
	default:
		panic(fmt.Sprintf("the model knows no aggregator %q", a.Name))
	}
}

// count counts nulls, too.
type count struct{ n int64 }

func (c *count) add(any)     { c.n++ }
func (c *count) remove(any)  { c.n-- }
func (c *count) result() any { return c.n }

// sumLong wraps at 64 bits. It ignores nulls; the sum of no values is null, except in a row that
// adds a value after others were removed that had not been added.
type sumLong struct {
	total, n int64
	added    bool
}

func (s *sumLong) add(v any) {
	if s.added = v != nil; v != nil {
		s.total, s.n = s.total+toLong(v), s.n+1
	}
}

func (s *sumLong) remove(v any) {
	if s.added = false; v != nil {
		s.total, s.n = s.total-toLong(v), s.n-1
	}
}

func (s *sumLong) result() any {
	if s.n == 0 && !s.added {
		return nil
	}
	return s.total
}

// sumDouble is the exact sum of its values, rounded once. Infinite values and NaN decide the
// result. A join can remove values that it has not added: they are owed.
type sumDouble struct {
	values, owed []float64
	added        bool
}

func (s *sumDouble) add(v any) {
	if s.added = v != nil; v != nil {
		s.values, s.owed = exchange(s.values, s.owed, toDouble(v))
	}
}

func (s *sumDouble) remove(v any) {
	if s.added = false; v != nil {
		s.owed, s.values = exchange(s.owed, s.values, toDouble(v))
		s.settle()
	}
}

// exchange removes v from the list from, or appends it to the list into if it is not there.
func exchange(into, from []float64, v float64) (list, other []float64) {
	bits := math.Float64bits(v)
	if i := slices.IndexFunc(from, func(o float64) bool { return math.Float64bits(o) == bits }); i >= 0 {
		return into, slices.Delete(from, i, i+1)
	}
	return append(into, v), from
}

// settle makes the sum exactly 0 when the last value is removed.
func (s *sumDouble) settle() {
	if s.n() == 0 {
		s.values, s.owed = nil, nil
	}
}

func (s *sumDouble) n() int { return len(s.values) - len(s.owed) }

// exact returns the sum divided by 2^scale.
func (s *sumDouble) exact(scale int) float64 {
	sum := new(big.Float).SetPrec(2200)
	odd := 0.0
	for _, v := range s.values {
		if v-v != 0 {
			odd += v
			continue
		}
		sum.Add(sum, new(big.Float).SetFloat64(v))
	}
	for _, v := range s.owed {
		if v-v != 0 {
			continue
		}
		sum.Sub(sum, new(big.Float).SetFloat64(v))
	}
	if odd != 0 { // infinite, or NaN
		return odd
	}
	total, _ := sum.SetMantExp(sum, -scale).Float64()
	return total
}

func (s *sumDouble) result() any {
	if s.n() == 0 && !s.added {
		return nil
	}
	return s.exact(0)
}

// avg is the sum as double, for longs too, divided by the count. It does not overflow.
type avg struct{ sum sumDouble }

func (a *avg) add(v any)    { a.sum.add(v) }
func (a *avg) remove(v any) { a.sum.remove(v) }

func (a *avg) result() any {
	if a.sum.n() == 0 {
		return nil
	}
	n := float64(a.sum.n())
	if total := a.sum.exact(0); !math.IsInf(total, 0) || math.IsInf(a.sum.exact(64), 0) {
		return total / n
	}
	return math.Ldexp(a.sum.exact(64)/n, 64)
}

// extreme is min (sign -1) or max (sign 1) over a multiset (correction 1).
type extreme struct {
	sign   int
	values []any
}

func (e *extreme) add(v any) {
	if v != nil {
		e.values = append(e.values, v)
	}
}

func (e *extreme) remove(v any) {
	for i, have := range e.values {
		if identity(have) == identity(v) {
			e.values = append(e.values[:i], e.values[i+1:]...)
			return
		}
	}
}

func (e *extreme) result() any {
	var best any
	for _, v := range e.values {
		if best == nil || compareTotal(v, best)*e.sign > 0 {
			best = v
		}
	}
	return best
}

// distinct counts distinct values, null included.
type distinct struct{ counts map[any]int }

func (d *distinct) add(v any) { d.counts[identity(v)]++ }

func (d *distinct) remove(v any) {
	v = identity(v)
	if d.counts[v] > 1 {
		d.counts[v]--
	} else {
		delete(d.counts, v) // ignored for a value that was never added
	}
}

func (d *distinct) result() any { return int64(len(d.counts)) }

// identity maps values so that Go's equality matches Java's equals: NaN equals NaN, 0.0 differs
// from -0.0.
func identity(v any) any {
	switch v := v.(type) {
	case float32:
		return math.Float64bits(float64(v))
	case float64:
		return math.Float64bits(v)
	default:
		return v
	}
}
