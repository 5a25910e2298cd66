package aggregate_test

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
)

// stateful are the aggregators with the types of arguments whose state differs.
var stateful = []struct {
	name string
	arg  event.Type
}{
	{"count", event.Int},
	{"sum", event.Long},
	{"sum", event.Double},
	{"avg", event.Int},
	{"avg", event.Double},
	{"min", event.Long},
	{"max", event.Double},
	{"distinctCount", event.Long},
	{"distinctCount", event.Double},
	{"distinctCount", event.String},
	{"stdDev", event.Long},
	{"stdDev", event.Double},
	{"and", event.Bool},
	{"or", event.Bool},
	{"minForever", event.Long},
	{"maxForever", event.Double},
	{"median", event.Long},
	{"percentile", event.Double},
	{"first", event.String},
	{"last", event.Double},
	{"str:groupConcat", event.String},
	{"approx:percentile", event.Long},
	{"approx:percentile", event.Double},
	{"approx:distinctCount", event.Long},
	{"approx:distinctCount", event.Double},
	{"approx:distinctCount", event.String},
}

// ofArrival are the aggregators whose state depends on the order of arrival.
func ofArrival(name string) bool {
	return name == "first" || name == "last" || name == "str:groupConcat"
}

// lasting are the aggregators that keep a value that has left.
func lasting(name string) bool {
	return name == "minForever" || name == "maxForever" || name == "approx:distinctCount"
}

func newAggregate(t testing.TB, name string, arg event.Type) aggregate.Aggregate {
	spec, ok := aggregate.Lookup(name)
	if !ok || spec.Version == "" {
		t.Fatalf("%s is not registered with a version", name)
	}
	args := []aggregate.Arg{{Type: arg}}
	if strings.HasSuffix(name, "percentile") {
		args = append(args, aggregate.Arg{Type: event.Int, Const: &aggregate.Value{Int: 90}})
	}
	return spec.Make(aggregate.Config{Args: args, Leaves: true})
}

var (
	anyInt = rapid.OneOf(rapid.Int64Range(-5, 5), rapid.Int64(),
		rapid.SampledFrom([]int64{math.MinInt64, math.MinInt64 + 1, math.MaxInt64}))
	anyReal = rapid.OneOf(rapid.SampledFrom([]float64{
		0, math.Copysign(0, -1), .1, -.1, 1e17, 1e-300, math.MaxFloat64, -math.MaxFloat64,
		math.NaN(), math.Float64frombits(0xfff8000000000003), math.Inf(1), math.Inf(-1),
	}), rapid.Float64())
	anyText = rapid.OneOf(rapid.StringN(0, 3, -1), rapid.SampledFrom([]string{"", "a", "aa", "é", "\x00", "\U0010ffff"}))
)

func drawValue(t *rapid.T, arg event.Type) aggregate.Value {
	switch arg.Class() {
	case event.Reals:
		return orNull(t, aggregate.Value{Real: anyReal.Draw(t, "real")})
	case event.Texts:
		return orNull(t, aggregate.Value{Text: anyText.Draw(t, "text")})
	default:
		return orNull(t, aggregate.Value{Int: anyInt.Draw(t, "int")})
	}
}

// step is one change of one group.
type step struct {
	slot  int
	op    int // 0 clears, 1 removes, 2 adds
	value aggregate.Value
}

func (s step) apply(a aggregate.Aggregate) {
	switch s.op {
	case 0:
		a.Clear(s.slot)
	case 1:
		a.Remove(s.slot, []aggregate.Value{s.value})
	default:
		a.Add(s.slot, []aggregate.Value{s.value})
	}
}

const testSlots = 3

// drawHistory draws steps that mostly remove what was added before.
func drawHistory(t *rapid.T, arg event.Type, rows *[testSlots][]aggregate.Value) []step {
	steps := make([]step, rapid.IntRange(0, 100).Draw(t, "steps"))
	for i := range steps {
		s := step{slot: rapid.IntRange(0, testSlots-1).Draw(t, "slot")}
		group := rows[s.slot]
		switch op := rapid.IntRange(0, 40).Draw(t, "op"); {
		case op == 0:
			group = nil
		case op < 15 && len(group) > 0:
			at := rapid.IntRange(0, len(group)-1).Draw(t, "leaving")
			s.op, s.value = 1, group[at]
			group = slices.Delete(slices.Clone(group), at, at+1)
		case op == 15: // what was never there
			s.op, s.value = 1, drawValue(t, arg)
		default:
			s.op, s.value = 2, drawValue(t, arg)
			group = append(slices.Clone(group), s.value)
		}
		rows[s.slot], steps[i] = group, s
	}
	return steps
}

// sameResult compares to the bit: what follows a restore must be the same bytes.
func sameResult(a, b aggregate.Value) bool {
	return a.Null == b.Null && (a.Null ||
		a.Int == b.Int && a.Text == b.Text && math.Float64bits(a.Real) == math.Float64bits(b.Real))
}

