package frame_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// -rewrite-golden writes the golden files again. Use it only for a new golden frame: a
// change in an existing one means that logs are no longer read.
var rewrite = flag.Bool("rewrite-golden", false, "write the golden files again")

// example is the frame that docs/formats/frame.md takes apart.
func example() *frame.Frame {
	trades := event.NewBatch(&event.Schema{Name: "Trades", Attrs: []event.Attr{
		{Name: "symbol", Type: event.String},
		{Name: "price", Type: event.Double},
		{Name: "volume", Type: event.Int},
	}})
	for i, symbol := range []string{"IBM", "ORCL", "IBM"} {
		trades.Cols[0].AppendText(symbol)
		trades.Cols[1].AppendFloat([]float64{75.5, 31.25, 76}[i])
		if i == 1 {
			trades.Cols[2].AppendNull()
		} else {
			trades.Cols[2].AppendInt([]int64{100, 0, 350}[i])
		}
		trades.TS = append(trades.TS, 1_700_000_000_000+[]int64{0, 5, 7}[i])
	}
	return &frame.Frame{
		Header: frame.Header{App: "Demo", Partition: 2, Kind: frame.Events, Writer: 0xA1B2C3D4, Number: 42, Prev: 0x5EED1234, Stamp: 1_700_000_000_007},
		Blocks: []frame.Block{{Batch: trades}},
		Runs:   []frame.Run{{Rows: 1}, {Rows: 2, Chunk: true, ID: "t-17"}},
	}
}

func goldenFrames(t *testing.T) map[string]*frame.Frame {
	return map[string]*frame.Frame{
		"example":    example(),
		"everything": everything(),
		"flights":    eventsOf(flights(t, 200)),
		"tick":       tick(),
		"barrier":    barrier(),
		"clock":      clock(),
		"deploy":     deploy(),
		"upgrade":    upgrade(),
	}
}

// goldenText is beside the golden frames: what they say.
func goldenText(name string) string { return filepath.Join("testdata", "golden", name+".txt") }

// The files in golden/1 are frames of format version 1, those in golden/2 of version 2.
// Another version of a codec may compress differently, but every version must read them.
func TestGoldenFramesAreStillRead(t *testing.T) {
	if *rewrite {
		for name, f := range goldenFrames(t) {
			for _, codec := range compress.Codecs() {
				if codec == compress.None || len(f.Blocks) > 0 {
					write(t, filepath.Join("testdata", "golden", "2", name+"."+codec.String()), encode(t, f, codec))
				}
			}
			write(t, goldenText(name), []byte(describe(f)))
		}
	}
	var decoder frame.Decoder
	for version, files := range map[string]int{"1": 14, "2": 17} {
		paths, err := filepath.Glob(filepath.Join("testdata", "golden", version, "*"))
		if err != nil || len(paths) != files {
			t.Errorf("%d golden files of version %s, want %d: %v", len(paths), version, files, err)
		}
		for _, path := range paths {
			name, codec, _ := strings.Cut(filepath.Base(path), ".")
			src := read(t, path)
			got, err := decoder.Decode(src)
			if err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if want := string(read(t, goldenText(name))); describe(got) != want {
				t.Errorf("%s: it says\n%s\nand said\n%s", path, describe(got), want)
			}
			again := encode(t, got, compress.None)
			if version == "1" { // the version and the CRC differ
				again, src = again[8:len(again)-4], src[8:len(src)-4]
			}
			if codec == "none" && !bytes.Equal(again, src) {
				t.Errorf("%s: other bytes when encoded again", path)
			}
		}
	}
}

// The page that describes the format takes the example apart, byte by byte: a line
// is an offset, the bytes in hex, and behind two spaces what they mean.
func TestPageShowsTheGoldenExample(t *testing.T) {
	page := string(read(t, "../../../docs/formats/frame.md"))
	_, dump, found := strings.Cut(page, "```hex\n")
	dump, _, ended := strings.Cut(dump, "```")
	if !found || !ended {
		t.Fatal("the page has no block of hex")
	}
	var shown []byte
	for line := range strings.Lines(dump) {
		offset, rest, _ := strings.Cut(line, " ")
		digits, _, _ := strings.Cut(strings.TrimLeft(rest, " "), "  ")
		raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		at, err := hex.DecodeString(offset)
		if err != nil || len(at) != 1 || int(at[0]) != len(shown) {
			t.Errorf("%q stands at %02x", line, len(shown))
		}
		shown = append(shown, raw...)
	}
	if want := read(t, "testdata/golden/2/example.none"); !bytes.Equal(shown, want) {
		t.Errorf("the page shows\n%s\nthe file has\n%s", hex.Dump(shown), hex.Dump(want))
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func write(t *testing.T, path string, raw []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, raw, 0o644); err != nil {
		t.Fatal(err)
	}
}
