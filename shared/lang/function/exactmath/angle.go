package exactmath

import (
	"math"
	"math/big"
	"sync"
)

// reduce returns x less a multiple of half pi, at most a quarter of pi in either direction, and
// the multiple modulo 4.
func reduce(x float64) (r pair, quarter int) {
	if math.Abs(x) > 1<<20 {
		return reduceLarge(x)
	}
	n := math.Round(x / halfPi1)
	a, b := exactProduct(n, halfPi1), exactProduct(n, halfPi2)
	r = exactSum(x-a.hi, -a.lo).minus(b) // x - a.hi is exact, as they are close
	return r.minus(of(float64(n * halfPi3))), int(n) & 3
}

// bits is the precision of the quotient of a number and half pi: all digits before the point, and
// enough digits after it for a number that is close to a multiple.
const bits = 1280

// manyHalfPi computes half pi, by Machin's formula: 2 (4 atan(1/5) - atan(1/239)).
var manyHalfPi = sync.OnceValue(func() *big.Float {
	one := new(big.Int).Lsh(big.NewInt(1), bits+64)
	inverseTangent := func(n int64) *big.Int {
		sum, term := new(big.Int), new(big.Int).Div(one, big.NewInt(n))
		part := new(big.Int)
		for i := int64(1); term.Sign() != 0; i += 2 {
			part.Div(term, big.NewInt(i))
			if i%4 == 1 {
				sum.Add(sum, part)
			} else {
				sum.Sub(sum, part)
			}
			term.Div(term, big.NewInt(n*n))
		}
		return sum
	}
	sum := inverseTangent(5)
	sum.Lsh(sum, 2).Sub(sum, inverseTangent(239)).Lsh(sum, 1)
	pi := new(big.Float).SetPrec(bits).SetInt(sum)
	return pi.SetMantExp(pi, -bits-64)
})

func reduceLarge(x float64) (r pair, quarter int) {
	quotient := new(big.Float).SetPrec(bits).SetFloat64(x)
	rest := new(big.Float).Copy(quotient)
	quotient.Quo(quotient, manyHalfPi())
	half := big.NewFloat(math.Copysign(.5, x))
	n, _ := quotient.Add(quotient, half).Int(nil)
	rest.Sub(rest, new(big.Float).SetPrec(bits).Mul(new(big.Float).SetPrec(bits).SetInt(n), manyHalfPi()))
	r.hi, _ = rest.Float64()
	r.lo, _ = rest.Sub(rest, new(big.Float).SetFloat64(r.hi)).Float64()
	return r, int(new(big.Int).And(n, big.NewInt(3)).Int64())
}

// taylor returns the sine and the cosine of an angle up to a quarter of pi.
func taylor(r pair) (sine, cosine pair) {
	square := r.times(r).negative()
	for i := len(inverseFactorials) - 2; i >= 0; i -= 2 {
		sine = sine.times(square).plus(inverseFactorials[i+1])
		cosine = cosine.times(square).plus(inverseFactorials[i])
	}
	return sine.times(r), cosine
}

// sineAndCosine returns both as pairs. x is finite.
func sineAndCosine(x float64) (sine, cosine pair) {
	r, quarter := reduce(x)
	sine, cosine = taylor(r)
	switch quarter {
	case 1:
		return cosine, sine.negative()
	case 2:
		return sine.negative(), cosine.negative()
	case 3:
		return cosine.negative(), sine
	}
	return sine, cosine
}

func finite(x float64) bool { return x-x == 0 }

// Sin returns the sine of x.
func Sin(x float64) float64 {
	switch {
	case !finite(x):
		return math.NaN()
	case math.Abs(x) < small:
		return x
	}
	sine, _ := sineAndCosine(x)
	return sine.number()
}

// Cos returns the cosine of x.
func Cos(x float64) float64 {
	if !finite(x) {
		return math.NaN()
	}
	_, cosine := sineAndCosine(x)
	return cosine.number()
}

// Tan returns the tangent of x.
func Tan(x float64) float64 {
	switch {
	case !finite(x):
		return math.NaN()
	case math.Abs(x) < small:
		return x
	}
	sine, cosine := sineAndCosine(x)
	return sine.over(cosine).number()
}

// inverseTangent returns the angle of a tangent of at least 0.
func inverseTangent(x pair) pair {
	switch {
	case x.hi > 1:
		return halfPi.minus(inverseTangent(of(1).over(x)))
	case x.hi < small/8:
		return x
	}
	y := of(x.hi / (1 + float64(.28*float64(x.hi*x.hi))))
	for range 3 { // the tangent of what is missing, and the start of the series of its angle
		sine, cosine := taylor(y)
		t := x.times(cosine).minus(sine).over(cosine.plus(x.times(sine)))
		y = y.plus(t).minus(t.times(t).times(t).over(of(3)))
	}
	return y
}

// Atan returns the angle of the tangent x.
func Atan(x float64) float64 {
	switch {
	case !(math.Abs(x) >= small):
		return x
	case math.IsInf(x, 0):
		return math.Copysign(halfPi1, x)
	}
	return math.Copysign(inverseTangent(of(math.Abs(x))).number(), x)
}

// Asin returns the angle of the sine x.
func Asin(x float64) float64 {
	a := math.Abs(x)
	switch {
	case !(a <= 1):
		return math.NaN()
	case a < small:
		return x
	case a == 1:
		return math.Copysign(halfPi1, x)
	}
	cosine := exactSum(1, -a).times(exactSum(1, a)).root()
	return math.Copysign(inverseTangent(of(a).over(cosine)).number(), x)
}

// Acos returns the angle of the cosine x.
func Acos(x float64) float64 {
	switch {
	case !(math.Abs(x) <= 1):
		return math.NaN()
	case x == -1:
		return math.Pi
	}
	half := exactSum(1, -x).over(exactSum(1, x)).root()
	return float64(2 * inverseTangent(half).number())
}

// Atan2 returns the angle of the point (x, y), in special cases as math.Atan2 does.
func Atan2(y, x float64) float64 {
	switch {
	case x != x || y != y:
		return math.NaN()
	case y == 0 && (x > 0 || x == 0 && !math.Signbit(x)):
		return y
	case y == 0:
		return math.Copysign(math.Pi, y)
	case math.IsInf(x, 0) && math.IsInf(y, 0):
		x, y = math.Copysign(1, x), math.Copysign(1, y)
	case x == 0 || math.IsInf(y, 0):
		return math.Copysign(halfPi1, y)
	case math.IsInf(x, 1):
		return math.Copysign(0, y)
	case math.IsInf(x, -1):
		return math.Copysign(math.Pi, y)
	}
	return math.Copysign(angle(math.Abs(y), x), y)
}

// angle returns the angle of the point (x, y); y is above 0, x is not 0, and both are finite.
func angle(y, x float64) float64 {
	my, ey := math.Frexp(y)
	mx, ex := math.Frexp(math.Abs(x))
	q, e := of(my).over(of(mx)), ey-ex
	switch {
	case e > 200:
		return halfPi1
	case e < -200 && x > 0:
		return math.Ldexp(q.number(), e)
	case e < -200:
		return math.Pi
	}
	a := inverseTangent(q.power2(e))
	if x < 0 {
		a = halfPi.power2(1).minus(a)
	}
	return a.number()
}
