package frame_test

import (
	"errors"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// FuzzDecode feeds bytes as they are, and with size and CRC set right: otherwise the
// checksum would keep the fuzzer from everything after it.
func FuzzDecode(f *testing.F) {
	for _, seed := range []*frame.Frame{example(), everything(), eventsOf(flights(f, 40)), tick(), barrier(), clock(), deploy(), upgrade()} {
		for _, codec := range compress.Codecs() {
			f.Add(encode(f, seed, codec))
		}
	}
	payload := unhex(f, leastPayload)
	f.Add(withPayload(f, frame.Events, compress.None, payload, len(payload)))
	var decoder frame.Decoder
	var encoder frame.Encoder
	f.Fuzz(func(t *testing.T, src []byte) {
		tryDecode(t, &decoder, &encoder, src)
		if len(src) >= 53 {
			tryDecode(t, &decoder, &encoder, reseal(src))
		}
	})
}

// tryDecode fails unless src is refused with a known class of error, or is a frame
// within the limits that says the same when it is encoded and decoded again.
func tryDecode(t *testing.T, decoder *frame.Decoder, encoder *frame.Encoder, src []byte) {
	got, err := decoder.Decode(src)
	if err != nil {
		if !errors.Is(err, frame.ErrCorrupt) && !errors.Is(err, frame.ErrVersion) {
			t.Fatalf("an error of no class: %v", err)
		}
		return
	}
	bytes, rows := 0, got.Rows()
	for i := range got.Blocks {
		bytes += got.Blocks[i].Batch.Bytes() + 8*len(got.Blocks[i].Arrived)
	}
	// Null bitmaps are the one thing that the limit leaves out.
	if bytes > frame.DecodedBytesMax*9/8 || rows > frame.RowsMax {
		t.Fatalf("%d rows of %d bytes out of %d", rows, bytes, len(src))
	}
	again, err := encoder.Append(nil, got, compress.LZ4)
	if errors.Is(err, frame.ErrTooLarge) && len(src) > frame.BytesMax/8 {
		return // it was packed better than this encoder does
	}
	if err != nil {
		t.Fatalf("what was decoded cannot be encoded: %v", err)
	}
	said := ""
	if small := rows < 5_000; small {
		said = describe(got)
	}
	back, err := decoder.Decode(again)
	if err != nil {
		t.Fatalf("what was encoded again cannot be decoded: %v", err)
	}
	if said != "" && said != describe(back) {
		t.Fatalf("it said\n%s\nand says\n%s", said, describe(back))
	}
}
