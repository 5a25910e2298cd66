package engine_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const (
	keyedStreams = `define stream L (k long, v int);
define stream R (k long, v int);
`
	keyedTable = keyedStreams + `@PrimaryKey('k') define table T (k long, v int);
from R select k, v insert into T;
`
	joinApp   = keyedStreams + `from L#window.length(10000) as l join R#window.length(10000) as r on l.k == r.k select l.k as k, l.v as a, r.v as b insert into Out;`
	lookupApp = keyedTable + `from L join T on L.k == T.k select L.k as k, L.v as a, T.v as b insert into Out;`
	upsertApp = keyedTable + `from L select k, v update or insert into T on T.k == k;`
	updateApp = keyedTable + `from L select k, v update T set T.v = T.v + v on T.k == k;`
)

// keyInput sends batches of random keys to an app, and to the same written by hand.
type keyInput struct {
	rand  *rand.Rand
	batch *event.Batch
	sent  int64
}

const keyedBatch = 256

func (in *keyInput) fill(n int, key func(i int) int64) *event.Batch {
	in.batch.Reset()
	for i := range n {
		in.batch.Cols[0].AppendInt(key(i))
		in.batch.Cols[1].AppendInt(in.sent % 1000)
		in.batch.TS = append(in.batch.TS, 1000+in.sent/100_000)
		in.sent++
	}
	return in.batch
}

func (in *keyInput) turn(keys int) *event.Batch {
	return in.fill(keyedBatch, func(int) int64 { return in.rand.Int64N(int64(keys)) })
}

// benchKeyed opens with a row for each key in R, and measures what L, or both streams in turns,
// then cost. receive gets whether a batch is for the left stream.
func benchKeyed(b *testing.B, keys int, both bool, receive func(batch *event.Batch, left bool)) {
	in := &keyInput{rand: rand.New(rand.NewPCG(1, 2)), batch: event.NewBatch(&event.Schema{Attrs: []event.Attr{{Name: "k", Type: event.Long}, {Name: "v", Type: event.Int}}})}
	before := heapBytes()
	for from := 0; from < keys; from += keyedBatch {
		n := min(keyedBatch, keys-from)
		receive(in.fill(n, func(i int) int64 { return int64(from + i) }), false)
		if both {
			receive(in.batch, true)
		}
	}
	rows := keys
	if both {
		rows *= 2
	}
	size := float64(heapBytes()-before) / float64(rows)
	for range 100 { // the memory for results, and for rows that leave
		receive(in.turn(keys), true)
		receive(in.turn(keys), !both)
	}
	b.ReportAllocs()
	b.ResetTimer()
	began := cpuTime()
	for n := 0; b.Loop(); n++ {
		receive(in.turn(keys), !both || n%2 == 0)
	}
	took := cpuTime() - began
	b.ReportMetric(float64(b.N*keyedBatch)/took.Seconds(), "events/cpu-s")
	b.ReportMetric(float64(b.N*keyedBatch)/b.Elapsed().Seconds(), "events/s")
	b.ReportMetric(size, "B/row")
}

func benchKeyedApp(b *testing.B, app string, keys int, both bool) {
	plan, err := siddhiql.Compile(app)
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.New(plan)
	if err != nil {
		b.Fatal(err)
	}
	streams := map[bool]*siddhiql.Stream{true: plan.Stream("L"), false: plan.Stream("R")}
	benchKeyed(b, keys, both, func(batch *event.Batch, left bool) {
		for i, announced := 0, 0; i < batch.Len(); i++ {
			if i == announced {
				announced = e.Announce(streams[left], batch, i)
			}
			e.Send(streams[left], batch, i, i+1, batch.TS[i])
		}
		e.ResetOutputs()
	})
	runtime.KeepAlive(e)
}

