package compress_test

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// samples are blocks that shrink in each codec.
func samples() map[string][]byte {
	json := strings.Repeat(`{"symbol":"WSO2","price":57.25,"volume":100}`+"\n", 40)
	mixed := make([]byte, 70_000)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range mixed {
		if i%9 == 0 {
			mixed[i] = byte(random.Uint32())
		}
	}
	return map[string][]byte{
		"json":  []byte(json),
		"zeros": make([]byte, 300_000),
		"mixed": mixed,
		"short": []byte(strings.Repeat("ab", 40)),
	}
}

func TestBlocksComeBackBehindWhatIsThere(t *testing.T) {
	for name, raw := range samples() {
		for _, codec := range compress.Codecs() {
			t.Run(fmt.Sprintf("%s/%s", name, codec), func(t *testing.T) {
				packed := codec.Compress([]byte("head"), raw)
				if !bytes.HasPrefix(packed, []byte("head")) {
					t.Fatalf("the bytes before the block changed: %q", packed[:4])
				}
				block := packed[4:]
				if codec == compress.None != bytes.Equal(block, raw) {
					t.Fatalf("%d bytes became %d", len(raw), len(block))
				}
				got, err := codec.Decompress([]byte("front"), block, len(raw))
				if err != nil {
					t.Fatal(err)
				}
				if want := append([]byte("front"), raw...); !bytes.Equal(got, want) {
					t.Fatal("other bytes came back")
				}
			})
		}
	}
}

// Formats compare and hash what they wrote, so a coder out of the pool must not
// remember the block before.
func TestSameBlockGivesSameBytes(t *testing.T) {
	for _, codec := range compress.Codecs() {
		first := map[string][]byte{}
		for round := range 5 {
			for name, raw := range samples() {
				packed := codec.Compress(nil, raw)
				if round == 0 {
					first[name] = packed
				} else if !bytes.Equal(packed, first[name]) {
					t.Errorf("%s: %s differs in round %d", codec, name, round)
				}
			}
		}
	}
}

func TestBlockThatDoesNotShrinkIsReported(t *testing.T) {
	random := make([]byte, 10_000)
	rng := rand.New(rand.NewPCG(3, 4))
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	for _, codec := range compress.Codecs()[1:] {
		for name, raw := range map[string][]byte{"random": random, "empty": nil, "tiny": []byte("abc")} {
			if got := codec.Compress([]byte("head"), raw); string(got) != "head" {
				t.Errorf("%s: %s: %d bytes appended", codec, name, len(got)-4)
			}
		}
	}
	if got := compress.None.Compress([]byte("head"), []byte("abc")); string(got) != "headabc" {
		t.Errorf("none appended %q", got)
	}
}

func TestDecompressYieldsTheDeclaredLengthOrNothing(t *testing.T) {
	for name, raw := range samples() {
		for _, codec := range compress.Codecs() {
			block := codec.Compress(nil, raw)
			for _, rawLen := range []int{-1, 0, 1, len(raw) - 1, len(raw) + 1, 2 * len(raw), compress.RawBytesMax, compress.RawBytesMax + 1} {
				// Spare capacity after the block must not tempt a decoder.
				room := append(make([]byte, 0, 4*len(raw)+64), "front"...)
				got, err := codec.Decompress(room, block, rawLen)
				if !errors.Is(err, compress.ErrCorrupt) || string(got) != "front" {
					t.Errorf("%s: %s as %d bytes: error %v, %d bytes", codec, name, rawLen, err, len(got)-5)
				}
			}
			for _, cut := range []int{0, 1, len(block) / 2, len(block) - 1} {
				if got, err := codec.Decompress(nil, block[:cut], len(raw)); !errors.Is(err, compress.ErrCorrupt) {
					t.Errorf("%s: %s cut at %d: error %v, %d bytes", codec, name, cut, err, len(got))
				}
			}
		}
	}
}

func TestUnknownCodec(t *testing.T) {
	for _, codec := range []compress.Codec{0, 5, 255} {
		if codec.Valid() {
			t.Errorf("%s is valid", codec)
		}
		_, err := codec.Decompress(nil, []byte("abc"), 3)
		if !errors.Is(err, compress.ErrCorrupt) || !strings.Contains(err.Error(), "newer version") {
			t.Errorf("%s: %v", codec, err)
		}
	}
}

func TestNames(t *testing.T) {
	for _, codec := range compress.Codecs() {
		for _, name := range []string{codec.String(), strings.ToUpper(codec.String())} {
			if got, err := compress.Parse(name); err != nil || got != codec {
				t.Errorf("Parse(%q) = %s, %v", name, got, err)
			}
		}
	}
	if _, err := compress.Parse("gzip"); err == nil || !strings.Contains(err.Error(), "none, lz4, snappy or zstd") {
		t.Errorf("Parse(gzip): %v", err)
	}
	if got := compress.Codec(9).String(); got != "codec(9)" {
		t.Errorf("codec 9 is called %q", got)
	}
}

func FuzzCompress(f *testing.F) {
	for _, raw := range samples() {
		f.Add(raw[:min(len(raw), 4096)])
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, codec := range compress.Codecs() {
			block := codec.Compress(nil, raw)
			if len(block) == 0 && codec != compress.None {
				continue // does not shrink
			}
			got, err := codec.Decompress(nil, block, len(raw))
			if err != nil || !bytes.Equal(got, raw) {
				t.Fatalf("%s: %v", codec, err)
			}
		}
	})
}

func FuzzDecompress(f *testing.F) {
	for _, codec := range compress.Codecs() {
		for _, raw := range samples() {
			raw = raw[:min(len(raw), 4096)]
			f.Add(uint8(codec), codec.Compress(nil, raw), len(raw))
		}
	}
	f.Fuzz(func(t *testing.T, number uint8, block []byte, rawLen int) {
		rawLen %= 1 << 20 // keeps the fuzzer's memory small
		room := append(make([]byte, 0, 128), "front"...)
		behind := room[5:cap(room)]
		for i := range behind {
			behind[i] = 0xA5
		}
		got, err := compress.Codec(number).Decompress(room, block, rawLen)
		if err != nil {
			if !errors.Is(err, compress.ErrCorrupt) || string(got) != "front" {
				t.Fatalf("%v with %d bytes", err, len(got))
			}
			return
		}
		if len(got) != 5+rawLen {
			t.Fatalf("%d bytes, declared are %d", len(got)-5, rawLen)
		}
		for i := rawLen; i < len(behind); i++ {
			if behind[i] != 0xA5 {
				t.Fatalf("byte %d after a block of %d was written", i, rawLen)
			}
		}
	})
}

func TestCodersAreSafeTogether(t *testing.T) {
	var group sync.WaitGroup
	for name, raw := range samples() {
		for _, codec := range compress.Codecs() {
			group.Go(func() {
				for range 20 {
					got, err := codec.Decompress(nil, codec.Compress(nil, raw), len(raw))
					if err != nil || !bytes.Equal(got, raw) {
						t.Errorf("%s: %s: %v", codec, name, err)
					}
				}
			})
		}
	}
	group.Wait()
}
