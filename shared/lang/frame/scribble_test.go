//go:build race || scribble

package frame_test

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// Tests rely on this: code that keeps memory of a decoded frame finds it overwritten.
func TestDecoderScribbles(t *testing.T) {
	f := everything()
	var encoder frame.Encoder
	src, err := encoder.Append(nil, f, compress.None)
	if err != nil {
		t.Fatal(err)
	}
	var decoder frame.Decoder
	first, err := decoder.Decode(src)
	if err != nil {
		t.Fatal(err)
	}
	var ids, texts []string
	for _, run := range first.Runs {
		ids = append(ids, run.ID)
	}
	for _, b := range first.Blocks {
		for c := range b.Batch.Cols {
			if col := &b.Batch.Cols[c]; len(col.Ends) > 0 {
				texts = append(texts, col.Text(0))
			}
		}
	}
	if _, err := decoder.Decode([]byte("no frame")); err == nil {
		t.Fatal("decoded")
	}
	for _, text := range append(ids, texts...) {
		for i := range len(text) {
			if text[i] != 0xdb {
				t.Fatalf("%q outlives its frame", text)
			}
		}
	}
	if len(ids) == 0 || len(texts) == 0 {
		t.Fatal("the frame has no texts: the test tests nothing")
	}
}
