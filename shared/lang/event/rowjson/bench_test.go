package rowjson

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// The message is what a publisher of volume sends: 512 rows of NDJSON.
func message(b *testing.B, file string) []byte {
	lines := bytes.SplitAfterN(realData(b, file), []byte("\n"), 513)
	return bytes.Join(lines[:512], nil)
}

func reportRate(b *testing.B, rows int) {
	b.ReportMetric(float64(rows)*float64(b.N)/b.Elapsed().Seconds(), "events/s")
}

func BenchmarkDecodeFlights(b *testing.B) { benchmarkDecode(b, flightsSchema(), "flights.ndjson") }
func BenchmarkDecodeQuakes(b *testing.B)  { benchmarkDecode(b, quakesSchema(), "earthquakes.ndjson") }

// The library alone, as every row that is not of the common shape is read.
func BenchmarkDecodeFlightsLibrary(b *testing.B) {
	d := NewDecoder(flightsSchema())
	breakFastPath(d)
	decode(b, d, message(b, "flights.ndjson"), 512)
}

// One event per message, as most publishers send them.
func BenchmarkDecodeOneFlight(b *testing.B) {
	line, _, _ := bytes.Cut(message(b, "flights.ndjson"), []byte("\n"))
	decode(b, NewDecoder(flightsSchema()), line, 1)
}

func benchmarkDecode(b *testing.B, s *event.Schema, file string) {
	decode(b, NewDecoder(s), message(b, file), 512)
}

func decode(b *testing.B, d *Decoder, payload []byte, rows int) {
	batch := event.NewBatch(d.schema)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		if n, refused := d.Rows(batch, payload, 1); n != rows || refused != nil {
			b.Fatal(n, refused)
		}
	}
	reportRate(b, rows)
}

func BenchmarkDecodeEncodingJSON(b *testing.B) {
	payload := message(b, "flights.ndjson")
	lines := bytes.Split(bytes.TrimSpace(payload), []byte("\n"))
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		for _, line := range lines {
			var f struct {
				Time                int64
				Origin, Destination string
				Delay, Distance     int32
			}
			if err := json.Unmarshal(line, &f); err != nil {
				b.Fatal(err)
			}
		}
	}
	reportRate(b, 512)
}

func BenchmarkEncode(b *testing.B) {
	s := flightsSchema()
	batch := event.NewBatch(s)
	payload := message(b, "flights.ndjson")
	NewDecoder(s).Rows(batch, payload, 1)
	var dst []byte
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		dst = dst[:0]
		for i := range batch.Len() {
			dst = append(AppendObject(dst, batch, i), '\n')
		}
	}
	reportRate(b, 512)
}
