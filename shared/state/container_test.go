package state_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/compress"
)

var rewrite = flag.Bool("rewrite", false, "write golden files that are not there yet")

func fillBook(lines int) *book {
	b := newBook()
	for i := range lines {
		b.put(fmt.Sprintf("group %03d", i*i), fmt.Sprintf("line %d", i))
	}
	return b
}

func serialized(t testing.TB, version string, b *book) []byte {
	t.Helper()
	data, err := state.SerializeState(state.NewComponent(bookInfo(version), b))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// What any release wrote has to be read by all that follow, to the same digest.
// A file is written once, with -rewrite, and then kept.
func TestGoldenStates(t *testing.T) {
	odd := newBook()
	odd.put("", "")
	odd.put("\x00", strings.Repeat("long ", 60))
	odd.put("\xff\xff", "\x00\xff")
	for name, b := range map[string]*book{"empty": newBook(), "few": fillBook(3), "many": fillBook(60), "odd": odd} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join("testdata", "golden", "v1_"+name+".hex")
			data := serialized(t, "1.0.0", b)
			if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) && *rewrite {
				if err := os.WriteFile(path, []byte(hex.Dump(data)), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			golden := readDump(t, path)
			if !bytes.Equal(data, golden) {
				t.Errorf("now it is\n%s", hex.Dump(data))
			}
			got := newBook()
			if err := state.DeserializeState(state.NewComponent(bookInfo("1.0.0"), got), golden); err != nil {
				t.Fatal(err)
			}
			if fmt.Sprint(got.lines) != fmt.Sprint(b.lines) {
				t.Errorf("got %q, want %q", got.lines, b.lines)
			}
		})
	}
}

// readDump reads the output of hex.Dump.
func readDump(t *testing.T, path string) []byte {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var data []byte
	for line := range strings.Lines(string(text)) {
		digits, _, _ := strings.Cut(line[8:], "|")
		row, err := hex.DecodeString(strings.Join(strings.Fields(digits), ""))
		if err != nil {
			t.Fatalf("%s: %q: %v", path, line, err)
		}
		data = append(data, row...)
	}
	return data
}

// Each bit and each cut of a whole state, bare and compressed by each codec.
func TestEveryAlterationIsNoticed(t *testing.T) {
	data := serialized(t, "1.0.0", fillBook(20))
	c := state.NewComponent(bookInfo("1.0.0"), newBook())
	load := func(data []byte) error { return state.DeserializeState(c, data) }
	tryAlterations(t, "bare", data, func(data []byte) error {
		err := load(data)
		if err == nil || strings.Contains(err.Error(), `"query1/book"`) && strings.Contains(err.Error(), "at byte") {
			return err
		}
		return fmt.Errorf("says neither who nor where: %s", err.Error()) // is no ErrCorrupt
	})
	for _, codec := range compress.Codecs() {
		sealed, err := state.CompressState(data, compress.Choice{Codec: codec})
		if err != nil {
			t.Fatal(err)
		}
		tryAlterations(t, codec.String(), sealed, func(sealed []byte) error {
			data, err := state.DecompressState(sealed)
			if err != nil {
				return err
			}
			return load(data)
		})
	}
}

func tryAlterations(t *testing.T, name string, data []byte, load func([]byte) error) {
	t.Helper()
	if err := load(data); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for bit := range 8 * len(data) {
		wrong := bytes.Clone(data)
		wrong[bit/8] ^= 1 << (bit % 8)
		if err := load(wrong); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("%s: bit %d: %v", name, bit, err)
		}
	}
	for cut := range data {
		if err := load(data[:cut]); !errors.Is(err, state.ErrCorrupt) {
			t.Fatalf("%s: cut at %d: %v", name, cut, err)
		}
	}
	if err := load(append(bytes.Clone(data), 0)); !errors.Is(err, state.ErrCorrupt) {
		t.Fatalf("%s: a byte too many: %v", name, err)
	}
}

// seal gives a body a CRC that is right.
func seal(body string) []byte {
	return binary.LittleEndian.AppendUint32([]byte(body), crc32.Checksum([]byte(body), crc32.MakeTable(crc32.Castagnoli)))
}

const bookHead = "\x01\x0bquery1/book\x04book\x051.0.0"

