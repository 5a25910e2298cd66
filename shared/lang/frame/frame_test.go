package frame_test

import (
	"bytes"
	"runtime"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

func frames(t testing.TB) map[string]*frame.Frame {
	return map[string]*frame.Frame{
		"flights":    eventsOf(flights(t, 0)),
		"flight":     eventsOf(flights(t, 1)),
		"everything": everything(),
		"tick":       tick(),
		"barrier":    barrier(),
		"clock":      clock(),
		"deploy":     deploy(),
		"upgrade":    upgrade(),
	}
}

func TestFramesComeBack(t *testing.T) {
	var encoder frame.Encoder
	var decoder frame.Decoder
	for name, f := range frames(t) {
		for _, codec := range compress.Codecs() {
			src, err := encoder.Append([]byte("before"), f, codec)
			if err != nil {
				t.Fatal(name, err)
			}
			if !bytes.HasPrefix(src, []byte("before")) {
				t.Fatalf("%s: the bytes before the frame changed", name)
			}
			src = src[len("before"):]
			got, err := decoder.Decode(src)
			if err != nil {
				t.Fatal(name, codec, err)
			}
			if describe(got) != describe(f) || got.CRC != f.CRC || got.Rows() != f.Rows() {
				t.Fatalf("%s with %s: wrote\n%s\nread\n%s", name, codec, describe(f), describe(got))
			}
			head, crc, err := frame.DecodeHeader(src)
			if err != nil || head != f.Header || crc != f.CRC {
				t.Fatalf("%s with %s: header %+v, CRC %08x, %v", name, codec, head, crc, err)
			}
			again, err := encoder.Append(nil, got, codec)
			if err != nil || !bytes.Equal(again, src) {
				t.Fatalf("%s with %s: other bytes when encoded again (%v)", name, codec, err)
			}
		}
	}
}

// The engine compiles an app against a schema once, and finds it by its pointer.
func TestSchemasKeepTheirPointers(t *testing.T) {
	var decoder frame.Decoder
	one, other := encode(t, eventsOf(flights(t, 10)), compress.LZ4), encode(t, everything(), compress.LZ4)
	var first, second *event.Schema
	for range 3 {
		f, err := decoder.Decode(one)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = f.Blocks[0].Batch.Schema
		}
		if f.Blocks[0].Batch.Schema != first {
			t.Fatal("the flights have another schema")
		}
		if f, err = decoder.Decode(other); err != nil {
			t.Fatal(err)
		}
		if second == nil {
			second = f.Blocks[1].Batch.Schema
		}
		if f.Blocks[1].Batch.Schema != second {
			t.Fatal("the quotes have another schema")
		}
	}
}

// Two blocks of one stream are unusual but allowed; their rows must not share memory.
func TestBlocksOfOneStreamAreKeptApart(t *testing.T) {
	a, b := flights(t, 3), flights(t, 5)
	f := &frame.Frame{Header: header(frame.Events), Blocks: []frame.Block{{Batch: a}, {Batch: b}}, Runs: []frame.Run{{Block: 1, Rows: 5}, {Block: 0, Rows: 3}}}
	var decoder frame.Decoder
	for range 2 {
		got, err := decoder.Decode(encode(t, f, compress.None))
		if err != nil {
			t.Fatal(err)
		}
		if describe(got) != describe(f) {
			t.Fatalf("wrote\n%s\nread\n%s", describe(f), describe(got))
		}
	}
}

// A decoder lives as long as its task: what one frame needed must not add up.
func TestMemoryDoesNotGrow(t *testing.T) {
	f := everything()
	f.Runs[1].Header = strings.Repeat("x", frame.TextBytesMax)
	src := encode(t, f, compress.None)
	var decoder frame.Decoder
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 300 {
		if _, err := decoder.Decode(src); err != nil {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if taken := after.TotalAlloc - before.TotalAlloc; taken > 4<<20 {
		t.Errorf("300 frames of %d bytes took %d bytes of memory", len(src), taken)
	}
}

// Short texts are compared as numbers, where a zero byte at the end does not show.
func TestDictionaryKeepsSimilarTextsApart(t *testing.T) {
	texts := []string{"a", "a\x00", "", "\x00", "abcdefgh", "abcdefg", "abcdefghi", "abcdefghj"}
	batch := event.NewBatch(&event.Schema{Name: "S", Attrs: []event.Attr{{Name: "text", Type: event.String}}})
	for i := range 20 * len(texts) {
		batch.Cols[0].AppendText(texts[i%len(texts)])
		batch.TS = append(batch.TS, int64(i))
	}
	f := eventsOf(batch)
	src := encode(t, f, compress.None)
	if len(src) > 400 {
		t.Fatalf("%d bytes: no dictionary was taken", len(src))
	}
	var decoder frame.Decoder
	got, err := decoder.Decode(src)
	if err != nil {
		t.Fatal(err)
	}
	if describe(got) != describe(f) {
		t.Fatalf("wrote\n%s\nread\n%s", describe(f), describe(got))
	}
}
