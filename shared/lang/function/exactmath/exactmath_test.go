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

// The functions are those of package math, within a few units in the last place. The hash of
// many results is the same on every processor.
func TestResultsAreThoseOfMathAndAlikeEverywhere(t *testing.T) {
	for name, f := range functions {
		random := rand.New(rand.NewPCG(1, 2))
		sum := fnv.New64a()
		for range 20_000 {
			x := (random.Float64() - .5) * math.Ldexp(1, random.IntN(40)-20)
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
	"acos":  0x9b1c3f92830f2d53,
	"asin":  0xe88e1062bf6ae4a6,
	"atan2": 0xcc7c50d3eefc9aea,
	"atan":  0x381e44a5b4b0eba9,
	"cbrt":  0xdbcebaa1ad269fbc,
	"cos":   0xc6d61343cc97de21,
	"cosh":  0x21c1057058d72c4b,
	"exp":   0xe7c7b8d6d444fe6a,
	"log10": 0x2549efd5c55b3b2b,
	"log2":  0x70460198bc84266b,
	"log":   0xb56aae95ae3d8aa3,
	"pow":   0xd7f607bc66a6332,
	"sin":   0x2ea3047e588b5f0f,
	"sinh":  0xb3dffeeb471a30b8,
	"tan":   0xf7887c638bc35d91,
	"tanh":  0xe5d82ef0895c7253,
}
