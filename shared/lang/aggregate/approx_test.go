package aggregate_test

import (
	"math"
	"slices"
	"strconv"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
)

// The estimates are these on every processor, and close to the number of different values.
func TestEstimatesOfDifferentValues(t *testing.T) {
	for _, typ := range []event.Type{event.Long, event.Double, event.String} {
		a := newAggregate(t, "approx:distinctCount", typ)
		var got []int64
		n := 0
		for _, upTo := range []int{0, 1, 2, 10, 100, 1_000, 5_000, 10_000, 20_000, 100_000} {
			for ; n < upTo; n++ {
				v := aggregate.Value{Int: int64(n), Real: float64(n) / 8, Text: strconv.Itoa(n)}
				a.Add(0, []aggregate.Value{v})
				a.Add(0, []aggregate.Value{v})
			}
			var out aggregate.Value
			a.Result(0, &out)
			got = append(got, out.Int)
			if off := math.Abs(float64(out.Int-int64(n))) / float64(max(n, 1)); off > .05 || n <= 10 && off > 0 {
				t.Errorf("%s: %d for %d values", typ, out.Int, n)
			}
		}
		if want := wantEstimates[typ]; !slices.Equal(got, want) {
			t.Errorf("%s: %d, want %d", typ, got, want)
		}
	}
}

var wantEstimates = map[event.Type][]int64{
	event.Long:   {0, 1, 2, 10, 101, 1016, 4860, 10073, 20156, 100846},
	event.Double: {0, 1, 2, 10, 100, 1005, 5024, 9904, 20021, 100768},
	event.String: {0, 1, 2, 10, 100, 1012, 4928, 9767, 19533, 100105},
}

// An approximate percentile is the exact one, to 0.4 %.
func TestApproximatePercentiles(t *testing.T) {
	for _, typ := range []event.Type{event.Long, event.Double} {
		exact, approx := newAggregate(t, "percentile", typ), newAggregate(t, "approx:percentile", typ)
		var worst float64
		for i := range 5000 {
			x := int64(i*7919%10007) - 2000
			v := []aggregate.Value{{Int: x, Real: float64(x*x*x) / 1000}}
			exact.Add(0, v)
			approx.Add(0, v)
			var want, got aggregate.Value
			exact.Result(0, &want)
			approx.Result(0, &got)
			if want.Real != 0 {
				worst = max(worst, math.Abs(got.Real-want.Real)/math.Abs(want.Real))
			}
		}
		if worst > .004 {
			t.Errorf("%s: %v off", typ, worst)
		}
		if size := len(approx.AppendState(nil, 0)); size > 12_000 {
			t.Errorf("%s: a state of %d bytes", typ, size)
		}
	}
}

func TestPercentilesOfOddNumbers(t *testing.T) {
	for _, x := range []float64{0, math.Inf(1), math.Inf(-1), math.NaN()} {
		a := newAggregate(t, "approx:percentile", event.Double)
		a.Add(0, []aggregate.Value{{Real: x}})
		var out aggregate.Value
		if a.Result(0, &out); out.Null || out.Real != x && x == x || (out.Real == out.Real) != (x == x) {
			t.Errorf("%v: %v", x, out.Real)
		}
	}
}

func TestTextsOfAGroup(t *testing.T) {
	text := func(s string) *aggregate.Value { return &aggregate.Value{Text: s} }
	for _, test := range []struct {
		more []aggregate.Arg
		want string
	}{
		{nil, "b,a,b,"},
		{[]aggregate.Arg{{Type: event.String, Const: text(" + ")}}, "b + a + b + "},
		{[]aggregate.Arg{{Type: event.String, Const: text("")}, {Type: event.Bool, Const: &aggregate.Value{Int: 1}}}, "ba"},
		{[]aggregate.Arg{{Type: event.String, Const: text(",")}, {Type: event.Bool, Const: &aggregate.Value{}}, {Type: event.String, Const: text("ASC")}}, ",a,b,b"},
		{[]aggregate.Arg{{Type: event.String, Const: text(",")}, {Type: event.Bool, Const: &aggregate.Value{Int: 1}}, {Type: event.String, Const: text("DESC")}}, "b,a,"},
	} {
		spec, _ := aggregate.Lookup("str:groupConcat")
		args := append([]aggregate.Arg{{Type: event.String}}, test.more...)
		if err := spec.Check(args); err != nil {
			t.Fatal(err)
		}
		a := spec.Make(aggregate.Config{Args: args, Leaves: true})
		for _, s := range []string{"x", "b", "a", "b", ""} {
			a.Add(0, []aggregate.Value{{Text: s}})
		}
		a.Add(0, []aggregate.Value{{Null: true}})
		a.Remove(0, []aggregate.Value{{Text: "x"}})
		var out aggregate.Value
		if a.Result(0, &out); out.Text != test.want || out.Null {
			t.Errorf("%+v: %q, want %q", test.more, out.Text, test.want)
		}
	}
}

// Sorted texts have the order of order by, which is the one of UTF-16 units.
func TestTextsAreSortedAsByOrderBy(t *testing.T) {
	spec, _ := aggregate.Lookup("str:groupConcat")
	constant := func(typ event.Type, v aggregate.Value) aggregate.Arg { return aggregate.Arg{Type: typ, Const: &v} }
	a := spec.Make(aggregate.Config{Args: []aggregate.Arg{{Type: event.String}, constant(event.String, aggregate.Value{}), constant(event.Bool, aggregate.Value{}), constant(event.String, aggregate.Value{Text: "ASC"})}})
	for _, s := range []string{"\uFF01", "\U0001F600", "é", "z"} {
		a.Add(0, []aggregate.Value{{Text: s}})
	}
	var out aggregate.Value
	if a.Result(0, &out); out.Text != "zé\U0001F600\uFF01" {
		t.Errorf("%q", out.Text)
	}
}
