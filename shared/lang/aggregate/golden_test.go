package aggregate_test

import (
	"encoding/hex"
	"math"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
)

// What version 1.1 writes, byte by byte. It stands in checkpoints: whatever a later
// version writes, it has to read these.
func TestGoldenStates(t *testing.T) {
	ints := []aggregate.Value{{Int: 3}, {Int: -300}, {Null: true}, {Int: 3}}
	reals := []aggregate.Value{{Real: 1e17}, {Real: 1}, {Null: true}, {Real: -.5}}
	odd := []aggregate.Value{{Real: math.Inf(1)}, {Real: math.NaN()}, {Real: math.Inf(1)}}
	wide := []aggregate.Value{{Real: 1e300}, {Real: 1}, {Real: -3e-300}}
	huge := []aggregate.Value{{Real: -1.5e308}, {Real: -1.5e308}}
	texts := []aggregate.Value{{Text: "b"}, {Text: ""}, {Null: true}, {Text: "é"}, {Text: "b"}}
	tests := []struct {
		name string
		arg  event.Type
		rows []aggregate.Value
		want string
	}{
		{"count", event.Int, ints, "08"},
		{"sum", event.Long, ints, "06cb04"},
		{"sum", event.Double, reals, "060300a0d88557347643000000000000e03f"},
		{"sum", event.Double, odd, "0604020400"},
		{"sum", event.Double, wide, "06080041808080c00ecbd4b88b04ebfefdff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffffffff0fffff0f0000000000000000000000000000000000000000000000000000000000f0ac878002f2a1fe02"},
		{"sum", event.Double, huge, "04184002bcd6e19105dbd91a"},
		{"avg", event.Int, ints, "060100000000006072c0"},
		{"avg", event.Double, reals, "060300a0d88557347643000000000000e03f"},
		{"min", event.Long, ints, "02d70401af0202"},
		{"max", event.Long, ints, "02d70401af0202"},
		{"max", event.Double, reals, "0381808080808080e07f0181808080808080e87f0180c0e2aef88a8dc30301"},
		{"distinctCount", event.Long, ints, "0102d70401af0202"},
		{"distinctCount", event.Double, reals, "010381808080808080e07f0181808080808080e87f0180c0e2aef88a8dc30301"},
		{"distinctCount", event.String, texts, "0103000101620202c3a901"},
		{"stdDev", event.Double, reals, "12060300a0d88557347643000000000000e03f000821058080148080c0cc03b6bc83f801b6f59ba10b07"},
		{"and", event.Bool, ints, "0600"},
		{"minForever", event.Long, ints, "d704"},
		{"maxForever", event.Double, reals, "8080c5ddf0959af68601"},
		{"median", event.Long, ints, "02d70401af0202"},
		{"percentile", event.Double, reals, "0381808080808080e07f0181808080808080e87f0180c0e2aef88a8dc30301"},
		{"first", event.Long, ints, "03000601d7040106"},
		{"last", event.String, texts, "0400016201000102c3a9010162"},
		{"str:groupConcat", event.String, texts, "0400016201000102c3a9010162"},
		{"approx:percentile", event.Long, ints, "02ad8e1001d7871002"},
		{"approx:percentile", event.Double, odd, "0280fe1f024001"},
		{"approx:distinctCount", event.Long, ints, "03ea0401c60e01e80202"},
		{"approx:distinctCount", event.Double, reals, "04a60402ab08038b08029a0102"},
		{"approx:distinctCount", event.String, texts, "04fa0502870c02df0402910a02"},
	}
	for _, test := range tests {
		a := newAggregate(t, test.name, test.arg)
		for i := range test.rows {
			a.Add(0, test.rows[i:i+1])
		}
		if got := hex.EncodeToString(a.AppendState(nil, 0)); got != test.want {
			t.Errorf("%s %s: %s, want %s", test.name, test.arg, got, test.want)
		}
		state, _ := hex.DecodeString(test.want)
		var want, got aggregate.Value
		a.Result(0, &want)
		loaded := newAggregate(t, test.name, test.arg)
		if err := loaded.LoadState(0, state); err != nil {
			t.Errorf("%s %s: %v", test.name, test.arg, err)
		}
		if loaded.Result(0, &got); !sameResult(got, want) {
			t.Errorf("%s %s: %+v after loading, want %+v", test.name, test.arg, got, want)
		}
	}
}

// BenchmarkState takes the state of a group out and puts it back.
func BenchmarkState(b *testing.B) {
	for _, test := range stateful {
		for _, rows := range []int{1, 1000} {
			a := newAggregate(b, test.name, test.arg)
			for i := range rows {
				v := aggregate.Value{Int: int64(i * 7919 % 1000), Real: float64(i) / 3, Text: hex.EncodeToString([]byte{byte(i), byte(i >> 8)})}
				a.Add(0, []aggregate.Value{v})
			}
			var state []byte
			name := test.name + " " + test.arg.String() + " of " + map[int]string{1: "1", 1000: "1000"}[rows]
			b.Run("append/"+name, func(b *testing.B) {
				b.ReportAllocs()
				for range b.N {
					state = a.AppendState(state[:0], 0)
				}
				b.SetBytes(int64(len(state)))
			})
			b.Run("load/"+name, func(b *testing.B) {
				b.ReportAllocs()
				state = a.AppendState(state[:0], 0)
				b.SetBytes(int64(len(state)))
				for range b.N {
					if err := a.LoadState(0, state); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
