package compress_test

import (
	"fmt"
	"testing"
	"time"

	"eventflux/shared/compress"
)

var benchBlocks = []struct {
	name  string
	bytes int
}{{"256B", 256}, {"4KiB", 4 << 10}, {"64KiB", 64 << 10}, {"256KiB", 256 << 10}}

// BenchmarkCodec seals and opens blocks with each codec and with Auto, cold and hot.
// The ratio is the sealed length over the raw one, in percent. Codec.Cost has its
// numbers from here.
func BenchmarkCodec(b *testing.B) {
	ways := []struct {
		name string
		how  compress.Choice
	}{
		{"none", compress.Choice{Codec: compress.None}},
		{"snappy", compress.Choice{Codec: compress.Snappy}},
		{"lz4", compress.Choice{Codec: compress.LZ4}},
		{"zstd", compress.Choice{Codec: compress.Zstd}},
		{"auto-hot", compress.Choice{Access: compress.Hot}},
		{"auto-cold", compress.Choice{}},
	}
	for _, k := range kinds() {
		for _, size := range benchBlocks {
			raw := k.cut(size.bytes, 1, 3)
			if raw == nil {
				continue
			}
			for _, way := range ways {
				sealed := compress.Seal(nil, raw, way.how)
				percent := 100 * float64(len(sealed)) / float64(len(raw))
				b.Run(fmt.Sprintf("%s/%s/%s/seal", k.name, size.name, way.name), func(b *testing.B) {
					b.SetBytes(int64(len(raw)))
					b.ReportAllocs()
					for b.Loop() {
						sealed = compress.Seal(sealed[:0], raw, way.how)
					}
					b.ReportMetric(percent, "%size")
				})
				b.Run(fmt.Sprintf("%s/%s/%s/open", k.name, size.name, way.name), func(b *testing.B) {
					b.SetBytes(int64(len(raw)))
					b.ReportAllocs()
					var back []byte
					var err error
					for b.Loop() {
						if back, err = compress.Open(back[:0], sealed, len(raw)); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}

// BenchmarkAutoOverhead seals each block with Auto and with the codec that Auto
// takes, by turns, so that the machine's moods hit both. %more is what Auto takes
// beyond that codec, in percent of its time: below 100, finding the codec is cheaper
// than the codec.
func BenchmarkAutoOverhead(b *testing.B) {
	for _, access := range []compress.Access{compress.Hot, compress.Cold} {
		for _, k := range kinds() {
			for _, n := range []int{1 << 10, 4 << 10, 8 << 10, 16 << 10, 64 << 10, 256 << 10} {
				raw := k.cut(n, 1, 3)
				if raw == nil {
					continue
				}
				auto := compress.Choice{Access: access}
				sealed, decision := compress.SealExplain(nil, raw, auto)
				guided := compress.Choice{Codec: decision.Codec}
				b.Run(fmt.Sprintf("%s/%s/%dB/%s", access, k.name, n, decision.Codec), func(b *testing.B) {
					var with, without time.Duration
					for b.Loop() {
						start := time.Now()
						sealed = compress.Seal(sealed[:0], raw, auto)
						middle := time.Now()
						sealed = compress.Seal(sealed[:0], raw, guided)
						with += middle.Sub(start)
						without += time.Since(middle)
					}
					b.ReportMetric(100*float64(with)/float64(without)-100, "%more")
					b.ReportMetric(float64((with-without).Nanoseconds())/float64(b.N), "ns-more/op")
					b.ReportMetric(0, "ns/op")
				})
			}
		}
	}
}
