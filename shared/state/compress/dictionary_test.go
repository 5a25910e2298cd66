package compress_test

import (
	"fmt"
	"testing"

	"github.com/eventflux/eventflux/shared/state/compress"

	"github.com/klauspost/compress/dict"
	"github.com/klauspost/compress/zstd"
)

// BenchmarkDictionary shows why envelopes have no dictionaries: with one of 1 KiB,
// trained on the first half of the entries, %gain is what Zstd saves on small blocks
// of the second half, against the best codec without; blocks-to-pay is after how many
// of them the dictionary itself has been earned back.
func BenchmarkDictionary(b *testing.B) {
	for _, name := range []string{"aggregates", "aggregates-varint", "flights-columns", "flights-json"} {
		data := kindNamed(b, name).data
		for _, n := range []int{128, 256, 512, 1024, 2048} {
			b.Run(fmt.Sprintf("%s/%dB", name, n), func(b *testing.B) {
				seen, next := data[:len(data)/2], data[len(data)/2:]
				coder, trained := trainedCoder(b, seen, n)
				count := min(200, len(next)/n)
				var plain, dicted int
				var out []byte
				for b.Loop() {
					plain, dicted = 0, 0
					for i := range count {
						raw := next[i*n : (i+1)*n]
						best := n
						for _, c := range compress.Codecs() {
							_, d := compress.SealExplain(nil, raw, compress.Choice{Codec: c})
							best = min(best, d.StoredLen)
						}
						out = coder.EncodeAll(raw, out[:0])
						plain, dicted = plain+best, dicted+min(best, len(out))
					}
				}
				gain := float64(plain - dicted)
				b.ReportMetric(100*gain/float64(plain), "%gain")
				b.ReportMetric(float64(trained)*float64(count)/max(gain, 1), "blocks-to-pay")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// trainedCoder returns a coder with a dictionary for blocks of n bytes, and its size.
func trainedCoder(b *testing.B, seen []byte, n int) (*zstd.Encoder, int) {
	var samples [][]byte
	for at := 0; at+n <= len(seen) && len(samples) < 400; at += n {
		samples = append(samples, seen[at:at+n])
	}
	trained, err := dict.BuildZstdDict(samples, dict.Options{MaxDictSize: 1 << 10, HashBytes: 6, ZstdDictID: 1, ZstdLevel: zstd.SpeedDefault})
	if err != nil {
		b.Fatal(err)
	}
	coder, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(false), zstd.WithEncoderDict(trained), zstd.WithAllLitEntropyCompression(true))
	if err != nil {
		b.Fatal(err)
	}
	return coder, len(trained)
}
