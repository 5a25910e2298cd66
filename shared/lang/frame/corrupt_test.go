package frame_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"hash/crc32"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// reseal makes size and CRC right, so that what is behind these checks is reached.
func reseal(src []byte) []byte {
	src = slices.Clone(src)
	binary.LittleEndian.PutUint32(src[8:], uint32(len(src)))
	crc := crc32.Checksum(src[:len(src)-4], crc32.MakeTable(crc32.Castagnoli))
	binary.LittleEndian.PutUint32(src[len(src)-4:], crc)
	return src
}

// withPayload returns a whole frame of any payload.
func withPayload(t testing.TB, kind frame.Kind, codec compress.Codec, payload []byte, rawLen int) []byte {
	src := encode(t, tick(), compress.None)
	src = append(src[:len(src)-4], payload...)
	src[5], src[6] = byte(kind), byte(codec)
	binary.LittleEndian.PutUint32(src[12:], uint32(rawLen))
	return reseal(append(src, 0, 0, 0, 0))
}

// wantError fails unless the error is of the class and says what is wrong.
func wantError(t *testing.T, err, class error, says string) {
	t.Helper()
	switch {
	case !errors.Is(err, class):
		t.Errorf("%v, want %q", err, class)
	case !strings.Contains(err.Error(), says):
		t.Errorf("%q does not say %q", err, says)
	case class == frame.ErrTorn && !errors.Is(err, frame.ErrCorrupt):
		t.Errorf("%q is torn, but not corrupt", err)
	}
}

