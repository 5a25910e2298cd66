package exactmath

import "math"

// expMinus1 returns m and k such that e^x = (1 + m) * 2^k, where k is 0 for small x. x is at
// most about 1000 in either direction.
func expMinus1(x pair) (m pair, k int) {
	n := math.Round(x.hi / ln2High)
	r := x.minus(ln2.times(of(n)))
	const halvings = 9
	r = r.power2(-halvings)
	term := r
	for i := 2; i <= 9; i++ { // the Taylor series of e^r - 1
		term = term.times(r)
		m = m.plus(term.times(inverseFactorials[i]))
	}
	m = m.plus(r)
	for range halvings { // (1+m)^2 - 1
		m = m.power2(1).plus(m.times(m))
	}
	return m, int(n)
}

// powerOfE returns e^x as a float64.
func powerOfE(x pair, factor int) float64 {
	switch {
	case x.hi != x.hi:
		return x.hi
	case x.hi > 800:
		return math.Inf(1)
	case x.hi < -800:
		return 0
	}
	m, k := expMinus1(x)
	return math.Ldexp(m.plus(of(1)).number(), k+factor)
}

// Exp returns e^x.
func Exp(x float64) float64 { return powerOfE(of(x), 0) }

// small is a bound below which sin x, tan x and the like are x.
const small = 1.0 / (1 << 27)

// large is a bound above which e^-x is nothing beside e^x.
const large = 40

// expOf returns e^x - 1, for |x| up to twice large.
func expOf(x float64) pair {
	m, k := expMinus1(of(x))
	return of(math.Ldexp(1, k) - 1).plus(m.power2(k))
}

// Sinh returns the hyperbolic sine of x.
func Sinh(x float64) float64 {
	a := math.Abs(x)
	if !(a >= small) {
		return x
	}
	var y float64
	if a > large {
		y = powerOfE(of(a), -1)
	} else {
		m := expOf(a)
		y = m.plus(m.over(m.plus(of(1)))).number() / 2
	}
	return math.Copysign(y, x)
}

// Cosh returns the hyperbolic cosine of x.
func Cosh(x float64) float64 {
	a := math.Abs(x)
	if !(a <= large) {
		return powerOfE(of(a), -1)
	}
	e := expOf(a).plus(of(1))
	return e.plus(of(1).over(e)).number() / 2
}

// Tanh returns the hyperbolic tangent of x.
func Tanh(x float64) float64 {
	a := math.Abs(x)
	switch {
	case !(a >= small):
		return x
	case a > large:
		return math.Copysign(1, x)
	}
	m := expOf(float64(2 * a))
	return math.Copysign(m.over(m.plus(of(2))).number(), x)
}

// ln returns m and k such that ln(x) = m + k*ln(2). x is positive.
func ln(x float64) (m pair, k int) {
	f, k := math.Frexp(x)
	if f < math.Sqrt2/2 {
		f, k = f*2, k-1
	}
	z := (f - 1) / (f + 1)
	zz := float64(z * z)
	y := of(float64(2 * z * (1 + float64(zz*(1.0/3+float64(zz/5))))))
	for range 2 { // Halley's method
		m, _ := expMinus1(y)
		y = y.plus(of(f - 1).minus(m).power2(1).over(of(f).plus(of(1)).plus(m)))
	}
	return y, k
}

// logarithm returns the natural logarithm as a pair, if x has one that is finite.
func logarithm(x float64) (y pair, ok bool) {
	if !(x > 0) || math.IsInf(x, 1) {
		return pair{}, false
	}
	m, k := ln(x)
	return m.plus(ln2.times(of(float64(k)))), true
}

// noLogarithm is the result for the numbers without a logarithm that is finite.
func noLogarithm(x float64) float64 {
	switch {
	case x == 0:
		return math.Inf(-1)
	case x > 0:
		return x
	}
	return math.NaN()
}

// Log returns the natural logarithm of x.
func Log(x float64) float64 {
	if y, ok := logarithm(x); ok {
		return y.number()
	}
	return noLogarithm(x)
}

// LogTo returns the logarithm of x to a base.
func LogTo(x, base float64) float64 {
	y, ok := logarithm(x)
	b, and := logarithm(base)
	if !ok || !and || b.hi == 0 {
		return Log(x) / Log(base)
	}
	return y.over(b).number()
}

// Log10 returns the logarithm of x to base 10.
func Log10(x float64) float64 {
	if y, ok := logarithm(x); ok {
		return y.over(ln10).number()
	}
	return noLogarithm(x)
}

// Log2 returns the logarithm of x to base 2.
func Log2(x float64) float64 {
	if _, ok := logarithm(x); !ok {
		return noLogarithm(x)
	}
	m, k := ln(x)
	return m.over(ln2).plus(of(float64(k))).number()
}

// Pow returns x^y, in special cases as math.Pow does.
func Pow(x, y float64) float64 {
	whole := y == math.Trunc(y) && !math.IsInf(y, 0)
	odd := whole && math.Mod(y, 2) != 0
	switch {
	case y == 0 || x == 1:
		return 1
	case x != x || y != y:
		return math.NaN()
	case math.IsInf(y, 0) || x == 0 || math.IsInf(x, 0):
		return powAtTheEnds(x, y, odd)
	case x < 0 && !whole:
		return math.NaN()
	}
	l, _ := logarithm(math.Abs(x))
	p := powerOfE(product(l, y), 0)
	if x < 0 && odd {
		return -p
	}
	return p
}

// product returns l * y for an exponent of e: beyond 1000 it only matters that it is.
func product(l pair, y float64) pair {
	if p := float64(l.hi * y); math.Abs(p) > 1000 {
		return of(p)
	}
	return l.times(of(y))
}

// powAtTheEnds returns x^y where one of them is infinite, or x is 0.
func powAtTheEnds(x, y float64, odd bool) float64 {
	a := math.Abs(x)
	if a == 1 {
		return 1 // y is infinite
	}
	if (a > 1) != (y > 0) {
		if odd {
			return math.Copysign(0, x)
		}
		return 0
	}
	if odd && math.Signbit(x) {
		return math.Inf(-1)
	}
	return math.Inf(1)
}

// Cbrt returns the cube root of x.
func Cbrt(x float64) float64 {
	if x == 0 || x != x || math.IsInf(x, 0) {
		return x
	}
	f, e := math.Frexp(math.Abs(x))
	for e%3 != 0 {
		f, e = f/2, e+1
	}
	m := of(f) // from 1/8 to 1
	y := of(.4 + float64(.6*f))
	for range 4 { // Halley's method
		cube := y.times(y).times(y)
		y = y.times(cube.plus(m.power2(1)).over(cube.power2(1).plus(m)))
	}
	return math.Copysign(math.Ldexp(y.number(), e/3), x)
}
