package aggregate_test

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

// segmented are the aggregators whose state has segments.
var segmented = []struct {
	name string
	arg  event.Type
}{
	{"min", event.Long},
	{"max", event.Double},
	{"distinctCount", event.Long},
	{"distinctCount", event.Double},
	{"distinctCount", event.String},
	{"median", event.Long},
	{"percentile", event.Double},
	{"approx:percentile", event.Double},
	{"approx:distinctCount", event.Long},
	{"approx:distinctCount", event.String},
	{"str:groupConcat", event.String},
}

func newSegmented(t testing.TB, name string, arg event.Type) aggregate.Segmented {
	a, ok := newAggregate(t, name, arg).(aggregate.Segmented)
	if !ok {
		t.Fatalf("the state of %s has no segments", name)
	}
	return a
}

// segmentsSource is an aggregator as a source of state: its keys are a slot and a name.
type segmentsSource struct {
	aggregate.Segmented
	arg  event.Type
	rows [testSlots][]aggregate.Value
}

func (s *segmentsSource) Changed(visit func(key []byte)) {
	for slot := range testSlots {
		visit([]byte{byte(slot)})
	}
	s.ChangedSegments(func(slot int, name []byte) { visit(append([]byte{byte(slot)}, name...)) })
}

func (s *segmentsSource) Keys(visit func(key []byte)) {
	for slot := range testSlots {
		key := []byte{byte(slot)}
		if _, ok := s.Append(nil, key); ok {
			visit(key)
		}
		s.Segments(slot, func(name []byte) { visit(append(key[:1:1], name...)) })
	}
}

func (s *segmentsSource) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 0 || key[0] >= testSlots {
		return dst, false
	}
	before := len(dst)
	dst, ok := s.AppendSegment(dst, int(key[0]), key[1:])
	return dst, ok && len(dst) > before
}

func (s *segmentsSource) Reset() {
	for slot := range testSlots {
		s.Clear(slot)
	}
	s.ChangedSegments(func(int, []byte) {})
}

func (s *segmentsSource) Put(key, value []byte) error {
	if len(key) == 0 || key[0] >= testSlots || len(value) == 0 {
		return fmt.Errorf("key %q, value %q", key, value)
	}
	return s.LoadSegment(int(key[0]), key[1:], value)
}

func (s *segmentsSource) Ready() (err error) {
	for slot := range testSlots {
		if e := s.CheckSegments(slot); e != nil {
			err = e
		}
	}
	return err
}

func (s *segmentsSource) Bytes() int64 { return 0 }

// scatter returns a value far from or near to others, by a number.
func scatter(arg event.Type, n int) aggregate.Value {
	switch arg.Class() {
	case event.Reals:
		return aggregate.Value{Real: math.Sin(float64(n)) * math.Exp2(float64(n%300))}
	case event.Texts:
		return aggregate.Value{Text: strings.Repeat("x", n%5) + fmt.Sprint(n)}
	default:
		return aggregate.Value{Int: int64(n) << (n % 3 * 20)}
	}
}

// change lets many or few values come and go.
func (s *segmentsSource) change(t *rapid.T) {
	slot := rapid.IntRange(0, testSlots-1).Draw(t, "slot")
	rows := &s.rows[slot]
	switch rapid.IntRange(0, 9).Draw(t, "op") {
	case 0:
		s.Clear(slot)
		*rows = nil
	case 1, 2, 3, 4:
		from := rapid.IntRange(0, 1000).Draw(t, "from")
		for n := range rapid.SampledFrom([]int{1, 2, 64, 65, 300}).Draw(t, "coming") {
			*rows = append(*rows, scatter(s.arg, from+n))
			s.Add(slot, (*rows)[len(*rows)-1:])
		}
	case 5:
		*rows = append(*rows, drawValue(t, s.arg))
		s.Add(slot, (*rows)[len(*rows)-1:])
	default:
		n := min(rapid.SampledFrom([]int{1, 2, 30, 200}).Draw(t, "leaving"), len(*rows))
		at := rapid.IntRange(0, len(*rows)-n).Draw(t, "at")
		for i := range n {
			s.Remove(slot, (*rows)[at+i:])
		}
		*rows = slices.Delete(*rows, at, at+n)
	}
}

