package compress_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/compress"
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

// BenchmarkAutoOverhead seals each block with Auto and with the codec that Auto takes,
// by turns, so that the machine's moods hit both. %more is what Auto takes beyond that
// codec, in percent of its time: below 100, finding the codec is cheaper than the codec.
// A block that is stored as it is is compared with the codec that it would have had
// otherwise, which finds nothing in it either; %raw is the same beside None.
func BenchmarkAutoOverhead(b *testing.B) {
	for _, access := range []compress.Access{compress.Hot, compress.Cold} {
		for _, k := range kinds() {
			for _, n := range []int{1 << 10, 4 << 10, 16 << 10, 64 << 10, 256 << 10, 1 << 20} {
				if raw := k.cut(n, 1, 3); raw != nil {
					b.Run(fmt.Sprintf("%s/%s/%dKiB", access, k.name, n>>10), func(b *testing.B) {
						benchAuto(b, raw, compress.Choice{Access: access})
					})
				}
			}
		}
	}
}

func benchAuto(b *testing.B, raw []byte, auto compress.Choice) {
	sealed, decision := compress.SealExplain(nil, raw, auto)
	guided := compress.Choice{Codec: decision.Codec}
	if guided.Codec == compress.None {
		guided.Codec = compress.Zstd
		if auto.Access == compress.Hot {
			guided.Codec = compress.Snappy
		}
	}
	ways := [...]compress.Choice{auto, guided, {Codec: compress.None}}
	var took [len(ways)]time.Duration
	for b.Loop() {
		for i, how := range ways {
			start := time.Now()
			for range max(1, 64<<10/len(raw)) { // the clock takes as long as a short block
				sealed = compress.Seal(sealed[:0], raw, how)
			}
			took[i] += time.Since(start)
		}
	}
	more := func(than time.Duration) float64 { return 100*float64(took[0])/float64(than) - 100 }
	b.ReportMetric(more(took[1]), "%more")
	b.ReportMetric(more(took[2]), "%raw")
	b.ReportMetric(float64(took[0].Nanoseconds())/float64(b.N*max(1, 64<<10/len(raw))), "ns-auto")
	b.ReportMetric(float64(decision.Codec), "codec")
	b.ReportMetric(float64(guided.Codec), "guided")
	b.ReportMetric(0, "ns/op")
}
