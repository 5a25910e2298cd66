package window_test

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

var pairSchema = &event.Schema{Name: "T", Attrs: []event.Attr{{Name: "v", Type: event.Int}}}

func newReorder() *window.Reorder {
	return window.NewReorder([]*event.Schema{rowSchema, nil, pairSchema})
}

// drawChunk makes rows of one of the streams around a time.
func drawChunk(t *rapid.T, now int64) (stream int, b *event.Batch) {
	stream = rapid.SampledFrom([]int{0, 0, 2}).Draw(t, "stream")
	b = event.NewBatch(rowSchema)
	if stream == 2 {
		b = event.NewBatch(pairSchema)
	}
	for i := range rapid.SampledFrom([]int{1, 1, 1, 3, 300}).Draw(t, "rows") {
		if stream == 0 {
			b.Cols[0].AppendText(rapid.SampledFrom([]string{"", "a", "of more than seven bytes"}).Draw(t, "k"))
			b.Cols[1].AppendInt(int64(i))
			b.Cols[2].AppendNull()
		} else {
			b.Cols[0].AppendInt(int64(i))
		}
		b.TS = append(b.TS, now-rapid.Int64Range(0, 20).Draw(t, "behind"))
	}
	return stream, b
}

// comeAndGo lets chunks come, and the clock move.
func comeAndGo(t *rapid.T, r *window.Reorder) {
	input, ok := r.Input()
	if !ok {
		input = -50
	}
	clock := input - 10
	for range rapid.IntRange(1, 3).Draw(t, "chunks") {
		stream, b := drawChunk(t, input+rapid.Int64Range(-5, 9).Draw(t, "ahead"))
		if at := window.Latest(b, 0, b.Len()); at > clock {
			r.Come(at)
			r.Add(stream, b, 0, b.Len(), at)
		}
	}
	if input, ok = r.Input(); !ok {
		return
	}
	clock = input - 10
	for at, waits := r.Next(); waits && at <= clock; at, waits = r.Next() {
		r.Take()
	}
	r.Passed(clock)
}

func TestReorderState(t *testing.T) {
	statetest.Run(t, func() state.Source { return newReorder() },
		func(t *rapid.T, s state.Source) { comeAndGo(t, s.(*window.Reorder)) })
}

// TestReorderOrder compares with a sorted list: chunks leave by time, then as they came,
// with the rows that they came with.
func TestReorderOrder(t *testing.T) {
	type chunk struct {
		at   int64
		text string
	}
	rapid.Check(t, func(t *rapid.T) {
		r := newReorder()
		var want []chunk
		now := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(want) > 0 && rapid.IntRange(0, 2).Draw(t, "what") == 0 {
				at, ok := r.Next()
				stream, b, from, to := r.Take()
				if got := (chunk{at, chunkText(stream, b, from, to)}); !ok || got != want[0] {
					t.Fatalf("%v leaves, not %v", got, want[0])
				}
				want = want[1:]
				continue
			}
			now += rapid.Int64Range(0, 8).Draw(t, "ms")
			stream, b := drawChunk(t, now)
			at := window.Latest(b, 0, b.Len())
			r.Add(stream, b, 0, b.Len(), at)
			want = append(want, chunk{at, chunkText(stream, b, 0, b.Len())})
			slices.SortStableFunc(want, func(a, b chunk) int { return int(a.at - b.at) })
		}
	})
}

func chunkText(stream int, b *event.Batch, from, to int) string {
	rows := event.NewBatch(b.Schema)
	rows.AppendRows(b, from, to)
	return fmt.Sprint(stream, rows.TS, rows.Cols[len(rows.Cols)/2].Ints)
}

// TestReorderItems shows what waits, and nothing else.
func TestReorderItems(t *testing.T) {
	r := newReorder()
	for i, at := range []int64{30, 20, 40} {
		b := event.NewBatch(pairSchema)
		b.Cols[0].AppendInt(int64(i))
		b.TS = append(b.TS, at)
		r.Come(at)
		r.Add(2, b, 0, 1, at)
	}
	r.Take()
	r.Passed(20)
	var got []string
	r.Items(func(i state.Item) {
		value, ok := r.Item(i.Key, i.Entry)
		if !ok || string(value) != string(i.Value) {
			t.Errorf("%s: listed as %s, found as %s, %t", i.Key, i.Value, value, ok)
		}
		got = append(got, fmt.Sprintf("%s %s", i.Key, i.Value))
	})
	want := []string{
		`event 1.0 {"stream":"T","time":30,"row":{"ts":30,"data":{"v":0}}}`,
		`event 3.0 {"stream":"T","time":40,"row":{"ts":40,"data":{"v":2}}}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
	if value, ok := r.Item("event 2.0", []byte("b\x00\x00\x00\x00\x00\x00\x00\x00")); ok {
		t.Errorf("an event that has left is found: %s", value)
	}
}

// TestReorderGivesMemoryBack has many events wait, in order and out of it: when they have
// left, the memory has, too, or an app that was over its limit would stay there.
func TestReorderGivesMemoryBack(t *testing.T) {
	r := newReorder()
	b := event.NewBatch(pairSchema)
	b.Cols[0].AppendInt(7)
	b.TS = append(b.TS, 0)
	const many = 100_000
	for i := range int64(many) {
		for _, at := range []int64{2*many + i, many - i} {
			b.TS[0] = at
			r.Add(2, b, 0, 1, at)
		}
	}
	for _, ok := r.Next(); ok; _, ok = r.Next() {
		r.Take()
	}
	if n := r.Bytes(); n > 1<<20 {
		t.Errorf("%d bytes are kept for nothing", n)
	}
}

// TestReorderMemory holds a stream in order to no memory per event.
func TestReorderMemory(t *testing.T) {
	r := newReorder()
	b := event.NewBatch(pairSchema)
	b.Cols[0].AppendInt(7)
	b.TS = append(b.TS, 0)
	now := int64(0)
	one := func() {
		now++
		r.Add(2, b, 0, 1, now)
		for at, ok := r.Next(); ok && at <= now-1000; at, ok = r.Next() {
			r.Take()
		}
	}
	for range 10_000 {
		one()
	}
	if n := testing.AllocsPerRun(10_000, one); n > 0.05 {
		t.Errorf("%.3f allocations per event", n)
	}
}
