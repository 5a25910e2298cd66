package rowjson

import (
	"bytes"
	"encoding/json"
	"testing"

	"eventflux/shared/event"
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

func benchmarkDecode(b *testing.B, s *event.Schema, file string) {
	payload := message(b, file)
	d, batch := NewDecoder(s), event.NewBatch(s)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		if n, refused := d.Rows(batch, payload, 1); n != 512 || refused != nil {
			b.Fatal(n, refused)
		}
	}
	reportRate(b, 512)
}

// The library alone, as every row that is not of the common shape is read.
func BenchmarkDecodeFlightsLibrary(b *testing.B) {
	s, payload := flightsSchema(), message(b, "flights.ndjson")
	d, batch := NewDecoder(s), event.NewBatch(s)
	breakFastPath(d)
	b.SetBytes(int64(len(payload)))
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		if n, refused := d.Rows(batch, payload, 1); n != 512 || refused != nil {
			b.Fatal(n, refused)
		}
	}
	reportRate(b, 512)
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