func checkSame(t *rapid.T, want, got aggregate.Aggregate) {
	for slot := range testSlots {
		var x, y aggregate.Value
		want.Result(slot, &x)
		got.Result(slot, &y)
		if !sameResult(x, y) {
			t.Fatalf("group %d: %+v, after loading %+v", slot, x, y)
		}
		if x, y := want.AppendState(nil, slot), got.AppendState(nil, slot); !bytes.Equal(x, y) {
			t.Fatalf("group %d: state %x, after loading %x", slot, x, y)
		}
	}
}

// The law: what was taken out and put back goes on as if nothing had happened.
func TestLoadedStateGoesOnAlike(t *testing.T) {
	for _, test := range stateful {
		t.Run(test.name+" "+test.arg.String(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				whole, loaded := newAggregate(t, test.name, test.arg), newAggregate(t, test.name, test.arg)
				var rows, others [testSlots][]aggregate.Value
				for _, s := range drawHistory(rt, test.arg, &rows) {
					s.apply(whole)
				}
				for _, s := range drawHistory(rt, test.arg, &others) { // what is loaded over
					s.apply(loaded)
				}
				for slot := range testSlots {
					state := whole.AppendState([]byte("head"), slot)
					if err := loaded.LoadState(slot, bytes.TrimPrefix(state, []byte("head"))); err != nil {
						rt.Fatal(err)
					}
				}
				checkSame(rt, whole, loaded)
				for _, s := range drawHistory(rt, test.arg, &rows) {
					s.apply(whole)
					s.apply(loaded)
				}
				checkSame(rt, whole, loaded)
			})
		})
	}
}

// Groups with the same values have the same bytes, in whatever order they came, and
// whatever else was there.
func TestStateDoesNotTellItsHistory(t *testing.T) {
	for _, test := range stateful {
		if ofArrival(test.name) {
			continue
		}
		t.Run(test.name+" "+test.arg.String(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				var rows []aggregate.Value
				for range rapid.SampledFrom([]int{0, 1, 5, 400}).Draw(rt, "rows") {
					rows = append(rows, drawValue(rt, test.arg))
				}
				one, other := newAggregate(t, test.name, test.arg), newAggregate(t, test.name, test.arg)
				for i := range rows {
					one.Add(0, rows[i:i+1])
				}
				shuffled := rapid.Permutation(rows).Draw(rt, "order")
				for i := range shuffled {
					other.Add(0, shuffled[i:i+1])
				}
				passing := rapid.IntRange(0, len(rows)).Draw(rt, "passing")
				for i := range rows[:passing] {
					other.Add(0, rows[i:i+1])
				}
				for i := range rows[:passing] {
					other.Remove(0, rows[i:i+1])
				}
				if x, y := one.AppendState(nil, 0), other.AppendState(nil, 0); !bytes.Equal(x, y) {
					rt.Fatalf("%x and %x", x, y)
				}
			})
		})
	}
}

func TestEmptyGroupTakesNoBytes(t *testing.T) {
	for _, test := range stateful {
		if lasting(test.name) {
			continue
		}
		a := newAggregate(t, test.name, test.arg)
		if state := a.AppendState(nil, 7); len(state) > 0 {
			t.Errorf("%s %s: a new group is %x", test.name, test.arg, state)
		}
		for _, v := range []aggregate.Value{{}, {Null: true}} {
			a.Add(7, []aggregate.Value{v})
			a.Remove(7, []aggregate.Value{v})
		}
		if state := a.AppendState(nil, 7); len(state) > 0 {
			t.Errorf("%s %s: a group that is empty again is %x", test.name, test.arg, state)
		}
	}
}

