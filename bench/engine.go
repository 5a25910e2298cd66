package main

import (
	"context"
	"runtime"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
)

const jvm = "Siddhi "

// runEngine measures queries over decoded batches, in one goroutine.
func runEngine(ctx context.Context, b *bench) ([]table, error) {
	all, err := b.gobench(ctx, "./shared/lang/engine", "^BenchmarkEngine$")
	if err != nil {
		return nil, err
	}
	rows, err := all.fill([]benchRow{
		{bench: "BenchmarkEngine/filter", allocsOf: 1, row: row{what: "filter", goal: 20e6, extra: jvm + "8.2 M"}},
		{bench: "BenchmarkEngine/length100-sum", allocsOf: 1, row: row{what: "`length(100)`, sum", goal: 10e6, extra: jvm + "4.1 M"}},
		{bench: "BenchmarkEngine/length100-avg-max-by-origin", allocsOf: 1, row: row{what: "`length(100)`, avg and max by origin", goal: 5e6, extra: jvm + "1.74 M"}},
		{bench: "BenchmarkEngine/timeBatch-by-origin", allocsOf: 1, row: row{what: "`timeBatch(1 hour)`, avg and count by origin", goal: 5e6, extra: jvm + "1.6 M, with externalTimeBatch"}},
		{bench: "BenchmarkEngine/avg-10000-keys", allocsOf: 1, row: row{what: "avg by key, 10,000 keys"}},
	})
	if err != nil {
		return nil, err
	}
	floors, err := b.floors()
	if err != nil {
		return nil, err
	}
	return []table{{
		title: "The engine alone",
		about: "Batches of 1,000 decoded flights, one goroutine, one result per event where the query has one. The\n" +
			"figures of Siddhi 5.1 are for reference: they were measured earlier, on a warm JVM, with the same\n" +
			"queries and flights.",
		unit: "events/s", rows: append(rows, floors...),
	}}, nil
}

// floors measures what no engine over these batches can be faster than: reading
// one column, and copying all of them.
func (b *bench) floors() ([]row, error) {
	flights, err := loadFlights(b.root)
	if err != nil {
		return nil, err
	}
	batches := flights.batches(1000)
	var sum int64
	scan := b.perSecond(func() int {
		events := 0
		for _, batch := range batches {
			for _, v := range batch.Cols[delayColumn].Ints {
				sum += v
			}
			events += batch.Len()
		}
		return events
	})
	dst := event.NewBatch(batches[0].Schema)
	move := b.perSecond(func() int {
		events := 0
		for _, batch := range batches {
			dst.Reset()
			dst.AppendRows(batch, 0, batch.Len())
			events += batch.Len()
		}
		return events
	})
	runtime.KeepAlive(sum) // or the loop is optimized away
	return []row{
		{what: "limit: one column read and summed", value: scan},
		{what: "limit: all columns copied", value: move},
	}, nil
}

// perSecond returns the events/s of work, which returns how many it handles.
func (b *bench) perSecond(work func() int) figure {
	var values []float64
	for range b.repeat {
		events := 0
		r := testing.Benchmark(func(tb *testing.B) {
			events = 0
			for range tb.N {
				events += work()
			}
		})
		values = append(values, float64(events)/r.T.Seconds())
	}
	return medianOf(rate, values...)
}
