package engine_test

import (
	"fmt"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

const (
	stateRows   = 50_000 // that each state has seen
	stateGroups = 10_000 // of each aggregator
	deltaRows   = 1_000  // between two deltas
	// deltasMax is how many deltas follow on one state, so that no window grows
	// with the length of the benchmark.
	deltasMax = 50
)

const keyedApp = `@app:playback define stream Flights (time long, key string, origin string, destination string, delay int, distance int);
@info(name = 'q') from Flights`

// stateBenches are the state holders, and the apps that they stand in.
var stateBenches = []struct{ name, component, app string }{
	{"length", "q/window", allOf("#length(50000)")},
	{"lengthBatch", "q/window", allOf("#lengthBatch(200000)")},
	{"time", "q/window", allOf("#time(30 days)")},
	{"timeBatch", "q/window", allOf("#timeBatch(30 days)")},
	{"externalTime", "q/window", allOf("#externalTime(time, 30 days)")},
	{"externalTimeBatch", "q/window", allOf("#externalTimeBatch(time, 30 days)")},
	{"session", "q/window", allOf("#session(1 day, key)")},
	{"sort", "q/window", allOf("#sort(50000, delay)")},
	{"sum", "q/aggregate", eachKey("sum(delay)")},
	{"count", "q/aggregate", eachKey("count()")},
	{"avg", "q/aggregate", eachKey("avg(delay)")},
	{"min", "q/aggregate", eachKey("min(delay)")},
	{"max", "q/aggregate", eachKey("max(delay)")},
	{"distinctCount", "q/aggregate", eachKey("distinctCount(destination)")},
}

func allOf(window string) string {
	return keyedApp + window + ` select time, key, origin, destination, delay, distance insert all events into Out;`
}

// eachKey aggregates what a window holds, so that values also leave.
func eachKey(call string) string {
	return keyedApp + `#length(50000) select key, ` + call + ` as x group by key insert into Out;`
}

// feed is an endless stream of the real flights, 10 ms apart, each with the next of
// many keys.
type feed struct {
	flights []*event.Batch // of deltaRows each
	next    *event.Batch
	sent    int
}

func newFeed(tb testing.TB, s *event.Schema) *feed {
	plan, err := siddhiql.Compile(flightsApp + `from Flights select time insert into Out;`)
	if err != nil {
		tb.Fatal(err)
	}
	return &feed{flights: flights(tb, plan.Streams[0].Schema), next: event.NewBatch(s)}
}

func (f *feed) batch() *event.Batch {
	from, b := f.flights[f.sent/deltaRows%len(f.flights)], f.next
	b.Reset()
	for i := range from.TS {
		ts := 1_000_000_000_000 + 10*int64(f.sent)
		b.TS = append(b.TS, ts)
		b.Cols[0].AppendInt(ts)
		// Never the key of the row that leaves a window when this one comes.
		b.Cols[1].AppendText(fmt.Sprintf("key%d", (f.sent*7919+f.sent/stateGroups)%stateGroups))
		b.Cols[2].AppendText(from.Cols[1].Text(i))
		b.Cols[3].AppendText(from.Cols[2].Text(i))
		b.Cols[4].AppendInt(from.Cols[3].Ints[i])
		b.Cols[5].AppendInt(from.Cols[4].Ints[i])
		f.sent++
	}
	return b
}

// fed is a holder whose app has seen stateRows rows, all of them committed.
type fed struct {
	state.Holder
	engine *engine.Engine
	stream *siddhiql.Stream
	feed   *feed
	epoch  state.Epoch
}

func newFed(tb testing.TB, app, component string) *fed {
	plan, err := siddhiql.Compile(app)
	if err != nil {
		tb.Fatal(err)
	}
	f := &fed{stream: plan.Streams[0]}
	f.feed = newFeed(tb, f.stream.Schema)
	f.Holder, f.engine = holderAfter(tb, app, component)
	for range stateRows / deltaRows {
		f.more()
	}
	f.commit()
	return f
}

func (f *fed) more() { sendRows(f.engine, f.stream, f.feed.batch()) }

func (f *fed) commit() {
	f.epoch++
	f.Cut(f.epoch)
	f.Committed(f.epoch)
}

// delta returns what changed since the last commit, and commits it.
func (f *fed) delta(tb testing.TB) []state.Change {
	f.epoch++
	f.Cut(f.epoch)
	capture, err := f.Delta(f.epoch - 1)
	if err != nil {
		tb.Fatal(err)
	}
	return capture.Changes()
}

// BenchmarkState takes the state of each holder out, puts it back, and takes out
// what 1,000 further events changed, all in one goroutine and without compression.
func BenchmarkState(b *testing.B) {
	for _, s := range stateBenches {
		b.Run(s.name, func(b *testing.B) {
			f := newFed(b, s.app, s.component)
			data := serialized(b, f)
			b.Run("serialize", func(b *testing.B) { benchSerialize(b, f, len(data)) })
			b.Run("deserialize", func(b *testing.B) { benchDeserialize(b, s.app, s.component, data) })
			b.Run("delta", func(b *testing.B) { benchDelta(b, s.app, s.component) })
			b.Run("memmove", func(b *testing.B) {
				target := make([]byte, len(data))
				b.SetBytes(int64(len(data)))
				for range b.N {
					copy(target, data)
				}
				perEvent(b, stateRows)
			})
		})
	}
}

func benchSerialize(b *testing.B, h state.Holder, size int) {
	b.SetBytes(int64(size))
	b.ReportAllocs()
	for range b.N {
		serialized(b, h)
	}
	perEvent(b, stateRows)
	b.ReportMetric(float64(size), "bytes")
}

func benchDeserialize(b *testing.B, app, component string, data []byte) {
	h, _ := holderAfter(b, app, component)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	b.ResetTimer()
	for range b.N {
		if err := state.DeserializeState(h, data); err != nil {
			b.Fatal(err)
		}
	}
	perEvent(b, stateRows)
}

func benchDelta(b *testing.B, app, component string) {
	b.ReportAllocs()
	var f *fed
	size := 0
	for n := range b.N {
		b.StopTimer()
		if n%deltasMax == 0 {
			f = newFed(b, app, component)
		}
		f.more()
		b.StartTimer()
		changes := f.delta(b)
		b.StopTimer()
		f.Committed(f.epoch)
		for _, c := range changes {
			size += len(c.Key) + len(c.Value)
		}
		b.StartTimer()
	}
	b.SetBytes(int64(size / b.N))
	perEvent(b, deltaRows)
	b.ReportMetric(float64(size)/float64(b.N), "bytes")
}

func perEvent(b *testing.B, events int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(events), "ns/event")
}