func TestSurroundingsThatAreWrong(t *testing.T) {
	whole := encode(t, eventsOf(flights(t, 20)), compress.LZ4)
	tests := []struct {
		name  string
		spoil func(src []byte) []byte
		class error
		says  string
	}{
		{"nothing", func([]byte) []byte { return nil }, frame.ErrTorn, "0 bytes"},
		{"zeros", func(s []byte) []byte { return make([]byte, len(s)) }, frame.ErrTorn, "zeros where the frame starts"},
		{"the second half is zeros", func(s []byte) []byte { clear(s[len(s)/2:]); return s }, frame.ErrTorn, "zeros where the frame ends"},
		{"the last byte is missing", func(s []byte) []byte { return s[:len(s)-1] }, frame.ErrTorn, "bytes of"},
		{"a byte after it", func(s []byte) []byte { return append(s, 0) }, frame.ErrCorrupt, "1 bytes after the frame"},
		{"two frames", func(s []byte) []byte { return append(s, s...) }, frame.ErrCorrupt, "after the frame"},
		{"another magic", func(s []byte) []byte { copy(s, "EFRN"); return reseal(s) }, frame.ErrCorrupt, `starts with "EFRN"`},
		{"version 0", func(s []byte) []byte { s[4] = 0; return reseal(s) }, frame.ErrCorrupt, "version 0"},
		{"a newer version", func(s []byte) []byte { s[4] = 3; return reseal(s) }, frame.ErrVersion, "format version 3, known are 1 to 2"},
		{"an altered version", func(s []byte) []byte { s[4] = 1; return s }, frame.ErrCorrupt, "CRC32C"},
		{"kind 0", func(s []byte) []byte { s[5] = 0; return reseal(s) }, frame.ErrCorrupt, "kind 0"},
		{"an unknown kind", func(s []byte) []byte { s[5] = 77; return reseal(s) }, frame.ErrVersion, "kind 77 is not known; a newer version"},
		{"codec 0", func(s []byte) []byte { s[6] = 0; return reseal(s) }, frame.ErrCorrupt, "codec 0"},
		{"an unknown codec", func(s []byte) []byte { s[6] = 5; return reseal(s) }, frame.ErrVersion, "codec 5 is not known"},
		{"no app", func(s []byte) []byte { s[7] = 0; return reseal(s) }, frame.ErrCorrupt, "app name of 0 bytes"},
		{"an app beyond the end", func(s []byte) []byte { s[7] = 255; return reseal(s[:200]) }, frame.ErrCorrupt, "app name of 255 bytes in a frame of 200"},
		{"size 0", func(s []byte) []byte { clear(s[8:12]); return s }, frame.ErrCorrupt, "size 0"},
		{"size over the limit", func(s []byte) []byte { binary.LittleEndian.PutUint32(s[8:], frame.BytesMax+1); return s }, frame.ErrCorrupt, "size 4194305"},
		{"more than the limit", func(s []byte) []byte { return reseal(append(s, make([]byte, frame.BytesMax)...)) }, frame.ErrCorrupt, "allowed are 53 to 4194304"},
		{"raw length over the limit", func(s []byte) []byte {
			binary.LittleEndian.PutUint32(s[12:], frame.RawBytesMax+1)
			return reseal(s)
		}, frame.ErrCorrupt, "payload of 33554433 bytes"},
		{"raw length too small", func(s []byte) []byte { s[12]--; return reseal(s) }, frame.ErrCorrupt, "payload: corrupt compressed block: lz4"},
		{"raw length too large", func(s []byte) []byte { s[12]++; return reseal(s) }, frame.ErrCorrupt, "payload: corrupt compressed block: lz4"},
		{"another codec", func(s []byte) []byte { s[6] = byte(compress.Zstd); return reseal(s) }, frame.ErrCorrupt, "zstd"},
		{"not compressed at all", func(s []byte) []byte { s[6] = byte(compress.None); return reseal(s) }, frame.ErrCorrupt, "declared are"},
		{"writer 0", func(s []byte) []byte { clear(s[24:32]); return reseal(s) }, frame.ErrCorrupt, "writer 0"},
		{"number 0", func(s []byte) []byte { clear(s[32:40]); return reseal(s) }, frame.ErrCorrupt, "frame number 0"},
		{"a first frame after another", func(s []byte) []byte { s[20] = 1; return reseal(s) }, frame.ErrCorrupt, "names a frame before it (00000001)"},
		{"an altered CRC", func(s []byte) []byte { s[len(s)-1] ^= 0x80; return s }, frame.ErrCorrupt, "CRC32C is"},
	}
	var decoder frame.Decoder
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			src := test.spoil(slices.Clone(whole))
			_, err := decoder.Decode(src)
			wantError(t, err, test.class, test.says)
			if strings.Contains(test.says, "lz4") || strings.Contains(test.says, "zstd") || strings.Contains(test.says, "declared") {
				return // only the payload is wrong
			}
			_, _, err = frame.DecodeHeader(src)
			wantError(t, err, test.class, test.says)
		})
	}
	if _, err := decoder.Decode(whole); err != nil {
		t.Errorf("the whole frame after all these: %v", err)
	}
}

