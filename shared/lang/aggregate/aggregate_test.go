package aggregate_test

import (
	"fmt"
	"math"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
)

// plain computes what an aggregator must say of the values in a group, in the
// most obvious way.
type plain func(rows []aggregate.Value) aggregate.Value

func present(rows []aggregate.Value) []aggregate.Value {
	return slices.DeleteFunc(slices.Clone(rows), func(v aggregate.Value) bool { return v.Null })
}

func plainCount(rows []aggregate.Value) aggregate.Value {
	return aggregate.Value{Int: int64(len(rows))}
}

func plainIntSum(rows []aggregate.Value) aggregate.Value {
	sum := aggregate.Value{Null: true}
	for _, v := range present(rows) {
		sum.Null = false
		sum.Int += v.Int
	}
	return sum
}

func exactSum(rows []aggregate.Value, of func(aggregate.Value) float64) *big.Float {
	sum := new(big.Float).SetPrec(2000)
	for _, v := range rows {
		sum.Add(sum, new(big.Float).SetFloat64(of(v)))
	}
	return sum
}

func plainRealSum(rows []aggregate.Value) aggregate.Value {
	rows = present(rows)
	if len(rows) == 0 {
		return aggregate.Value{Null: true}
	}
	sum, _ := exactSum(rows, func(v aggregate.Value) float64 { return v.Real }).Float64()
	return aggregate.Value{Real: sum}
}

func plainAvg(of func(aggregate.Value) float64) plain {
	return func(rows []aggregate.Value) aggregate.Value {
		rows = present(rows)
		if len(rows) == 0 {
			return aggregate.Value{Null: true}
		}
		sum, _ := exactSum(rows, of).Float64()
		return aggregate.Value{Real: sum / float64(len(rows))}
	}
}

func plainExtreme(most bool, compare func(a, b aggregate.Value) int) plain {
	return func(rows []aggregate.Value) aggregate.Value {
		rows = present(rows)
		if len(rows) == 0 {
			return aggregate.Value{Null: true}
		}
		if most {
			return slices.MaxFunc(rows, compare)
		}
		return slices.MinFunc(rows, compare)
	}
}

func plainDistinct(rows []aggregate.Value) aggregate.Value {
	seen := map[string]bool{}
	for _, v := range rows {
		seen[fmt.Sprint(v.Null, v.Int, math.Float64bits(v.Real), v.Text)] = true
	}
	return aggregate.Value{Int: int64(len(seen))}
}

func byInt(a, b aggregate.Value) int { return int(a.Int) - int(b.Int) }

func byReal(a, b aggregate.Value) int {
	switch {
	case a.Real < b.Real:
		return -1
	case a.Real > b.Real:
		return 1
	}
	return 0
}

// Rows come and leave in any order, groups share an aggregator, and what it says
// is what the rows in a group say.
func TestAggregatorsAgreeWithPlainOnes(t *testing.T) {
	ints := rapid.Custom(func(t *rapid.T) aggregate.Value {
		return orNull(t, aggregate.Value{Int: int64(rapid.IntRange(-3, 3).Draw(t, "int"))})
	})
	// Quarters of small numbers: every sum of them is exact.
	reals := rapid.Custom(func(t *rapid.T) aggregate.Value {
		return orNull(t, aggregate.Value{Real: float64(rapid.IntRange(-9, 9).Draw(t, "real")) / 4})
	})
	texts := rapid.Custom(func(t *rapid.T) aggregate.Value {
		return orNull(t, aggregate.Value{Text: strconv.Itoa(rapid.IntRange(0, 200).Draw(t, "text"))})
	})
	tests := []struct {
		name   string
		arg    event.Type
		values *rapid.Generator[aggregate.Value]
		want   plain
	}{
		{"count", event.Int, ints, plainCount},
		{"sum", event.Long, ints, plainIntSum},
		{"sum", event.Double, reals, plainRealSum},
		{"avg", event.Int, ints, plainAvg(func(v aggregate.Value) float64 { return float64(v.Int) })},
		{"avg", event.Double, reals, plainAvg(func(v aggregate.Value) float64 { return v.Real })},
		{"min", event.Int, ints, plainExtreme(false, byInt)},
		{"max", event.Int, ints, plainExtreme(true, byInt)},
		{"min", event.Double, reals, plainExtreme(false, byReal)},
		{"max", event.Float, reals, plainExtreme(true, byReal)},
		{"distinctCount", event.Long, ints, plainDistinct},
		{"distinctCount", event.Double, reals, plainDistinct},
		{"distinctCount", event.String, texts, plainDistinct},
	}
	for _, test := range tests {
		t.Run(test.name+" "+test.arg.String(), func(t *testing.T) {
			spec, ok := aggregate.Lookup(test.name)
			if !ok {
				t.Fatal("not registered")
			}
			rapid.Check(t, func(t *rapid.T) {
				a := spec.New([]event.Type{test.arg})
				groups := map[int][]aggregate.Value{}
				for range rapid.IntRange(1, 400).Draw(t, "steps") {
					slot := rapid.IntRange(0, 2).Draw(t, "slot")
					rows := groups[slot]
					switch op := rapid.IntRange(0, 40).Draw(t, "op"); {
					case op == 0:
						a.Clear(slot)
						groups[slot] = nil
					case op < 18 && len(rows) > 0:
						i := rapid.IntRange(0, len(rows)-1).Draw(t, "leaving")
						a.Remove(slot, rows[i:i+1])
						groups[slot] = slices.Delete(slices.Clone(rows), i, i+1)
					default:
						v := test.values.Draw(t, "value")
						a.Add(slot, []aggregate.Value{v})
						groups[slot] = append(slices.Clone(rows), v)
					}
					var got aggregate.Value
					a.Result(slot, &got)
					if want := test.want(groups[slot]); got.Null != want.Null || !got.Null && got != want {
						t.Fatalf("of %v: got %+v, want %+v", groups[slot], got, want)
					}
				}
			})
		})
	}
}

