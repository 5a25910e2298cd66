package compress_test

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/state/compress"
)

// FuzzOpen feeds bytes as they are, and with the CRC set right: otherwise the CRC would
// keep the fuzzer from everything after it.
func FuzzOpen(f *testing.F) {
	for _, how := range choices() {
		for _, k := range kinds() {
			f.Add(compress.Seal(nil, k.data[:600], how))
		}
	}
	f.Add(compress.Seal(nil, nil, compress.Choice{}))
	f.Fuzz(func(t *testing.T, sealed []byte) {
		tryOpen(t, sealed)
		if len(sealed) >= 4 {
			tryOpen(t, resealed(sealed))
		}
	})
}

// tryOpen fails unless the bytes are refused with a known class of error, or give exactly
// as many bytes as the envelope declares, within the limit.
func tryOpen(t *testing.T, sealed []byte) {
	const rawMax = 1 << 20
	room := append(make([]byte, 0, 256), "front"...)
	behind := room[5:cap(room)]
	for i := range behind {
		behind[i] = 0xA5
	}
	got, err := compress.Open(room, sealed, rawMax)
	if err != nil {
		if string(got) != "front" {
			t.Fatalf("%d bytes came out with %v", len(got)-5, err)
		}
		if !errors.Is(err, compress.ErrCorrupt) && !errors.Is(err, compress.ErrVersion) {
			t.Fatalf("an error of no class: %v", err)
		}
		return
	}
	e, err := compress.Inspect(sealed)
	if err != nil || e.RawLen != len(got)-5 || e.RawLen > rawMax {
		t.Fatalf("%d bytes came out of %+v, %v", len(got)-5, e, err)
	}
	for i := e.RawLen; i < len(behind); i++ {
		if behind[i] != 0xA5 {
			t.Fatalf("byte %d after a block of %d was written", i, e.RawLen)
		}
	}
	if e.Codec == compress.None {
		if again := compress.Seal(nil, got[5:], compress.Choice{Codec: compress.None}); !bytes.Equal(again, sealed) {
			t.Fatal("one block, stored as it is in two ways")
		}
	}
}

func FuzzSealOpen(f *testing.F) {
	for _, k := range kinds() {
		f.Add(k.data[:2000], uint8(0), false, int64(0), 0.0)
		f.Add(k.data[:200], uint8(0), true, int64(time.Millisecond), 1.5)
		f.Add(k.data[:6000], uint8(4), false, int64(-1), -2.0)
	}
	f.Fuzz(func(t *testing.T, raw []byte, codec uint8, hot bool, budget int64, minRatio float64) {
		how := compress.Choice{Codec: compress.Codec(codec % 5), Budget: time.Duration(budget), MinRatio: minRatio}
		if hot {
			how.Access = compress.Hot
		}
		sealed, decision := compress.SealExplain(nil, raw, how)
		if len(sealed) > len(raw)+compress.OverheadMax || !decision.Codec.Valid() || decision.Reason == 0 {
			t.Fatalf("%d bytes became %d: %s", len(raw), len(sealed), decision)
		}
		got, err := compress.Open(nil, sealed, len(raw))
		if err != nil || !bytes.Equal(got, raw) {
			t.Fatalf("%s: %v", decision, err)
		}
	})
}