// TestParts holds groups that are large, and become so, to the laws of state.Source.
func TestParts(t *testing.T) {
	for _, test := range segmented {
		t.Run(test.name+" "+test.arg.String(), func(t *testing.T) {
			statetest.Run(t, func() state.Source {
				return &segmentsSource{Segmented: newSegmented(t, test.name, test.arg), arg: test.arg}
			},
				func(t *rapid.T, s state.Source) { s.(*segmentsSource).change(t) })
		})
	}
}

func segmentsOf(a aggregate.Segmented, slot int) map[string]string {
	segments := map[string]string{}
	take := func(name []byte) {
		value, _ := a.AppendSegment(nil, slot, name)
		segments[string(name)] = string(value)
	}
	take(nil)
	a.Segments(slot, take)
	return segments
}

// Segments follow from the values: not from how they came, nor from whether they were
// loaded as a whole or segment by segment.
func TestPartsDoNotTellTheirHistory(t *testing.T) {
	for _, test := range segmented {
		if ofArrival(test.name) || lasting(test.name) {
			continue
		}
		t.Run(test.name+" "+test.arg.String(), func(t *testing.T) {
			rapid.Check(t, func(rt *rapid.T) {
				grown := &segmentsSource{Segmented: newSegmented(t, test.name, test.arg), arg: test.arg}
				for range rapid.IntRange(1, 12).Draw(rt, "changes") {
					grown.change(rt)
				}
				for slot := range testSlots {
					want := segmentsOf(grown, slot)
					fresh, loaded, pieced := newSegmented(t, test.name, test.arg), newSegmented(t, test.name, test.arg), newSegmented(t, test.name, test.arg)
					rows := rapid.Permutation(grown.rows[slot]).Draw(rt, "order")
					for i := range rows {
						fresh.Add(slot, rows[i:])
					}
					if err := loaded.LoadState(slot, grown.AppendState(nil, slot)); err != nil {
						rt.Fatal(err)
					}
					for name, value := range want {
						if err := pieced.LoadSegment(slot, []byte(name), []byte(value)); err != nil {
							rt.Fatal(err)
						}
					}
					if err := pieced.CheckSegments(slot); err != nil {
						rt.Fatal(err)
					}
					for how, other := range map[string]aggregate.Segmented{"in another order": fresh, "loaded": loaded, "loaded by segments": pieced} {
						if got := segmentsOf(other, slot); !maps.Equal(got, want) {
							rt.Fatalf("%s: %q, want %q", how, got, want)
						}
						if x, y := grown.AppendState(nil, slot), other.AppendState(nil, slot); !bytes.Equal(x, y) {
							rt.Fatalf("%s: state %x, want %x", how, y, x)
						}
						var x, y aggregate.Value
						grown.Result(slot, &x)
						other.Result(slot, &y)
						if !sameResult(x, y) {
							rt.Fatalf("%s: %+v, want %+v", how, y, x)
						}
					}
				}
			})
		})
	}
}

// A segment is small whatever the group holds, unless texts share a hash.
func TestPartsAreSmall(t *testing.T) {
	for _, test := range segmented {
		a := newSegmented(t, test.name, test.arg)
		for n := range 20_000 {
			a.Add(0, []aggregate.Value{scatter(test.arg, n)})
		}
		segments := segmentsOf(a, 0)
		for name, value := range segments {
			if len(name)+len(value) > 1500 {
				t.Errorf("%s %s: segment %x has %d bytes", test.name, test.arg, name, len(value))
			}
		}
		if len(segments) > 1500 {
			t.Errorf("%s %s: %d segments", test.name, test.arg, len(segments))
		}
	}
}