// The least payload of two events of S(a int), a part for each thing it says.
const leastPayload = "01 | 06 0153 01 02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07 | 01 | 10 02"

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	raw, err := hex.DecodeString(strings.NewReplacer(" ", "", "|", "").Replace(text))
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestPayloadsThatAreWrong(t *testing.T) {
	tests := []struct {
		name, was, is string
		class         error
		says          string
	}{
		{"no payload", leastPayload, "", frame.ErrCorrupt, "expected a number, which is cut off"},
		{"no block", "01 | 06", "00 | 06", frame.ErrCorrupt, "0 blocks"},
		{"a block too many", "01 | 06", "02 | 06", frame.ErrCorrupt, "bytes"},
		{"blocks over the limit", "01 | 06", "8120 | 06", frame.ErrCorrupt, "4097 blocks, allowed are 1 to 4096"},
		{"a number that is not in its shortest form", "01 | 06", "8100 | 06", frame.ErrCorrupt, "shortest form"},
		{"a number of more than 64 bits", "01 | 06", "ffffffffffffffffff7f | 06", frame.ErrCorrupt, "shortest form"},
		{"schema shorter than declared", "06 0153", "07 0153", frame.ErrCorrupt, "1 bytes too many"},
		{"schema longer than declared", "06 0153", "05 0153", frame.ErrCorrupt, "expected 1 bytes, 0 are left"},
		{"schema beyond the payload", "06 0153", "7f 0153", frame.ErrCorrupt, "expected 127 bytes"},
		{"no stream name", "06 0153 01", "05 00 01", frame.ErrCorrupt, "empty name"},
		{"no attribute name", "06 0153 01 02 0161", "05 0153 01 02 00", frame.ErrCorrupt, "empty name"},
		{"attributes over what remains", "01 02 0161", "02 02 0161", frame.ErrCorrupt, "2 attributes, allowed are 0 to 1"},
		{"type 0", "01 02 0161", "01 00 0161", frame.ErrCorrupt, "type 0"},
		{"unknown type", "01 02 0161", "01 08 0161", frame.ErrVersion, "type(8), holding type(0), is not known; a newer version"},
		{"unknown held type", "01 02 0161", "01 92 0161", frame.ErrVersion, "holding type(9)"},
		{"no rows", "| 02 | 10 02", "| 00 | 10 02", frame.ErrCorrupt, "0 rows"},
		{"rows over the limit", "| 02 | 10 02", "| 818040 | 10 02", frame.ErrCorrupt, "1048577 rows"},
		{"more rows than values", "| 02 | 10 02", "| 03 | 10 02", frame.ErrCorrupt, ""},
		{"stamps of width 3", "10 02 |", "13 02 |", frame.ErrCorrupt, "width of 3 bytes"},
		{"stamps of width 15", "10 02 |", "1f 02 |", frame.ErrCorrupt, "width of 15 bytes"},
		{"stamps of form 0", "10 02 |", "00 02 |", frame.ErrCorrupt, "form 0"},
		{"stamps of form 4", "10 02 |", "40 02 |", frame.ErrCorrupt, "form 4"},
		{"stamps in units of 1", "10 02 |", "30 02 00 01 |", frame.ErrCorrupt, "a unit of 1"},
		{"stamps that are missing", "10 02 | 01 | 01 | 11 00 05 07 | 01 | 10 02", "18 02", frame.ErrCorrupt, "expected 16 bytes, 0 are left"},
		{"arrival neither absent nor present", "02 | 01 | 01", "02 | 00 | 01", frame.ErrCorrupt, "0 where 1 (absent)"},
		{"nulls neither absent nor present", "02 | 01 | 01", "02 | 01 | 03", frame.ErrCorrupt, "3 where 1 (absent)"},
		{"a bitmap without nulls", "01 | 11 00 05 07", "0200 | 11 00 05 07", frame.ErrCorrupt, "bitmap without nulls"},
		{"a bitmap with more bits than rows", "01 | 11 00 05 07", "0205 | 10 0a", frame.ErrCorrupt, "bits after its 2 rows"},
		{"an int over 32 bits", "11 00 05 07", "10 8080808010", frame.ErrCorrupt, "exceeds 32 bits"},
		{"an int under 32 bits", "11 00 05 07", "10 8180808010", frame.ErrCorrupt, "exceeds 32 bits"},
		{"values that are missing", "11 00 05 07 | 01 | 10 02", "12 00 05 07 01", frame.ErrCorrupt, "expected 4 bytes, 3 are left"},
		{"no run", "01 | 10 02", "00", frame.ErrCorrupt, "0 runs"},
		{"more runs than bytes", "01 | 10 02", "02 | 00", frame.ErrCorrupt, "expected 1 bytes, 0 are left"},
		{"more runs than rows", "01 | 10 02", "03 | 00 00 00", frame.ErrCorrupt, "3 runs, allowed are 1 to 2"},
		{"runs of fewer rows", "01 | 10 02", "01 | 00", frame.ErrCorrupt, "no run has the last 1 rows of block 0"},
		{"runs of more rows", "01 | 10 02", "01 | 10 03", frame.ErrCorrupt, "run 0 has 3 rows, block 0 has 2 left"},
		{"a run of a flagged single row", "01 | 10 02", "02 | 10 01 00", frame.ErrCorrupt, "1 rows of a run"},
		{"a run of a foreign block", "01 | 10 02", "01 | 18 01 02", frame.ErrCorrupt, "1 as the number of a block"},
		{"a run that repeats its block", "01 | 10 02", "01 | 18 00 02", frame.ErrCorrupt, "block 0 is named again"},
		{"unknown flags of a run", "01 | 10 02", "01 | 30 02", frame.ErrCorrupt, "flags 0x30"},
		{"an empty id", "01 | 10 02", "01 | 12 02 00", frame.ErrCorrupt, "0 bytes of an id"},
		{"an id over the limit", "01 | 10 02", "01 | 12 02 818004", frame.ErrCorrupt, "65537 bytes of an id"},
		{"an id beyond the payload", "01 | 10 02", "01 | 12 02 05 61", frame.ErrCorrupt, "expected 5 bytes, 1 are left"},
		{"trailing bytes", "01 | 10 02", "01 | 10 02 00", frame.ErrCorrupt, "1 bytes too many"},
		// From here on the attribute has another type.
		{"a bool with more bits than rows", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "01 0161 | 02 | 10 02 | 01 | 01 | 07", frame.ErrCorrupt, "bits after their 2 values"},
		{"doubles that are missing", "02 0161", "05 0161", frame.ErrCorrupt, "expected 16 bytes"},
		{"floats that are missing", "02 0161", "04 0161", frame.ErrCorrupt, "expected 8 bytes"},
		{"texts of form 0", "02 0161 | 02 | 10 02 | 01 | 01 | 11", "06 0161 | 02 | 10 02 | 01 | 01 | 00", frame.ErrCorrupt, "form 0 of texts"},
		{"texts of negative length", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "06 0161 | 02 | 10 02 | 01 | 01 | 01 10 01", frame.ErrCorrupt, "impossible lengths"},
		{"texts of lengths that overflow", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "06 0161 | 02 | 10 02 | 01 | 01 | 01 10 feffffffffffffffff01", frame.ErrCorrupt, "impossible lengths"},
		{"texts that are missing", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "06 0161 | 02 | 10 02 | 01 | 01 | 01 10 40", frame.ErrCorrupt, "expected 64 bytes"},
		{"an empty dictionary", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "06 0161 | 02 | 10 02 | 01 | 01 | 02 00", frame.ErrCorrupt, "0 texts of a dictionary"},
		{"a dictionary of more texts than rows", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "06 0161 | 02 | 10 02 | 01 | 01 | 02 03", frame.ErrCorrupt, "3 texts of a dictionary"},
		{"a text beyond the dictionary", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "06 0161 | 02 | 10 02 | 01 | 01 | 02 01 10 02 61 10 02", frame.ErrCorrupt, "text 1 of a dictionary of 1"},
		{"a text before the dictionary", "02 0161 | 02 | 10 02 | 01 | 01 | 11 00 05 07", "06 0161 | 02 | 10 02 | 01 | 01 | 02 01 10 02 61 10 01", frame.ErrCorrupt, "of a dictionary of 1"},
	}
	var decoder frame.Decoder
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if n := strings.Count(leastPayload, test.was); n != 1 {
				t.Fatalf("%q stands %d times in %q", test.was, n, leastPayload)
			}
			payload := unhex(t, strings.Replace(leastPayload, test.was, test.is, 1))
			_, err := decoder.Decode(withPayload(t, frame.Events, compress.None, payload, len(payload)))
			wantError(t, err, test.class, test.says)
		})
	}
	payload := unhex(t, leastPayload)
	if _, err := decoder.Decode(withPayload(t, frame.Events, compress.None, payload, len(payload))); err != nil {
		t.Errorf("the unaltered payload: %v", err)
	}
}