func TestWrongContainers(t *testing.T) {
	digest := strings.Repeat("d", 16)
	tests := []struct{ name, body, want string }{
		{"zero version", "\x00", "version 0 (at byte 0)"},
		{"newer version", "\x02what follows is another matter", "format version 2, known is 1"},
		{"no id", "\x01\x00\x04book\x051.0.0\x00" + digest, "a name of 0 bytes, allowed are 1 to 255 (at byte 1)"},
		{"long id", "\x01\x80\x02" + strings.Repeat("i", 256) + "\x04book\x051.0.0\x00" + digest, "a name of 256 bytes"},
		{"version of letters", "\x01\x0bquery1/book\x04book\x031.0\x00" + digest, `schema version "1.0" is none (at byte 18)`},
		{"too many entries", bookHead + "\x7f" + digest, "127 items of 3 or more bytes each, and 16 bytes are left (at byte 24)"},
		{"long form of a number", bookHead + "\x80\x00" + digest, "expected a number in its shortest form, found 8000 (at byte 24)"},
		{"no digest", bookHead + "\x00" + digest[1:], "expected 16 bytes, 15 are left"},
		{"wrong digest", bookHead + "\x01\x00\x01k\x01v" + digest, "digest of the entries is"},
		{"something behind", bookHead + "\x00" + digest + "!", "1 bytes too many"},
		{"shares what is not there", bookHead + "\x01\x01\x01k\x01v" + digest, "1 bytes shared with a key of 0 (at byte 25)"},
		{"keys that descend", bookHead + "\x02\x00\x01k\x00\x00\x01a\x00" + digest, "does not follow the one before (at byte 29)"},
		{"the same key twice", bookHead + "\x02\x00\x01k\x00\x01\x00\x00" + digest, "does not follow"},
		{"shares less than it could", bookHead + "\x02\x00\x01k\x00\x00\x02ka\x00" + digest, "does not follow"},
		{"long value", bookHead + "\x01\x00\x01k\x7fv" + digest, "a length of 127"},
		{"another component", "\x01\x01x\x04book\x051.0.0\x00" + digest, `the state of component "x" was given to "query1/book"`},
		{"another type", "\x01\x0bquery1/book\x04bill\x051.0.0\x00" + digest, `of type "book", and the state of "query1/book" is of type "bill"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBook()
			err := state.DeserializeState(state.NewComponent(bookInfo("1.0.0"), b), seal(test.body))
			if err == nil || !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), "query1/book") {
				t.Errorf("got %v, want %s", err, test.want)
			}
			if len(b.lines) > 0 {
				t.Errorf("left behind: %q", b.lines)
			}
		})
	}
}

func TestCompressedState(t *testing.T) {
	data := serialized(t, "1.0.0", fillBook(200))
	for _, choice := range []compress.Choice{{}, state.Hot.Choice(), state.Cold.Choice(), {Codec: compress.Zstd}} {
		sealed, err := state.CompressState(data, choice)
		if err != nil || len(sealed) >= len(data) {
			t.Fatalf("%v: %d bytes became %d, %v", choice, len(data), len(sealed), err)
		}
		if got, err := state.DecompressState(sealed); err != nil || !bytes.Equal(got, data) {
			t.Errorf("%v: %d bytes came back, %v", choice, len(got), err)
		}
	}
	if _, err := state.CompressState(data, compress.Choice{Codec: 77}); !errors.Is(err, state.ErrInvalid) {
		t.Errorf("codec 77: %v", err)
	}
}

// FuzzDeserializeState loads any bytes: an error, or a state that gives the same
// bytes again. The CRC is made right, or nothing would get past it.
func FuzzDeserializeState(f *testing.F) {
	for _, b := range []*book{newBook(), fillBook(1), fillBook(30)} {
		data := serialized(f, "1.0.0", b)
		f.Add(data[:len(data)-4], uint8(0))
	}
	f.Add([]byte("\x02"), uint8(1))
	f.Fuzz(func(t *testing.T, body []byte, broken uint8) {
		data := seal(string(body))
		data[len(data)-1] ^= broken
		c := state.NewComponent(bookInfo("1.0.0"), newBook())
		err := state.DeserializeState(c, data)
		if err == nil {
			again, _ := state.SerializeState(c)
			// Another version that loads was migrated, and comes back as this one.
			if !bytes.Equal(again, data) && strings.HasPrefix(string(data), bookHead) {
				t.Fatalf("%x became %x", data, again)
			}
			return
		}
		if !errors.Is(err, state.ErrCorrupt) && !errors.Is(err, state.ErrVersion) && !errors.Is(err, state.ErrInvalid) {
			t.Fatalf("%x: %v", data, err)
		}
	})
}
