package engine_test

import (
	"bufio"
	"encoding/json"
	"os"
	"strconv"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const flightsApp = `@app:name('bench')
define stream Flights (time long, origin string, destination string, delay int, distance int);
`

// flights returns the real flights as batches of 1,000 rows, with the time of the
// flight as the row's own.
func flights(tb testing.TB, s *event.Schema) []*event.Batch {
	file, err := os.Open("../../../examples/data/flights.ndjson")
	if err != nil {
		tb.Fatal(err)
	}
	defer file.Close()
	var batches []*event.Batch
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var f struct {
			Time                int64
			Origin, Destination string
			Delay, Distance     int64
		}
		if err := json.Unmarshal(lines.Bytes(), &f); err != nil {
			tb.Fatal(err)
		}
		if n := len(batches); n == 0 || batches[n-1].Len() == 1000 {
			batches = append(batches, event.NewBatch(s))
		}
		b := batches[len(batches)-1]
		b.Cols[0].AppendInt(f.Time)
		b.Cols[1].AppendText(f.Origin)
		b.Cols[2].AppendText(f.Destination)
		b.Cols[3].AppendInt(f.Delay)
		b.Cols[4].AppendInt(f.Distance)
		b.TS = append(b.TS, f.Time)
	}
	return batches
}

// benchApp runs an app over the flights again and again. Each round is later than
// the one before, as a log would be.
func benchApp(b *testing.B, app string, change func(*event.Batch, int)) {
	plan, err := siddhiql.Compile(flightsApp + app)
	if err != nil {
		b.Fatal(err)
	}
	e, err := engine.New(plan)
	if err != nil {
		b.Fatal(err)
	}
	stream := plan.Streams[0]
	batches := flights(b, stream.Schema)
	for i, batch := range batches {
		if change != nil {
			change(batch, i)
		}
	}
	span := batches[len(batches)-1].TS[batches[len(batches)-1].Len()-1] - batches[0].TS[0] + 60_000
	events, shift := 0, int64(0)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; events < b.N; n++ {
		batch := batches[n%len(batches)]
		if n%len(batches) == 0 && n > 0 {
			shift = span
		}
		if shift > 0 {
			for i := range batch.TS {
				batch.TS[i] += shift
			}
		}
		for i := range batch.TS {
			e.Send(stream, batch, i, i+1, batch.TS[i])
		}
		e.ResetOutputs()
		events += batch.Len()
	}
	b.ReportMetric(float64(events)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkEngine(b *testing.B) {
	b.Run("filter", func(b *testing.B) {
		benchApp(b, `from Flights[delay > 60] select origin, destination, delay insert into Late;`, nil)
	})
	b.Run("length100-sum", func(b *testing.B) {
		benchApp(b, `from Flights#window.length(100) select sum(delay) as total insert into Out;`, nil)
	})
	b.Run("length100-avg-max-by-origin", func(b *testing.B) {
		benchApp(b, `from Flights#window.length(100) select origin, avg(delay) as mean, max(delay) as worst group by origin insert into Out;`, nil)
	})
	b.Run("timeBatch-by-origin", func(b *testing.B) {
		benchApp(b, `from Flights#window.timeBatch(1 hour) select origin, avg(delay) as mean, count() as n group by origin insert into Out;`, nil)
	})
	b.Run("avg-10000-keys", func(b *testing.B) {
		row := 0
		benchApp(b, `from Flights select origin, avg(delay) as mean group by origin insert into Out;`, func(batch *event.Batch, _ int) {
			n := batch.Len()
			batch.Cols[1] = event.Column{Type: event.String}
			for range n {
				batch.Cols[1].AppendText("key" + strconv.Itoa(row*7919%10000))
				row++
			}
		})
	})
}