// Version 1 of the format has neither deploy frames nor clocks of ticks.
func TestVersion1(t *testing.T) {
	var decoder frame.Decoder
	old := func(f *frame.Frame) error {
		src := encode(t, f, compress.None)
		src[4] = 1
		_, err := decoder.Decode(reseal(src))
		return err
	}
	wantError(t, old(deploy()), frame.ErrVersion, "a frame of kind 4 is not known")
	wantError(t, old(clock()), frame.ErrCorrupt, "8 bytes too many")
	for _, f := range []*frame.Frame{tick(), barrier(), example()} {
		if err := old(f); err != nil {
			t.Error(err)
		}
	}
}

func TestControlFramesThatAreWrong(t *testing.T) {
	version := unhex(t, "01 01 0131 027b7d 0178")
	cut := unhex(t, "0c00000000000000 0300000000000000 0102030405060708090a0b0c0d0e0f10")
	tests := []struct {
		name    string
		kind    frame.Kind
		payload []byte
		says    string
	}{
		{"a tick with a short clock", frame.Tick, []byte{0}, "expected 8 bytes, 1 are left"},
		{"a tick with more than a clock", frame.Tick, make([]byte, 9), "1 bytes too many"},
		{"a deploy frame without content", frame.Deploy, nil, "expected a number, which is cut off"},
		{"version 0 of an app", frame.Deploy, append([]byte{0}, version[1:]...), "0 as the number of an app's version"},
		{"a version over 32 bits", frame.Deploy, append(unhex(t, "8080808010"), version[1:]...), "4294967296 as the number of an app's version"},
		{"level 0", frame.Deploy, append([]byte{1, 0}, version[2:]...), "0 as a semantics level"},
		{"no build", frame.Deploy, []byte{1, 1, 0}, "0 bytes of a build's name"},
		{"no settings", frame.Deploy, unhex(t, "01 01 0131 00"), "0 bytes of settings"},
		{"settings over the limit", frame.Deploy, unhex(t, "01 01 0131 818004"), "65537 bytes of settings"},
		{"no text", frame.Deploy, unhex(t, "01 01 0131 027b7d 00"), "0 bytes of an app's text"},
		{"a text over the limit", frame.Deploy, unhex(t, "01 01 0131 027b7d 818040"), "1048577 bytes of an app's text"},
		{"a text that is cut", frame.Deploy, version[:len(version)-1], "expected 1 bytes, 0 are left"},
		{"an empty change", frame.Deploy, append(slices.Clone(version), 0), "0 bytes of a change"},
		{"a change over the limit", frame.Deploy, append(slices.Clone(version), unhex(t, "818040")...), "1048577 bytes of a change"},
		{"a change that is cut", frame.Deploy, append(slices.Clone(version), 2, '{'), "expected 2 bytes, 1 are left"},
		{"more than a change", frame.Deploy, append(slices.Clone(version), 1, '{', 0), "1 bytes too many"},
		{"a barrier without", frame.Barrier, nil, "expected 32 bytes"},
		{"a short barrier", frame.Barrier, cut[:31], "expected 32 bytes, 31 are left"},
		{"a long barrier", frame.Barrier, append(slices.Clone(cut), 0), "1 bytes too many"},
		{"epoch 0", frame.Barrier, append(make([]byte, 8), cut[8:]...), "epoch 0"},
		{"term 0", frame.Barrier, append(append(slices.Clone(cut[:8]), make([]byte, 8)...), cut[16:]...), "term 0"},
		{"no id", frame.Barrier, append(slices.Clone(cut[:16]), make([]byte, 16)...), "id 0000"},
	}
	var decoder frame.Decoder
	for _, test := range tests {
		_, err := decoder.Decode(withPayload(t, test.kind, compress.None, test.payload, len(test.payload)))
		t.Run(test.name, func(t *testing.T) { wantError(t, err, frame.ErrCorrupt, test.says) })
	}
}