// BenchmarkJoin measures joins and tables with rows that are found by a key, beside the same
// written by hand with maps.
func BenchmarkJoin(b *testing.B) {
	b.Run("streams", func(b *testing.B) { benchKeyedApp(b, joinApp, 10_000, true) })
	b.Run("streams-by-hand", func(b *testing.B) {
		h := newWindowsByHand(10_000)
		benchKeyed(b, 10_000, true, h.receive)
		runtime.KeepAlive(h)
	})
	for _, keys := range []int{1_000, 10_000, 100_000, 1_000_000, 10_000_000} {
		for name, app := range map[string]string{"lookup": lookupApp, "upsert": upsertApp, "update": updateApp} {
			b.Run(fmt.Sprintf("%s/%d", name, keys), func(b *testing.B) { benchKeyedApp(b, app, keys, false) })
		}
		for name, left := range map[string]func(*tableByHand, int64, int64){"lookup": (*tableByHand).lookup, "upsert": (*tableByHand).upsert, "update": (*tableByHand).update} {
			b.Run(fmt.Sprintf("%s-by-hand/%d", name, keys), func(b *testing.B) {
				h := &tableByHand{rows: map[int64]int64{}, out: newOut()}
				benchKeyed(b, keys, false, func(batch *event.Batch, isLeft bool) {
					h.out.Reset()
					for i, k := range batch.Cols[0].Ints {
						if isLeft {
							left(h, k, batch.Cols[1].Ints[i])
						} else {
							h.upsert(k, batch.Cols[1].Ints[i])
						}
					}
				})
				runtime.KeepAlive(h)
			})
		}
	}
}

func newOut() *event.Batch {
	return event.NewBatch(&event.Schema{Attrs: []event.Attr{{Name: "k", Type: event.Long}, {Name: "a", Type: event.Int}, {Name: "b", Type: event.Int}}})
}

// tableByHand is what an engineer writes for a table with a key.
type tableByHand struct {
	rows map[int64]int64
	out  *event.Batch
}

func (h *tableByHand) lookup(k, v int64) {
	if found, ok := h.rows[k]; ok {
		emit(h.out, k, v, found)
	}
}

func (h *tableByHand) upsert(k, v int64) { h.rows[k] = v }

func (h *tableByHand) update(k, v int64) {
	if old, ok := h.rows[k]; ok {
		h.rows[k] = old + v
	}
}

func emit(out *event.Batch, k, a, b int64) {
	out.Cols[0].AppendInt(k)
	out.Cols[1].AppendInt(a)
	out.Cols[2].AppendInt(b)
	out.TS = append(out.TS, 0)
}

// windowsByHand is what an engineer writes for a join of the last rows of two streams.
type windowsByHand struct {
	sides [2]sideByHand
	out   *event.Batch
}

type sideByHand struct {
	ring  []rowByHand
	next  int
	byKey map[int64][]int32 // places in ring, oldest first
}

type rowByHand struct{ k, v int64 }

func newWindowsByHand(rows int) *windowsByHand {
	h := &windowsByHand{out: newOut()}
	for i := range h.sides {
		h.sides[i] = sideByHand{ring: make([]rowByHand, 0, rows), byKey: map[int64][]int32{}}
	}
	return h
}

func (h *windowsByHand) receive(batch *event.Batch, left bool) {
	h.out.Reset()
	own, other := &h.sides[0], &h.sides[1]
	if !left {
		own, other = other, own
	}
	for i, k := range batch.Cols[0].Ints {
		row := rowByHand{k, batch.Cols[1].Ints[i]}
		if len(own.ring) < cap(own.ring) {
			own.ring = append(own.ring, row)
		} else {
			old := own.ring[own.next].k
			if list := own.byKey[old]; len(list) > 1 {
				own.byKey[old] = list[1:]
			} else {
				delete(own.byKey, old)
			}
			own.ring[own.next] = row
		}
		own.byKey[k] = append(own.byKey[k], int32(own.next))
		own.next = (own.next + 1) % cap(own.ring)
		for _, at := range other.byKey[k] {
			found := other.ring[at]
			if left {
				emit(h.out, k, row.v, found.v)
			} else {
				emit(h.out, k, found.v, row.v)
			}
		}
	}
}
