package exactmath_test

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/function/exactmath"
)

var functions = map[string]struct {
	exact, near func(float64) float64
}{
	"exp":   {exactmath.Exp, math.Exp},
	"log":   {exactmath.Log, math.Log},
	"log10": {exactmath.Log10, math.Log10},
	"log2":  {exactmath.Log2, math.Log2},
	"sin":   {exactmath.Sin, math.Sin},
	"cos":   {exactmath.Cos, math.Cos},
	"tan":   {exactmath.Tan, math.Tan},
	"asin":  {exactmath.Asin, math.Asin},
	"acos":  {exactmath.Acos, math.Acos},
	"atan":  {exactmath.Atan, math.Atan},
	"sinh":  {exactmath.Sinh, math.Sinh},
	"cosh":  {exactmath.Cosh, math.Cosh},
	"tanh":  {exactmath.Tanh, math.Tanh},
	"cbrt":  {exactmath.Cbrt, math.Cbrt},
	"pow":   {func(x float64) float64 { return exactmath.Pow(math.Abs(x), 1.7) }, func(x float64) float64 { return math.Pow(math.Abs(x), 1.7) }},
	"atan2": {func(x float64) float64 { return exactmath.Atan2(x, 3) }, func(x float64) float64 { return math.Atan2(x, 3) }},
}

// Far from 0 and at the ends, the functions are those of package math, too.
func TestSpecialValues(t *testing.T) {
	values := []float64{
		0, 1, .5, 2, 3, 10, 1e-9, 1e-100, 1e22, 1e100, 708, 746, 1 << 20, 1<<53 + 2, math.Pi, math.Pi / 2, math.Inf(1), math.NaN(),
	}
	for _, v := range values {
		values = append(values, -v)
	}
	alike := func(name string, got, want float64, args ...float64) {
		if got != got && want != want || got == want && math.Signbit(got) == math.Signbit(want) {
			return
		}
		if a := math.Abs(want); math.IsInf(want, 0) || !(math.Abs(got-want) <= 1e-14*a) {
			t.Errorf("%s%v = %v, want %v", name, args, got, want)
		}
	}
	for _, x := range values {
		for name, f := range functions {
			alike(name, f.exact(x), f.near(x), x)
		}
		for _, y := range values {
			alike("pow", exactmath.Pow(x, y), math.Pow(x, y), x, y)
			alike("atan2", exactmath.Atan2(x, y), math.Atan2(x, y), x, y)
		}
	}
	// Package math is wrong by more than the last bit here, on some processors.
	for name, pair := range map[string][2]float64{
		"ln 5e-324":  {exactmath.Log(5e-324), -744.4400719213812},
		"lg 1e-310":  {exactmath.Log10(1e-310), -310},
		"sin max":    {exactmath.Sin(math.MaxFloat64), 0.004961954789184062},
		"cos 2^860":  {exactmath.Cos(6381956970095103 * math.Ldexp(1, 797)), -4.687165924254627611122583e-19},
		"e^709.7":    {exactmath.Exp(709.7), 1.6549840276802644e308},
		"e^-745":     {exactmath.Exp(-745), 5e-324},
		"1e-9^10":    {exactmath.Pow(1e-9, 10), 1.0000000000000006e-90},
		"sinh 710.4": {exactmath.Sinh(710.4), 1.6663642832806496e308},
	} {
		if pair[0] != pair[1] {
			t.Errorf("%s = %v, want %v", name, pair[0], pair[1])
		}
	}
	for n := range 22 {
		if p := math.Pow10(n); exactmath.Log10(p) != float64(n) || exactmath.Pow(10, float64(n)) != p || exactmath.LogTo(math.Ldexp(1, n), 2) != float64(n) {
			t.Errorf("the powers of 10 and 2 and their logarithms are not exact for %d", n)
		}
	}
}

// The functions are those of package math, within a few units in the last place. The hash of
// many results is the same on every processor.
func TestResultsAreThoseOfMathAndAlikeEverywhere(t *testing.T) {
	for name, f := range functions {
		random := rand.New(rand.NewPCG(1, 2))
		sum := fnv.New64a()
		for range 20_000 {
			x := float64((random.Float64() - .5) * math.Ldexp(1, random.IntN(40)-20))
			got, near := f.exact(x), f.near(x)
			if !(math.Abs(got-near) <= 1e-13*max(math.Abs(near), 1e-3)) && !(got != got && near != near) && got != near {
				t.Fatalf("%s(%v) = %v, want %v", name, x, got, near)
			}
			if got != got {
				got = math.NaN()
			}
			bits := math.Float64bits(got)
			for i := range 8 {
				sum.Write([]byte{byte(bits >> (8 * i))})
			}
		}
		if sum.Sum64() != hashes[name] {
			t.Errorf("%s: hash %#x, want %#x", name, sum.Sum64(), hashes[name])
		}
	}
}

var hashes = map[string]uint64{
	"acos":  0x8086edcbd20284f7,
	"asin":  0x76817a41689c6665,
	"atan2": 0x7ab283414ba89d41,
	"atan":  0xe4799ad235ce8282,
	"cbrt":  0x46dff5be99bc155b,
	"cos":   0x7ff104d1d0c181f9,
	"cosh":  0x133004c0958d5974,
	"exp":   0x2a03aa52fa6d6989,
	"log10": 0x33a537985dbc271f,
	"log2":  0xf1eee31754da4608,
	"log":   0x467484a68d37472e,
	"pow":   0x34424fa30b3aa6e7,
	"sin":   0xd9e944820c7ceae0,
	"sinh":  0x6ebd3f3e38cd3b22,
	"tan":   0x184304221ca0a31a,
	"tanh":  0x4208e514d04713e0,
}