// Rows that cost no bytes must not cost any amount of memory either.
func TestMemoryIsLimited(t *testing.T) {
	columns := strings.Repeat("02 0161", 100)
	payload := unhex(t, "01 | af02 0153 64"+columns+" | 808040 | 10 02 | 01")
	var decoder frame.Decoder
	_, err := decoder.Decode(withPayload(t, frame.Events, compress.None, payload, len(payload)))
	wantError(t, err, frame.ErrCorrupt, "more than 134217728 bytes in memory")

	// One text of 1,000 bytes, a million times.
	text := strings.Repeat("61", 1_000)
	payload = unhex(t, "01 | 06 0153 01 06 0161 | 808040 | 10 02 | 01 | 01 | 02 01 10 d00f"+text+"10 00 | 01 10 808040")
	_, err = decoder.Decode(withPayload(t, frame.Events, compress.None, payload, len(payload)))
	wantError(t, err, frame.ErrCorrupt, "more than 134217728 bytes in memory")
}

func TestEveryTruncationIsTorn(t *testing.T) {
	var decoder frame.Decoder
	for name, f := range frames(t) {
		if name == "flights" {
			continue // the same with fewer bytes
		}
		src := encode(t, f, compress.LZ4)
		for n := range src {
			_, err := decoder.Decode(src[:n])
			if !errors.Is(err, frame.ErrTorn) {
				t.Fatalf("%s cut at %d of %d: %v", name, n, len(src), err)
			}
		}
	}
}

