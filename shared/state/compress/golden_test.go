package compress_test

import (
	"bytes"
	"encoding/hex"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// -rewrite-golden writes the golden files again. Use it only for a new golden block: a
// change in an existing one means that state is no longer read.
var rewrite = flag.Bool("rewrite-golden", false, "write the golden files again")

func goldenBlocks(t *testing.T) map[string][]byte {
	return map[string][]byte{
		"short":      []byte("Zürich"),
		"example":    bytes.Repeat([]byte("ab"), 75),
		"empty":      nil,
		"flights":    kindNamed(t, "flights-json").data[:20_000],
		"aggregates": kindNamed(t, "aggregates").data[:20_000],
	}
}

// Another version of a codec may compress differently, but every version must read them.
func TestGoldenEnvelopesStillOpen(t *testing.T) {
	for name, raw := range goldenBlocks(t) {
		for _, codec := range compress.Codecs() {
			if len(raw) < 128 && codec != compress.None {
				continue // never compressed
			}
			path := filepath.Join("testdata", "golden", name+"."+codec.String())
			if *rewrite {
				write(t, path, compress.Seal(nil, raw, compress.Choice{Codec: codec}))
			}
			sealed := read(t, path)
			e, err := compress.Inspect(sealed)
			if err != nil || e.Codec != codec {
				t.Errorf("%s: %+v, %v", path, e, err)
			}
			if got, err := compress.Open(nil, sealed, 20_000); err != nil || !bytes.Equal(got, raw) {
				t.Errorf("%s: %d bytes, %v", path, len(got), err)
			}
		}
	}
}

// The page that describes the format takes two envelopes apart, byte by byte: a line
// is an offset, the bytes in hex, and behind two spaces what they mean.
func TestPageShowsTheGoldenEnvelopes(t *testing.T) {
	page := string(read(t, "../../../docs/formats/envelope.md"))
	for _, name := range []string{"short.none", "example.snappy"} {
		_, dump, found := strings.Cut(page, "```hex "+name+"\n")
		dump, _, ended := strings.Cut(dump, "```")
		if !found || !ended {
			t.Fatalf("the page has no hex of %s", name)
		}
		var shown []byte
		for line := range strings.Lines(dump) {
			offset, rest, _ := strings.Cut(line, " ")
			digits, _, _ := strings.Cut(strings.TrimLeft(rest, " "), "  ")
			raw, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
			if err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			if at, err := hex.DecodeString(offset); err != nil || !slices.Equal(at, []byte{byte(len(shown))}) {
				t.Errorf("%q stands at %02x", line, len(shown))
			}
			shown = append(shown, raw...)
		}
		if want := read(t, filepath.Join("testdata", "golden", name)); !bytes.Equal(shown, want) {
			t.Errorf("the page shows\n%s\nthe file has\n%s", hex.Dump(shown), hex.Dump(want))
		}
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
