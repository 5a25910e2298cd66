//go:build !race && !scribble

// Under the race detector pools drop what they are given, at random.

package frame_test

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

func TestNoAllocationOnceWarm(t *testing.T) {
	small, large := everything(), eventsOf(flights(t, 4_000))
	small.App = large.App // a log is of one app
	var encoder frame.Encoder
	var decoder frame.Decoder
	var src []byte
	for _, codec := range compress.Codecs() {
		allocs := testing.AllocsPerRun(100, func() {
			for _, f := range []*frame.Frame{large, small} {
				var err error
				if src, err = encoder.Append(src[:0], f, codec); err != nil {
					t.Fatal(err)
				}
				if _, err = decoder.Decode(src); err != nil {
					t.Fatal(err)
				}
			}
		})
		if allocs >= 1 {
			t.Errorf("%s: %.1f allocations for two frames", codec, allocs)
		}
	}
}