func TestEveryZeroFilledTailIsNoticed(t *testing.T) {
	var decoder frame.Decoder
	for _, codec := range compress.Codecs() {
		src := encode(t, everything(), codec)
		for n := range len(src) - 4 {
			spoilt := slices.Clone(src)
			clear(spoilt[n:])
			if _, err := decoder.Decode(spoilt); !errors.Is(err, frame.ErrCorrupt) || n > 12 && !errors.Is(err, frame.ErrTorn) {
				t.Fatalf("%s: zeros from %d of %d: %v", codec, n, len(src), err)
			}
		}
	}
}

func TestEveryFlippedBitIsNoticed(t *testing.T) {
	var decoder frame.Decoder
	for name, f := range frames(t) {
		if name == "flights" {
			continue
		}
		src := encode(t, f, compress.LZ4)
		for bit := range 8 * len(src) {
			spoilt := slices.Clone(src)
			spoilt[bit/8] ^= 1 << (bit % 8)
			if _, err := decoder.Decode(spoilt); !errors.Is(err, frame.ErrCorrupt) {
				t.Fatalf("%s: bit %d flipped: %v", name, bit, err)
			}
			if _, _, err := frame.DecodeHeader(spoilt); !errors.Is(err, frame.ErrCorrupt) {
				t.Fatalf("%s: bit %d flipped, only the header read: %v", name, bit, err)
			}
		}
	}
}

