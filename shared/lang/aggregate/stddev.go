package aggregate

import (
	"encoding/binary"
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	Register(Spec{
		Name:    "stdDev",
		Version: "1.0.0",
		Usage:   "stdDev(number)",
		Doc:     "the standard deviation of the values as a population",
		Result:  oneNumber(func(event.Type) event.Type { return event.Double }),
		New:     func(args []event.Type) Aggregate { return &deviation{class: args[0].Class()} },
	})
}

// deviation is the standard deviation of a population. It keeps the exact sums of the values
// and of their squares, so that a value that leaves takes away what it added, and equal
// values deviate by exactly 0.
type deviation struct {
	class  event.Class
	groups []moments
}

// moments are the sums of one group. sum counts the values; squares does not.
type moments struct{ sum, squares realTotal }

func (g *moments) change(v float64, sign float64, by int64) {
	square, rest := exactProduct(v, v)
	g.squares.change(square, sign*square, by)
	g.squares.change(rest, sign*rest, by)
	if by > 0 {
		g.sum.add(v)
	} else {
		g.sum.remove(v)
	}
	if m := g.squares.more; g.sum.n == 0 && (m == nil || !m.wide && m.nan == 0 && m.above == 0 && m.below == 0) {
		g.squares.hi, g.squares.lo = 0, 0
	}
}

// exactProduct returns a*b rounded, and what rounding took away. That is exact unless the
// product is beyond the range of double, or so small that it loses digits.
func exactProduct(a, b float64) (product, rest float64) {
	product = float64(a * b)
	if product-product != 0 {
		return product, 0
	}
	return product, math.FMA(a, b, -product)
}

func (a *deviation) Add(slot int, args []Value) {
	a.groups = grow(a.groups, slot)
	if v := &args[0]; !v.Null {
		a.groups[slot].change(real(v, a.class), 1, 1)
	}
}

func (a *deviation) Remove(slot int, args []Value) {
	a.groups = grow(a.groups, slot)
	if v := &args[0]; !v.Null {
		a.groups[slot].change(real(v, a.class), -1, -1)
	}
}

func (a *deviation) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	if out.Null = g.sum.n == 0; out.Null {
		out.Real = 0
		return
	}
	out.Real = canonical(g.deviation())
}

// deviation computes sqrt(n·Σx² − (Σx)²) / n. The difference is exact, and rounded once.
func (g *moments) deviation() float64 {
	if odd := g.sum.total() - g.sum.total(); odd != 0 {
		return math.NaN() // a value is not finite
	}
	if squares := g.squares.total(); squares-squares != 0 {
		return squares
	}
	var d realTotal
	n := float64(g.sum.n)
	for _, square := range g.squares.terms() {
		p, rest := exactProduct(n, square)
		d.change(p, p, 1)
		d.change(rest, rest, 1)
	}
	sum := g.sum.terms()
	for i, x := range sum {
		for j, y := range sum[i:] {
			p, rest := exactProduct(x, y)
			if j > 0 {
				p, rest = 2*p, 2*rest
			}
			d.change(p, -p, 1)
			d.change(rest, -rest, 1)
		}
	}
	return float64(math.Sqrt(max(d.total(), 0))) / n
}

// terms returns doubles whose sum is the total: exactly, unless it has digits in more than
// three of them.
func (t *realTotal) terms() [3]float64 {
	if t.more == nil || !t.more.wide {
		return [3]float64{t.hi, t.lo}
	}
	var terms [3]float64
	rest := *t.more.digits
	for i := range terms {
		terms[i] = rest.round(0)
		rest.add(-terms[i])
	}
	return terms
}

func (a *deviation) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot] = moments{}
}

// Empty implements Aggregate.
func (a *deviation) Empty(slot int) bool {
	var state [64]byte
	return len(a.AppendState(state[:0], slot)) == 0
}

// AppendState writes the sum of the values with its length, and the sum of the squares.
func (a *deviation) AppendState(dst []byte, slot int) []byte {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	var scratch [64]byte
	sum := g.sum.appendState(scratch[:0])
	head := len(dst)
	dst = append(binary.AppendUvarint(dst, uint64(len(sum))), sum...)
	start := len(dst)
	if dst = g.squares.appendState(dst); len(sum) == 0 && len(dst) == start {
		return dst[:head]
	}
	return dst
}

func (a *deviation) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	sum := r.Bytes(r.Count(1))
	if len(sum) == 0 && r.Len() == 0 {
		r.Fail("empty sums that are written")
	}
	squares := r.Bytes(r.Len())
	if err := r.end("stdDev"); err != nil {
		return err
	}
	var g moments
	if err := g.sum.load(sum, "stdDev"); err != nil {
		return err
	}
	if err := g.squares.load(squares, "stdDev"); err != nil {
		return err
	}
	a.groups[slot] = g
	return nil
}
