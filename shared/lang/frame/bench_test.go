package frame_test

import (
	"fmt"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// The flights are cut into frames of 1,000 rows, as a moderate load gives them,
// and of 20,000, as a flood does.
var benchRows = []int{1_000, 20_000}

func BenchmarkEncode(b *testing.B) {
	all := flights(b, 0)
	for _, rows := range benchRows {
		part := event.NewBatch(flightSchema)
		part.AppendRows(all, 0, rows)
		f := eventsOf(part)
		for _, codec := range compress.Codecs() {
			b.Run(fmt.Sprintf("rows=%d/%s", rows, codec), func(b *testing.B) {
				var e frame.Encoder
				var dst []byte
				b.ReportAllocs()
				for b.Loop() {
					var err error
					if dst, err = e.Append(dst[:0], f, codec); err != nil {
						b.Fatal(err)
					}
				}
				perEvent(b, rows, len(dst))
			})
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	all := flights(b, 0)
	for _, rows := range benchRows {
		part := event.NewBatch(flightSchema)
		part.AppendRows(all, 0, rows)
		f := eventsOf(part)
		for _, codec := range compress.Codecs() {
			src := encode(b, f, codec)
			b.Run(fmt.Sprintf("rows=%d/%s", rows, codec), func(b *testing.B) {
				var d frame.Decoder
				b.ReportAllocs()
				for b.Loop() {
					if _, err := d.Decode(src); err != nil {
						b.Fatal(err)
					}
				}
				perEvent(b, rows, len(src))
			})
		}
	}
}

// perEvent reports what matters of a frame: time and bytes for each event.
func perEvent(b *testing.B, rows, bytes int) {
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/event")
	b.ReportMetric(float64(bytes)/float64(rows), "bytes/event")
}
