//go:build !race

// Under the race detector pools drop what they are given, at random.

package compress_test

import (
	"testing"

	"github.com/eventflux/eventflux/shared/state/compress"
)

func TestNoAllocationForEnvelopes(t *testing.T) {
	for _, k := range kinds() {
		for _, how := range choices() {
			for _, n := range []int{100, 1000, 20_000} {
				raw := k.cut(n, 0, 1)
				var sealed, back []byte
				allocs := testing.AllocsPerRun(20, func() {
					sealed, _ = compress.SealExplain(sealed[:0], raw, how)
					var err error
					if back, err = compress.Open(back[:0], sealed, n); err != nil {
						t.Fatal(err)
					}
				})
				if allocs >= 1 {
					t.Errorf("%s of %d with %+v: %.1f allocations", k.name, n, how, allocs)
				}
			}
		}
	}
}

func TestNoAllocationOnceWarm(t *testing.T) {
	raw := samples()["json"]
	for _, codec := range compress.Codecs() {
		var packed, back []byte
		allocs := testing.AllocsPerRun(200, func() {
			packed = codec.Compress(packed[:0], raw)
			var err error
			if back, err = codec.Decompress(back[:0], packed, len(raw)); err != nil {
				t.Fatal(err)
			}
		})
		if allocs >= 1 {
			t.Errorf("%s: %.1f allocations a block", codec, allocs)
		}
	}
}
