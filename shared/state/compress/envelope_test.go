package compress_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/compress"

	"pgregory.net/rapid"
)

// choices are all codecs and all ways of Auto.
func choices() []compress.Choice {
	all := []compress.Choice{{}, {Access: compress.Hot}, {Budget: 1}, {Budget: 3 * time.Microsecond}, {Access: compress.Hot, Budget: time.Second, MinRatio: 3}}
	for _, c := range compress.Codecs() {
		all = append(all, compress.Choice{Codec: c})
	}
	return all
}

// blocks draws blocks that compress well, badly and not at all.
func blocks() *rapid.Generator[[]byte] {
	return rapid.Custom(func(t *rapid.T) []byte {
		n := rapid.OneOf(rapid.IntRange(0, 300), rapid.IntRange(0, 20_000)).Draw(t, "size")
		switch k := rapid.IntRange(0, len(kinds())).Draw(t, "kind"); k {
		case len(kinds()):
			word := rapid.SliceOfN(rapid.Byte(), 1, 40).Draw(t, "word")
			return bytes.Repeat(word, n/len(word)+1)[:n]
		default:
			return kinds()[k].cut(min(n, len(kinds()[k].data)), rapid.IntRange(0, 100).Draw(t, "part"), 101)
		}
	})
}

func TestSealedBlocksOpen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		raw := blocks().Draw(t, "raw")
		how := rapid.SampledFrom(choices()).Draw(t, "choice")
		before := slices.Clone(raw)
		sealed, decision := compress.SealExplain([]byte("head"), raw, how)
		if !bytes.HasPrefix(sealed, []byte("head")) || !bytes.Equal(raw, before) {
			t.Fatal("Seal changed what is not its own")
		}
		sealed = sealed[4:]
		if len(sealed) > len(raw)+compress.OverheadMax || len(raw) < 128 && len(sealed) != len(raw)+8+len(raw)/128 {
			t.Fatalf("%d bytes became %d", len(raw), len(sealed))
		}
		if again := compress.Seal(nil, raw, how); !bytes.Equal(again, sealed) {
			t.Fatal("other bytes when sealed again")
		}
		got, err := compress.Open([]byte("front"), sealed, len(raw))
		if err != nil || !bytes.Equal(got, append([]byte("front"), raw...)) {
			t.Fatalf("%s: %v", decision, err)
		}
	})
}

func TestEverySizeOpens(t *testing.T) {
	var sealed, back []byte
	for _, k := range kinds() {
		for _, how := range choices() {
			for _, n := range append([]int{0, 126, 129, 16_383, 16_384, 16_385}, blockSizes...) {
				if n > len(k.data) || n > 300<<10 {
					continue
				}
				sealed = compress.Seal(sealed[:0], k.data[:n], how)
				var err error
				if back, err = compress.Open(back[:0], sealed, n); err != nil || !bytes.Equal(back, k.data[:n]) {
					t.Fatalf("%s of %d with %+v: %v", k.name, n, how, err)
				}
			}
		}
	}
}

// wantCorrupt fails unless Open refuses the bytes as corrupt and returns dst as it was.
func wantCorrupt(t *testing.T, what string, sealed []byte, says string) {
	t.Helper()
	room := append(make([]byte, 0, 4096), "front"...)
	got, err := compress.Open(room, sealed, 1<<20)
	var corrupt *compress.CorruptError
	switch {
	case !errors.As(err, &corrupt) || !errors.Is(err, compress.ErrCorrupt):
		t.Errorf("%s: %v is not a *CorruptError", what, err)
	case corrupt.Offset < 0 || corrupt.Offset > len(sealed):
		t.Errorf("%s: offset %d of %d: %v", what, corrupt.Offset, len(sealed), err)
	case string(got) != "front":
		t.Errorf("%s: %d bytes came out", what, len(got)-5)
	case !strings.Contains(err.Error(), says):
		t.Errorf("%s: %q does not say %q", what, err, says)
	}
}

func TestEveryAlteredBitAndEveryCutIsNoticed(t *testing.T) {
	for _, n := range []int{0, 5, 200, 3000} {
		for _, how := range choices() {
			sealed := compress.Seal(nil, kindNamed(t, "flights-json").cut(n, 1, 3), how)
			for bit := range 8 * len(sealed) {
				altered := slices.Clone(sealed)
				altered[bit/8] ^= 1 << (bit % 8)
				wantCorrupt(t, fmt.Sprintf("%d bytes, %+v, bit %d", n, how, bit), altered, "CRC32C")
			}
			for cut := range sealed {
				wantCorrupt(t, fmt.Sprintf("%d bytes, %+v, cut at %d", n, how, cut), sealed[:cut], "")
			}
			wantCorrupt(t, "a byte more", append(slices.Clone(sealed), 0), "CRC32C")
			wantCorrupt(t, "twice", append(slices.Clone(sealed), sealed...), "")
		}
	}
	wantCorrupt(t, "zeros", make([]byte, 500), "CRC32C")
}

// resealed makes the CRC right, so that later checks are reached.
func resealed(sealed []byte) []byte {
	sealed = slices.Clone(sealed)
	end := len(sealed) - 4
	binary.LittleEndian.PutUint32(sealed[end:], crc32.Checksum(sealed[:end], crc32.MakeTable(crc32.Castagnoli)))
	return sealed
}

