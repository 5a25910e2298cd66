package aggregate_test

import (
	"encoding/hex"
	"math"
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
)

// The law: a sum of doubles is the exact sum of the values that are there, rounded once,
// and an average is that sum divided by their number, whatever else was there before.
func TestSumsAreExact(t *testing.T) {
	finite := rapid.OneOf(
		rapid.SampledFrom([]float64{
			0, math.Copysign(0, -1), .1, -.1, 1, 1e17, 1e-300, 1e300, 1.5e308, -1.5e308, math.MaxFloat64, -math.MaxFloat64,
			math.SmallestNonzeroFloat64, -math.SmallestNonzeroFloat64, 0x1p-1022, 0x1p1020, -0x1p1020, 0x1.fffffffffffffp1019, 1 + 0x1p-52,
		}),
		rapid.Float64Range(-1e6, 1e6), rapid.Float64(),
	)
	rapid.Check(t, func(rt *rapid.T) {
		sum, avg := newAggregate(t, "sum", event.Double), newAggregate(t, "avg", event.Double)
		var rows []float64
		for range rapid.IntRange(1, 200).Draw(rt, "steps") {
			var v float64
			if len(rows) > 0 && rapid.IntRange(0, 9).Draw(rt, "op") < 4 {
				at := rapid.IntRange(0, len(rows)-1).Draw(rt, "leaving")
				v = rows[at]
				rows = append(rows[:at:at], rows[at+1:]...)
				sum.Remove(0, []aggregate.Value{{Real: v}})
				avg.Remove(0, []aggregate.Value{{Real: v}})
			} else {
				v = finite.Filter(func(v float64) bool { return v-v == 0 }).Draw(rt, "value")
				rows = append(rows, v)
				sum.Add(0, []aggregate.Value{{Real: v}})
				avg.Add(0, []aggregate.Value{{Real: v}})
			}
			var gotSum, gotAvg aggregate.Value
			sum.Result(0, &gotSum)
			avg.Result(0, &gotAvg)
			if len(rows) == 0 {
				if !gotSum.Null || !gotAvg.Null {
					rt.Fatalf("nothing is there: sum %v, avg %v", gotSum, gotAvg)
				}
				continue
			}
			exact := new(big.Float).SetPrec(4000)
			for _, r := range rows {
				exact.Add(exact, new(big.Float).SetFloat64(r))
			}
			wantSum, _ := exact.Float64()
			n := float64(len(rows))
			wantAvg := wantSum / n
			if math.IsInf(wantSum, 0) {
				scaled, _ := exact.SetMantExp(exact, -64).Float64()
				wantAvg = math.Ldexp(scaled/n, 64)
			}
			if gotSum.Real != wantSum || gotAvg.Real != wantAvg || math.IsInf(gotAvg.Real, 0) {
				rt.Fatalf("%v: sum %v, want %v; avg %v, want %v", rows, gotSum.Real, wantSum, gotAvg.Real, wantAvg)
			}
		}
	})
}

// States of version 1.0 have a sum and its compensation. A sum that had overflowed stays
// so until the group is empty: what it was made of is not known.
func TestSumsOfVersion10AreLoaded(t *testing.T) {
	for _, c := range []struct {
		state string
		want  float64
		then  float64 // after 2 more
	}{
		{"060300a0d88557347643000000000000e03f", 1e17, 1e17}, // 1e17, compensation .5
		{"0601010000000000f87f", math.NaN(), math.NaN()},     // NaN
		{"0601000000000000f07f", math.Inf(1), math.Inf(1)},   // overflowed
		{"0603000000000000f0ff010000000000f87f", math.Inf(-1), math.Inf(-1)},
		{"0602000000000000e03f", .5, 2.5}, // compensation alone
	} {
		a := newAggregate(t, "sum", event.Double)
		src, err := hex.DecodeString(c.state)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.LoadState(0, src); err != nil {
			t.Fatalf("%s: %v", c.state, err)
		}
		same := func(when string, want float64) {
			t.Helper()
			var got aggregate.Value
			a.Result(0, &got)
			if got.Null || math.Float64bits(got.Real) != math.Float64bits(want) {
				t.Errorf("%s: %s: %v, want %v", c.state, when, got, want)
			}
		}
		same("loaded", c.want)
		a.Add(0, []aggregate.Value{{Real: 2}})
		same("after 2", c.then)
		for range 4 {
			a.Remove(0, []aggregate.Value{{Real: 2}})
		}
		a.Add(0, []aggregate.Value{{Real: 7}})
		same("empty, then 7", 7)
	}
}

// BenchmarkSum adds a value, removes one, and asks for the sum.
func BenchmarkSum(b *testing.B) {
	for name, scale := range map[string]float64{"like": 1, "far apart": 1e-40, "huge": 1e306} {
		b.Run(name, func(b *testing.B) {
			a := newAggregate(b, "sum", event.Double)
			values := make([]aggregate.Value, 64)
			for i := range values {
				values[i].Real = float64(i*7919%1000) / 7
				if i%2 == 1 {
					values[i].Real *= scale
				}
				a.Add(0, values[i:i+1])
			}
			var out aggregate.Value
			b.ReportAllocs()
			for i := range b.N {
				v := values[i%64 : i%64+1]
				a.Remove(0, v)
				a.Add(0, v)
				a.Result(0, &out)
			}
		})
	}
}