func TestEncoderRefuses(t *testing.T) {
	long := strings.Repeat("x", 256)
	tests := []struct {
		name  string
		spoil func(f *frame.Frame)
		class error
		says  string
	}{
		{"kind 0", func(f *frame.Frame) { f.Kind = 0 }, frame.ErrInvalid, "kind 0"},
		{"no app", func(f *frame.Frame) { f.App = "" }, frame.ErrInvalid, "app name"},
		{"a long app", func(f *frame.Frame) { f.App = long }, frame.ErrInvalid, "app name of 256 bytes"},
		{"writer 0", func(f *frame.Frame) { f.Writer = 0 }, frame.ErrInvalid, "writer 0"},
		{"number 0", func(f *frame.Frame) { f.Number = 0 }, frame.ErrInvalid, "frame number 0"},
		{"a first frame after another", func(f *frame.Frame) { f.Number, f.Prev = 1, 5 }, frame.ErrInvalid, "first frame"},
		{"a tick with events", func(f *frame.Frame) { f.Kind = frame.Tick }, frame.ErrInvalid, "a tick has no events"},
		{"events with a cut", func(f *frame.Frame) { f.Cut.Epoch = 1 }, frame.ErrInvalid, "cut"},
		{"events with a version", func(f *frame.Frame) { f.Deploy.Level = 1 }, frame.ErrInvalid, "content of a deploy frame"},
		{"events with a clock", func(f *frame.Frame) { f.HasClock = true }, frame.ErrInvalid, "clock of its own"},
		{"a clock that is not announced", func(f *frame.Frame) { *f = *tick(); f.Clock = 1 }, frame.ErrInvalid, "clock of its own"},
		{"version 0 of an app", func(f *frame.Frame) { *f = *deploy(); f.Deploy.Number = 0 }, frame.ErrInvalid, "version 0"},
		{"a change over the limit", func(f *frame.Frame) { *f = *upgrade(); f.Deploy.Change = strings.Repeat("x", frame.ChangeBytesMax+1) }, frame.ErrTooLarge, "change of 1048577 bytes"},
		{"level 0", func(f *frame.Frame) { *f = *deploy(); f.Deploy.Level = 0 }, frame.ErrInvalid, "semantics level 0"},
		{"no build", func(f *frame.Frame) { *f = *deploy(); f.Deploy.Build = "" }, frame.ErrInvalid, "build of 0 bytes"},
		{"long settings", func(f *frame.Frame) {
			*f = *deploy()
			f.Deploy.Settings = strings.Repeat("x", frame.SettingsBytesMax+1)
		}, frame.ErrTooLarge, "settings of 65537 bytes"},
		{"a long text", func(f *frame.Frame) {
			*f = *deploy()
			f.Deploy.Text = strings.Repeat("x", frame.AppBytesMax+1)
		}, frame.ErrTooLarge, "app text of 1048577 bytes"},
		{"a barrier without a cut", func(f *frame.Frame) { *f = *barrier(); f.Cut.Epoch = 0 }, frame.ErrInvalid, "epoch 0"},
		{"no blocks", func(f *frame.Frame) { f.Blocks = nil }, frame.ErrInvalid, "0 blocks"},
		{"too many blocks", func(f *frame.Frame) { f.Blocks = make([]frame.Block, frame.BlocksMax+1) }, frame.ErrTooLarge, "4097 blocks"},
		{"no batch", func(f *frame.Frame) { f.Blocks[1].Batch = nil }, frame.ErrInvalid, "block 1 has no rows"},
		{"no rows", func(f *frame.Frame) { f.Blocks[1].Batch.Reset() }, frame.ErrInvalid, "block 1 has no rows"},
		{"too many rows", func(f *frame.Frame) { f.Blocks[0].Batch.TS = make([]int64, frame.RowsMax+1) }, frame.ErrTooLarge, "rows"},
		{"too few arrival stamps", func(f *frame.Frame) { f.Blocks[0].Arrived = f.Blocks[0].Arrived[1:] }, frame.ErrInvalid, "4 arrival stamps for 5 rows"},
		{"a column too few", func(f *frame.Frame) { f.Blocks[0].Batch.Cols = f.Blocks[0].Batch.Cols[1:] }, frame.ErrInvalid, "8 columns for 9"},
		{"a short column", func(f *frame.Frame) { f.Blocks[0].Batch.Cols[1].Truncate(2) }, frame.ErrInvalid, "attribute i int: invalid frame: column of 2 values"},
		{"a column of another class", func(f *frame.Frame) { f.Blocks[0].Batch.Cols[1].Type = event.String }, frame.ErrInvalid, "attribute i int"},
		{"a bool of 2", func(f *frame.Frame) { f.Blocks[0].Batch.Cols[0].Ints[3] = 2 }, frame.ErrInvalid, "row 3 has 2"},
		{"a wide int", func(f *frame.Frame) { f.Blocks[0].Batch.Cols[1].Ints[3] = 1 << 31 }, frame.ErrInvalid, "exceed 32 bits"},
		{"an unrounded float", func(f *frame.Frame) { f.Blocks[0].Batch.Cols[3].Floats[3] = 0.1 }, frame.ErrInvalid, "row 3 has 0.1"},
		{"texts that end before they start", func(f *frame.Frame) { f.Blocks[0].Batch.Cols[6].Ends[1] = 2 }, frame.ErrInvalid, "ends before it starts"},
		{"texts beyond the bytes", func(f *frame.Frame) { f.Blocks[0].Batch.Cols[6].Ends[4] = 900 }, frame.ErrInvalid, "texts end at byte 900"},
		{"a text under a null", func(f *frame.Frame) {
			c := &f.Blocks[0].Batch.Cols[5]
			c.Bytes, c.Ends[4] = append(c.Bytes, 'x'), c.Ends[4]+1
		}, frame.ErrInvalid, "row 4 is null and has a text"},
		{"no name", func(f *frame.Frame) { f.Blocks[0].Batch.Schema.Attrs[0].Name = "" }, frame.ErrInvalid, "name of 0 bytes"},
		{"a long name", func(f *frame.Frame) { f.Blocks[0].Batch.Schema.Name = long }, frame.ErrInvalid, "name of 256 bytes"},
		{"an unknown type", func(f *frame.Frame) { f.Blocks[0].Batch.Schema.Attrs[0].Type = 9 }, frame.ErrInvalid, "type(9)"},
		{"no runs", func(f *frame.Frame) { f.Runs = nil }, frame.ErrInvalid, "no run has the last 5 rows of block 0"},
		{"a run of no rows", func(f *frame.Frame) { f.Runs[0].Rows = 0 }, frame.ErrInvalid, "run 0 has 0 rows"},
		{"a run of too many rows", func(f *frame.Frame) { f.Runs[3].Rows = 4 }, frame.ErrInvalid, "run 3 has 4 rows, block 0 has 3 left"},
		{"a run of no block", func(f *frame.Frame) { f.Runs[0].Block = 2 }, frame.ErrInvalid, "block 2, there are 2"},
		{"a long id", func(f *frame.Frame) { f.Runs[1].ID = strings.Repeat("x", frame.TextBytesMax+1) }, frame.ErrTooLarge, "id of 65537"},
		{"a large text", func(f *frame.Frame) {
			b := event.NewBatch(f.Blocks[1].Batch.Schema)
			b.Cols[0].AppendText(strings.Repeat("x", frame.RawBytesMax))
			b.TS = append(b.TS, 1)
			*f = *eventsOf(b)
		}, frame.ErrTooLarge, "payload of"},
		{"a large frame", func(f *frame.Frame) {
			b := event.NewBatch(f.Blocks[1].Batch.Schema)
			noise, state := make([]byte, frame.BytesMax), uint64(1)
			for i := range noise {
				state = state*6364136223846793005 + 1442695040888963407
				noise[i] = byte(state >> 56)
			}
			b.Cols[0].AppendText(string(noise))
			b.TS = append(b.TS, 1)
			*f = *eventsOf(b)
		}, frame.ErrTooLarge, "put fewer rows into it"},
	}
	var encoder frame.Encoder
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			f := everything()
			test.spoil(f)
			dst, err := encoder.Append([]byte("before"), f, compress.LZ4)
			wantError(t, err, test.class, test.says)
			if !bytes.Equal(dst, []byte("before")) {
				t.Errorf("%d bytes were appended", len(dst)-6)
			}
		})
	}
	if _, err := encoder.Append(nil, everything(), 0); !errors.Is(err, frame.ErrInvalid) {
		t.Errorf("codec 0: %v", err)
	}
	if src, err := encoder.Append(nil, everything(), compress.LZ4); err != nil || !bytes.Equal(src, encode(t, everything(), compress.LZ4)) {
		t.Errorf("other bytes after all these: %v", err)
	}
}
