// Package compress turns blocks of bytes into smaller ones and back, with coders that are
// pooled and never produce more than the declared length. Seal and Open put a block into an
// envelope of its own, with codec, lengths and checksum, and Auto finds the codec for it.
// Compress and Decompress are for formats that keep these themselves.
package compress

import (
	"errors"
	"fmt"
	"strings"
)

// Codec says how a block is compressed. The zero value is invalid, so that a zero-filled
// record never names a codec. The numbers are durable: WAL frames and state files hold
// them.
type Codec uint8

// The codecs. None stores a block as it is; LZ4 and Snappy are their plain block
// formats, without a frame around them; Zstd is a Zstandard frame.
const (
	None   Codec = 1
	LZ4    Codec = 2
	Snappy Codec = 3
	Zstd   Codec = 4
)

// RawBytesMax is the largest block that is compressed, or that Decompress will
// produce. Formats set their own, lower limits.
const RawBytesMax = 256 << 20

// ErrCorrupt is returned for a compressed block that cannot be what Compress
// wrote. Do not retry; read another copy or an older epoch.
var ErrCorrupt = errors.New("corrupt compressed block")

var codecNames = [...]string{Auto: "auto", None: "none", LZ4: "lz4", Snappy: "snappy", Zstd: "zstd"}

// Codecs lists all codecs in the order of their numbers.
func Codecs() []Codec { return []Codec{None, LZ4, Snappy, Zstd} }

// String returns the name of the codec as settings write it.
func (c Codec) String() string {
	if c.Valid() || c == Auto {
		return codecNames[c]
	}
	return fmt.Sprintf("codec(%d)", uint8(c))
}

// Valid reports whether c is one of the codecs above.
func (c Codec) Valid() bool { return c >= None && c <= Zstd }

// Parse returns the codec with the given name, in upper or lower case.
func Parse(name string) (Codec, error) {
	for _, c := range Codecs() {
		if strings.EqualFold(codecNames[c], name) {
			return c, nil
		}
	}
	return 0, fmt.Errorf("codec %q is not known: use none, lz4, snappy or zstd", name)
}
