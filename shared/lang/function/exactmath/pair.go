package exactmath

import "math"

// pair is the number hi + lo, where hi is the sum rounded to a float64. The algorithms are from
// Y. Hida, X. Li, D. Bailey: Library for Double-Double and Quad-Double Arithmetic, 2007.
type pair struct{ hi, lo float64 }

func of(x float64) pair { return pair{hi: x} }

// exactSum returns a + b without an error.
func exactSum(a, b float64) pair {
	s := a + b
	t := s - a
	return pair{s, (a - (s - t)) + (b - t)}
}

// orderedSum returns a + b without an error, if a is not the smaller of the two.
func orderedSum(a, b float64) pair {
	s := a + b
	return pair{s, b - (s - a)}
}

// exactProduct returns a * b without an error.
func exactProduct(a, b float64) pair {
	p := float64(a * b)
	return pair{p, math.FMA(a, b, -p)}
}

func (a pair) plus(b pair) pair {
	s, t := exactSum(a.hi, b.hi), exactSum(a.lo, b.lo)
	s = orderedSum(s.hi, s.lo+t.hi)
	return orderedSum(s.hi, s.lo+t.lo)
}

func (a pair) minus(b pair) pair { return a.plus(b.negative()) }

func (a pair) negative() pair { return pair{-a.hi, -a.lo} }

func (a pair) times(b pair) pair {
	p := exactProduct(a.hi, b.hi)
	return orderedSum(p.hi, p.lo+(float64(a.hi*b.lo)+float64(a.lo*b.hi)))
}

func (a pair) over(b pair) pair {
	q := a.hi / b.hi
	rest := a.minus(b.times(of(q)))
	r := rest.hi / b.hi
	rest = rest.minus(b.times(of(r)))
	return orderedSum(q, r).plus(of(rest.hi / b.hi))
}

// power2 returns a * 2^n, where that needs no rounding.
func (a pair) power2(n int) pair { return pair{math.Ldexp(a.hi, n), math.Ldexp(a.lo, n)} }

func (a pair) root() pair {
	if a.hi == 0 {
		return pair{}
	}
	x := math.Sqrt(a.hi)
	rest := a.minus(exactProduct(x, x))
	return orderedSum(x, rest.hi/float64(2*x))
}

// number rounds the pair to a float64.
func (a pair) number() float64 { return a.hi + a.lo }

// The constants of package math have more than 200 bits. The parts that are written here are
// their first and second 53 bits.
const (
	halfPi1 = 0x1.921fb54442d18p+0
	halfPi2 = 0x1.1a62633145c07p-54
	halfPi3 = math.Pi/2 - halfPi1 - halfPi2

	ln2High  = 0x1.62e42fefa39efp-1
	ln10High = 0x1.26bb1bbb55516p+1
)

var (
	halfPi = pair{halfPi1, halfPi2}
	ln2    = pair{ln2High, math.Ln2 - ln2High}
	ln10   = pair{ln10High, math.Ln10 - ln10High}
)

// inverseFactorials has 1/n!.
var inverseFactorials = func() (list [30]pair) {
	list[0] = of(1)
	for n := 1; n < len(list); n++ {
		list[n] = list[n-1].over(of(float64(n)))
	}
	return list
}()