// orNull returns v, or null at times.
func orNull(t *rapid.T, v aggregate.Value) aggregate.Value {
	if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
		return aggregate.Value{Null: true}
	}
	return v
}

// A huge value that came and went leaves the digits of the others alone.
func TestSumOfDoublesKeepsSmallOnes(t *testing.T) {
	spec, _ := aggregate.Lookup("sum")
	a := spec.New([]event.Type{event.Double})
	values := []float64{1e17, 1, 2, 3, .1, .2}
	want := []float64{1e17, 1e17 + 1, 3, 5, 3.1, .1 + .2}
	for i, v := range values {
		if i >= 2 {
			a.Remove(0, []aggregate.Value{{Real: values[i-2]}})
		}
		a.Add(0, []aggregate.Value{{Real: v}})
		var got aggregate.Value
		a.Result(0, &got)
		if math.Abs(got.Real-want[i]) > 1e-15*math.Abs(want[i]) {
			t.Errorf("step %d: got %v, want %v", i, got.Real, want[i])
		}
	}
}

// Longs are added in 64 bits: nothing goes through a double.
func TestSumOfLongsIsExact(t *testing.T) {
	spec, _ := aggregate.Lookup("sum")
	a := spec.New([]event.Type{event.Long})
	const big = 9007199254740993
	a.Add(0, []aggregate.Value{{Int: big}})
	a.Add(0, []aggregate.Value{{Int: 1}})
	a.Remove(0, []aggregate.Value{{Int: big}})
	a.Add(0, []aggregate.Value{{Int: 2}})
	var got aggregate.Value
	if a.Result(0, &got); got.Int != 3 {
		t.Errorf("got %d, want 3", got.Int)
	}
}

// Infinities and NaN leave a sum as they came.
func TestSumForgetsInfinities(t *testing.T) {
	spec, _ := aggregate.Lookup("sum")
	a := spec.New([]event.Type{event.Double})
	odd := []float64{math.Inf(1), math.Inf(-1), math.NaN()}
	a.Add(0, []aggregate.Value{{Real: 2.5}})
	for _, v := range odd {
		a.Add(0, []aggregate.Value{{Real: v}})
	}
	var got aggregate.Value
	if a.Result(0, &got); !math.IsNaN(got.Real) {
		t.Errorf("got %v, want NaN", got.Real)
	}
	for _, v := range odd {
		a.Remove(0, []aggregate.Value{{Real: v}})
	}
	if a.Result(0, &got); got.Real != 2.5 {
		t.Errorf("got %v, want 2.5", got.Real)
	}
}

// Many values, so that blocks of a multiset are split and emptied.
func TestExtremesOfManyValues(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		least, _ := aggregate.Lookup("min")
		a := least.New([]event.Type{event.Double})
		n := rapid.IntRange(1, 3000).Draw(t, "n")
		values := rapid.SliceOfN(rapid.Float64(), n, n).Draw(t, "values")
		for _, v := range values {
			a.Add(0, []aggregate.Value{{Real: v}})
		}
		for len(values) > 0 {
			var got aggregate.Value
			a.Result(0, &got)
			want := slices.Min(values)
			if got.Real != want && !(math.IsNaN(got.Real) && math.IsNaN(want)) && !hasNaN(values) {
				t.Fatalf("got %v, want %v", got.Real, want)
			}
			a.Remove(0, []aggregate.Value{{Real: values[len(values)/2]}})
			values = slices.Delete(values, len(values)/2, len(values)/2+1)
		}
		var got aggregate.Value
		if a.Result(0, &got); !got.Null {
			t.Fatalf("nothing is left, and min is %v", got.Real)
		}
	})
}

func hasNaN(values []float64) bool { return slices.ContainsFunc(values, math.IsNaN) }
