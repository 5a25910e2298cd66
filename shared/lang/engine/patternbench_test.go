package engine_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const silenceApp = `@app:playback() define stream S (k long, b bool);
from every a=S -> not S[k == a.k] for 1 min select a.k as k insert into Out;`

// patternInput is what the pattern benchmarks send: batches of a stream of keys. Each key that
// comes while others are open replaces one of them, chosen at random.
type patternInput struct {
	batch *event.Batch
	open  []int64
	next  int64
	sent  int64
	rand  *rand.Rand
}

const patternBatch = 256

func newPatternInput(schema *event.Schema) *patternInput {
	return &patternInput{batch: event.NewBatch(schema), rand: rand.New(rand.NewPCG(1, 2))}
}

func (in *patternInput) add(key int64, closes bool) {
	in.batch.Cols[0].AppendInt(key)
	in.batch.Cols[1].AppendBool(closes)
	in.batch.TS = append(in.batch.TS, 1000+in.sent/100_000) // 100,000 events/ms: none expires
	in.sent++
}

// fill opens keys.
func (in *patternInput) fill(keys int, send func(*event.Batch)) {
	for len(in.open) < keys {
		in.batch.Reset()
		for range min(patternBatch, keys-len(in.open)) {
			in.add(in.next, false)
			in.open = append(in.open, in.next)
			in.next++
		}
		send(in.batch)
	}
}

// turn makes a batch that closes open keys and opens as many.
func (in *patternInput) turn() *event.Batch {
	in.batch.Reset()
	for range patternBatch / 2 {
		i := in.rand.IntN(len(in.open))
		in.add(in.open[i], true)
		in.add(in.next, false)
		in.open[i] = in.next
		in.next++
	}
	return in.batch
}

// beat makes a batch where open keys come again.
func (in *patternInput) beat() *event.Batch {
	in.batch.Reset()
	for range patternBatch {
		in.add(in.open[in.rand.IntN(len(in.open))], false)
	}
	return in.batch
}

// BenchmarkPattern completes and starts matches while many are open, and renews silence
// deadlines, beside state machines written by hand for the same.
func BenchmarkPattern(b *testing.B) {
	for _, keys := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("open/%d", keys), func(b *testing.B) { benchPattern(b, openMatchesApp, keys, (*patternInput).turn) })
		b.Run(fmt.Sprintf("open-by-hand/%d", keys), func(b *testing.B) { benchByHand(b, keys, (*patternInput).turn) })
		b.Run(fmt.Sprintf("silence/%d", keys), func(b *testing.B) { benchPattern(b, silenceApp, keys, (*patternInput).beat) })
		b.Run(fmt.Sprintf("silence-by-hand/%d", keys), func(b *testing.B) { benchByHand(b, keys, (*patternInput).beat) })
	}
}

func benchPattern(b *testing.B, app string, keys int, next func(*patternInput) *event.Batch) {
	plan, err := siddhiql.Compile(app)
	if err != nil {
		b.Fatal(err)
	}
	e := newPatternEngine(b, plan)
	stream := plan.Stream("S")
	benchInput(b, stream.Schema, keys, next, func(batch *event.Batch) {
		e.Send(stream, batch, 0, batch.Len(), 0)
		e.ResetOutputs()
	})
	runtime.KeepAlive(e)
}

// byHand is what an engineer writes for both patterns: the open keys in a map, the order in
// which they end in a queue, the results in a batch.
type byHand struct {
	open  map[int64]int64 // since when
	queue []byHandEnd
	head  int
	out   *event.Batch
}

type byHandEnd struct{ key, since int64 }

func (h *byHand) receive(batch *event.Batch) {
	h.out.Reset()
	for i, key := range batch.Cols[0].Ints {
		ts := batch.TS[i]
		for ; h.head < len(h.queue) && h.queue[h.head].since < ts-60_000; h.head++ {
			if end := h.queue[h.head]; h.open[end.key] == end.since {
				delete(h.open, end.key)
			}
		}
		if h.head > len(h.queue)/2 {
			h.queue = h.queue[:copy(h.queue, h.queue[h.head:])]
			h.head = 0
		}
		if batch.Cols[1].Ints[i] == 0 {
			if since, ok := h.open[key]; !ok || since != ts {
				h.open[key] = ts
				h.queue = append(h.queue, byHandEnd{key, ts})
			}
			if len(h.queue) > 2*len(h.open)+64 {
				h.squeeze()
			}
			continue
		}
		if _, ok := h.open[key]; ok {
			h.out.Cols[0].AppendInt(key)
			h.out.TS = append(h.out.TS, ts)
			delete(h.open, key)
		}
	}
}

// squeeze removes the ends of keys that are no longer open.
func (h *byHand) squeeze() {
	kept := h.queue[:0]
	for _, end := range h.queue[h.head:] {
		if h.open[end.key] == end.since {
			kept = append(kept, end)
		}
	}
	h.queue, h.head = kept, 0
}

func benchByHand(b *testing.B, keys int, next func(*patternInput) *event.Batch) {
	plan, err := siddhiql.Compile(openMatchesApp)
	if err != nil {
		b.Fatal(err)
	}
	schema := plan.Stream("S").Schema
	h := &byHand{open: map[int64]int64{}, out: event.NewBatch(schema)}
	benchInput(b, schema, keys, next, h.receive)
	runtime.KeepAlive(h)
}

func benchInput(b *testing.B, schema *event.Schema, keys int, next func(*patternInput) *event.Batch, send func(*event.Batch)) {
	in := newPatternInput(schema)
	in.open = make([]int64, 0, keys)
	before := heapBytes()
	in.fill(keys, send)
	perKey := float64(heapBytes()-before) / float64(keys)
	for range 2 * keys / patternBatch { // until its memory grows no more
		send(next(in))
	}
	b.ReportAllocs()
	used := cpuTime()
	for b.Loop() {
		send(next(in))
	}
	used = cpuTime() - used
	b.ReportMetric(float64(b.N)*patternBatch/used.Seconds(), "events/cpu-s")
	b.ReportMetric(float64(b.N)*patternBatch/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(perKey, "B/key")
}

// cpuTime is the time that the process has run, without waiting for a processor. So a figure per
// second of it also holds on a machine that is busy with other work.
func cpuTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano())
}

func heapBytes() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