// Bytes that no AppendState writes are refused with the place, and leave the group
// empty.
func TestWrongStateIsRefused(t *testing.T) {
	tests := []struct {
		name  string
		arg   event.Type
		state string
		want  string
	}{
		{"count", event.Int, "\x00", "byte 1: a count of 0"},
		{"count", event.Int, "\x02\x02", "byte 1: 1 bytes too many"},
		{"count", event.Int, "\x82\x00", "byte 0: expected a number"},
		{"sum", event.Long, "\x00\x00", "an empty sum"},
		{"sum", event.Long, "\x02", "expected a number"},
		{"sum", event.Double, "\x00\x00", "parts 0 of 0 values"},
		{"sum", event.Double, "\x02\x20", "parts 100000"},
		{"sum", event.Double, "\x02\x09", "parts 1001"},
		{"sum", event.Double, "\x02\x11", "parts 10001"},
		{"sum", event.Double, "\x02\x08\x40\x08\x01", "8 digits from 64 on"},
		{"sum", event.Double, "\x02\x08\x00\x00", "0 digits from 0 on"},
		{"sum", event.Double, "\x02\x08\x00\x02\x00\x01", "digit 0 of a sum is 0"},
		{"avg", event.Double, "\x02\x08\x00\x01\xff\xff\xff\xff\x1f", "digit 0 of a sum is 8589934591"},
		{"avg", event.Double, "\x02\x18\x00\x01\x01", "two doubles hold"},
		{"sum", event.Double, "\x02\x01\x00\x00\x00\x00\x00\x00\x00\x00", "a part of a sum that is 0"},
		{"sum", event.Double, "\x02\x01\x03\x00\x00\x00\x00\x00\xf8\xff", "a part of a sum that is fff8000000000003"},
		{"avg", event.Double, "\x02\x01\x00\x00", "expected 8 bytes, 2 are left"},
		{"avg", event.Double, "\x02\x04\x00\x00\x00", "not finite, all 0"},
		{"min", event.Long, "\x00", "no values"},
		{"min", event.Long, "\x01\x02\x00", "present 0 times"},
		{"min", event.Long, "\x02\x02\x01\x00\x01", "value 1 follows 1"},
		{"min", event.Long, "\x02\x02\x01", "2 items of 2 or more bytes each, and 2 bytes are left"},
		{"min", event.Long, "\xff\xff\xff\xff\x0f\x02\x01", "4294967295 items of 2 or more bytes each, and 2 bytes are left"},
		{"max", event.Double, "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01", "no double has the key"},
		{"distinctCount", event.Long, "\x00\x00", "0 nulls and 0 values"},
		{"distinctCount", event.Long, "\x00\x02\x02\x01\x00\x01", "value 1 follows 1"},
		{"distinctCount", event.String, "\x00\x02\x01a\x01\x01a\x01", `text "a" follows "a"`},
		{"distinctCount", event.String, "\x00\x02\x01b\x01\x01a\x01", `text "a" follows "b"`},
		{"distinctCount", event.String, "\x00\x01\x01\xff\x01", "no UTF-8"},
		{"distinctCount", event.String, "\x00\x01\x01a\x00", "present 0 times"},
		{"approx:percentile", event.Double, "\x01\x80\x80\x80\x01\x01", "are of no double"},
		{"approx:distinctCount", event.Double, "\x01\x80\x40\x01", "register 4096 has the rank 1"},
		{"approx:distinctCount", event.Double, "\x01\x01\x01", "register -1 has the rank 1"},
		{"approx:distinctCount", event.Double, "\x01\x02\x36", "register 1 has the rank 54"},
		{"approx:distinctCount", event.Double, "\x00", "no registers"},
		{"str:groupConcat", event.String, "\x01\x00\x01\xff", "no UTF-8"},
	}
	for _, test := range tests {
		t.Run(fmt.Sprintf("%s %x", test.name, test.state), func(t *testing.T) {
			a := newAggregate(t, test.name, test.arg)
			a.Add(0, []aggregate.Value{{Int: 3, Real: 3, Text: "c"}})
			err := a.LoadState(0, []byte(test.state))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.name) {
				t.Fatalf("got %v, want %q", err, test.want)
			}
			if state := a.AppendState(nil, 0); len(state) > 0 {
				t.Errorf("%x is left", state)
			}
		})
	}
}

// version10 reports whether version 1.0 of an aggregator wrote a state otherwise.
func version10(name string, arg event.Type) bool {
	return name == "avg" || name == "sum" && arg == event.Double
}

// FuzzLoadState loads any bytes into any aggregator: an error, or the one form of
// a state that can be used.
func FuzzLoadState(f *testing.F) {
	for i, seed := range stateful {
		a := newAggregate(f, seed.name, seed.arg)
		for n := range 4 {
			a.Add(0, []aggregate.Value{{Int: int64(n * n), Real: float64(n) / 3, Text: strings.Repeat("x", n)}})
		}
		a.Add(0, []aggregate.Value{{Null: true}})
		a.Add(0, []aggregate.Value{{Real: math.Inf(1)}})
		f.Add(uint8(i), a.AppendState(nil, 0))
	}
	f.Fuzz(func(t *testing.T, which uint8, src []byte) {
		test := stateful[int(which)%len(stateful)]
		a := newAggregate(t, test.name, test.arg)
		if err := a.LoadState(1, src); err != nil {
			return
		}
		again := a.AppendState(nil, 1)
		if !bytes.Equal(again, src) && version10(test.name, test.arg) {
			// Version 1.0 had two doubles that are not the nearest: they have one form from now on.
			src = again
			if err := a.LoadState(1, src); err != nil {
				t.Fatalf("%s %s: %x: %v", test.name, test.arg, src, err)
			}
			again = a.AppendState(nil, 1)
		}
		if !bytes.Equal(again, src) {
			t.Fatalf("%s %s: %x became %x", test.name, test.arg, src, again)
		}
		value := []aggregate.Value{{Int: 1, Real: 1, Text: "x"}}
		a.Add(1, value)
		a.Remove(1, value)
		var out aggregate.Value
		a.Result(1, &out)
	})
}