// Segments that cannot be are refused.
func TestWrongPartsAreRefused(t *testing.T) {
	type entry struct{ name, value string }
	tests := []struct {
		arg      event.Type
		segments []entry
		want     string
	}{
		{event.Long, []entry{{"\x80\x01", "\x01\x02"}}, "items of 2 or more bytes each, and 1 bytes are left"},
		{event.Long, []entry{{"\x80\x01", ""}}, "no items"},
		{event.Long, []entry{{"\x80", "\x01\x02\x01"}}, "no name"},
		{event.Long, []entry{{"\x80\x00\x01", "\x01\x02\x01"}}, "no name"},
		{event.Long, []entry{{"\xc0\x01", "\x01\x02\x01"}}, "more bits"},
		{event.Long, []entry{{"\x00\x01", "\x01\x02\x01"}}, "others"},
		{event.Long, []entry{{"\x80\x01", "\x01\x02\x01"}}, "should be one"},
		{event.Long, []entry{{"\x80\x01", "\x01\x02\x01"}, {"\x00\x01", "\x01\x01\x01"}}, "should be one"},
		{event.Long, []entry{{"\x80\x01", "\x01\x02\x01"}, {"\x80\x01", "\x01\x02\x01"}}, "in another one"},
		{event.Long, []entry{{"\x80\x01", "\x01\x02\x01"}, {"", "\x01\x01\x01"}}, "in another one"},
		{event.Long, []entry{{"", "\x01\x01\x01"}, {"\x80\x01", "\x01\x02\x01"}}, "in another one"},
		{event.Long, []entry{{"", "\x41\x02\x01" + strings.Repeat("\x01\x01", 64)}}, "too many"},
	}
	for _, test := range tests {
		for _, name := range []string{"min", "distinctCount"} {
			a := newSegmented(t, name, test.arg)
			err := error(nil)
			for _, p := range test.segments {
				value := p.value
				if name == "distinctCount" && p.name == "" {
					value = "\x00" + value
				}
				if err == nil {
					err = a.LoadSegment(0, []byte(p.name), []byte(value))
				}
			}
			if err == nil {
				err = a.CheckSegments(0)
			}
			if err == nil || !strings.Contains(err.Error(), test.want) && !strings.Contains(err.Error(), "0 nulls and 0 values") && !strings.Contains(err.Error(), "expected a number") {
				t.Errorf("%s %q: got %v, want %q", name, test.segments, err, test.want)
			}
		}
	}
}

// FuzzLoadSegment loads any bytes as a segment, beside one without a name: an error, or
// what is written just so, and can be used.
func FuzzLoadSegment(f *testing.F) {
	for i, seed := range segmented {
		a := newSegmented(f, seed.name, seed.arg)
		for n := range 200 {
			a.Add(0, []aggregate.Value{scatter(seed.arg, n)})
		}
		for name, value := range segmentsOf(a, 0) {
			f.Add(uint8(i), []byte(name), []byte(value), []byte(""))
		}
	}
	f.Fuzz(func(t *testing.T, which uint8, name, src, nameless []byte) {
		test := segmented[int(which)%len(segmented)]
		a := newSegmented(t, test.name, test.arg)
		if a.LoadSegment(1, name, src) != nil || a.LoadSegment(1, nil, nameless) != nil || a.CheckSegments(1) != nil {
			return
		}
		if again, ok := a.AppendSegment(nil, 1, name); len(name) > 0 && (!ok || !bytes.Equal(again, src)) {
			t.Fatalf("%s %s: segment %x: %x became %x", test.name, test.arg, name, src, again)
		}
		value := []aggregate.Value{{Int: 1, Real: 1, Text: "x"}}
		a.Add(1, value)
		a.Remove(1, value)
		a.Clear(1)
		if left := segmentsOf(a, 1); len(left) > 1 || left[""] != "" {
			t.Fatalf("%s %s: %q is left", test.name, test.arg, left)
		}
	})
}