// envelope writes one by hand.
func envelope(version byte, codec compress.Codec, sizes []byte, payload []byte) []byte {
	sealed := append([]byte{version, byte(codec)}, sizes...)
	return resealed(append(append(sealed, payload...), 0, 0, 0, 0))
}

func TestEnvelopesThatAreWrong(t *testing.T) {
	text := bytes.Repeat([]byte("ab"), 50)
	lz4, zstd := compress.LZ4.Compress(nil, text), compress.Zstd.Compress(nil, text)
	sizes := func(raw, stored int) []byte {
		return binary.AppendUvarint(binary.AppendUvarint(nil, uint64(raw)), uint64(stored))
	}
	tests := []struct {
		name   string
		sealed []byte
		says   string
	}{
		{"nothing", nil, "0 bytes, the shortest envelope has 8 (at byte 0)"},
		{"version 0", envelope(0, compress.None, sizes(3, 3), []byte("abc")), "version 0 (at byte 0)"},
		{"codec 0", envelope(1, 0, sizes(3, 3), []byte("abc")), "codec 0 (at byte 1)"},
		{"a long length", envelope(1, compress.None, []byte{0x83, 0x00, 0x03}, []byte("abc")), "expected a number in its shortest form, found 8300 (at byte 2)"},
		{"an endless length", envelope(1, compress.None, []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01}, nil), "a length of 18446744073709551615, limit 268435456 (at byte 2)"},
		{"a length that is cut", envelope(1, compress.None, []byte{0x03, 0x83}, nil), "expected a number, which is cut off (at byte 3)"},
		{"no stored length", envelope(1, compress.None, []byte{0x83, 0x01}, nil), "expected a number, which is cut off (at byte 4)"},
		{"beyond the limit", envelope(1, compress.Zstd, sizes(compress.RawBytesMax+1, 3), []byte("abc")), "limit 268435456 (at byte 2)"},
		{"beyond the caller's limit", envelope(1, compress.Zstd, sizes(1<<20+1, 3), []byte("abc")), "a block of 1048577 bytes, allowed are 1048576 (at byte 2)"},
		{"raw of two lengths", envelope(1, compress.None, sizes(4, 3), []byte("abc")), "3 bytes stored of 4 that are not compressed (at byte 3)"},
		{"nothing gained", envelope(1, compress.LZ4, sizes(len(lz4), len(lz4)), lz4), "what does not shrink is stored as it is"},
		{"too little payload", envelope(1, compress.LZ4, sizes(100, len(lz4)+1), lz4), "bytes of payload are declared"},
		{"too much payload", envelope(1, compress.LZ4, sizes(100, len(lz4)-1), lz4), "bytes of payload are declared"},
		{"another codec", envelope(1, compress.Zstd, sizes(100, len(lz4)), lz4), "payload: corrupt compressed block: zstd"},
		{"one byte too few", envelope(1, compress.LZ4, sizes(99, len(lz4)), lz4), "payload: corrupt compressed block: lz4"},
		{"one byte too many", envelope(1, compress.LZ4, sizes(101, len(lz4)), lz4), "payload: corrupt compressed block: lz4"},
		{"zstd, one byte too few", envelope(1, compress.Zstd, sizes(99, len(zstd)), zstd), "payload: corrupt compressed block: zstd"},
		{"no payload", envelope(1, compress.LZ4, sizes(100, 0), nil), "payload: corrupt compressed block"},
	}
	for _, test := range tests {
		wantCorrupt(t, test.name, test.sealed, test.says)
	}
	for name, sealed := range map[string][]byte{
		"format version 2, known is 1": envelope(2, compress.None, nil, []byte("of another form")),
		"codec 5 is not known":         envelope(1, 5, sizes(100, 3), []byte("abc")),
	} {
		got, err := compress.Open([]byte("front"), sealed, 1<<20)
		if !errors.Is(err, compress.ErrVersion) || errors.Is(err, compress.ErrCorrupt) || !strings.Contains(err.Error(), name) || string(got) != "front" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The limit of the caller holds before memory is taken, whatever the payload says.
func TestOpenNeverYieldsMoreThanIsAllowed(t *testing.T) {
	raw := make([]byte, 64<<20)
	for _, codec := range compress.Codecs()[1:] {
		sealed := compress.Seal(nil, raw, compress.Choice{Codec: codec})
		if got, err := compress.Open(nil, sealed, len(raw)-1); !errors.Is(err, compress.ErrCorrupt) || got != nil {
			t.Errorf("%s: %d bytes, %v", codec, len(got), err)
		}
		if got, err := compress.Open(nil, sealed, len(raw)); err != nil || !bytes.Equal(got, raw) {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

func TestEnvelopesAreSafeTogether(t *testing.T) {
	var group sync.WaitGroup
	for _, k := range kinds() {
		for _, how := range choices() {
			group.Go(func() {
				for part := range 5 {
					raw := k.cut(3000*(part+1), part, 5)
					got, err := compress.Open(nil, compress.Seal(nil, raw, how), len(raw))
					if err != nil || !bytes.Equal(got, raw) {
						t.Errorf("%s with %+v: %v", k.name, how, err)
					}
				}
			})
		}
	}
	group.Wait()
}

func TestSealPanicsOnBugs(t *testing.T) {
	for name, bug := range map[string]func(){
		"a codec that does not exist": func() { compress.Seal(nil, make([]byte, 200), compress.Choice{Codec: 9}) },
		"a block that is too long":    func() { compress.Seal(nil, make([]byte, compress.RawBytesMax+1), compress.Choice{}) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			bug()
		}()
	}
}
