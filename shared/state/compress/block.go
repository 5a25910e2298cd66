package compress

import (
	"fmt"
	"math"
	"slices"
	"sync"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// lz4ExpansionMax bounds how many bytes one byte of an LZ4 block can produce: each further
// byte extends a length by 255.
const lz4ExpansionMax = 255

var lz4Compressors = sync.Pool{New: func() any { return new(lz4.Compressor) }}

// The zstd coders are shared: their EncodeAll and DecodeAll take an idle worker from a pool
// of their own. They write no checksum, because each format that stores a block has one
// over more than the block.
var (
	zstdEncoder = sync.OnceValue(func() *zstd.Encoder {
		return newZstdEncoder(zstd.WithEncoderLevel(zstd.SpeedFastest))
	})
	// zstdStateEncoder is for envelopes, which are written beside a task and not while
	// a publisher waits. The fastest level finds nothing in packed columns, and without
	// the second option bytes that do not repeat are not even Huffman-coded: both
	// together make the flights, packed as in a frame, 18 % smaller.
	zstdStateEncoder = sync.OnceValue(func() *zstd.Encoder {
		return newZstdEncoder(zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithAllLitEntropyCompression(true))
	})
	zstdDecoder = sync.OnceValue(func() *zstd.Decoder {
		dec, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(0), zstd.WithDecoderMaxMemory(RawBytesMax),
			zstd.WithDecodeAllCapLimit(true))
		if err != nil {
			panic(err)
		}
		return dec
	})
)

func newZstdEncoder(options ...zstd.EOption) *zstd.Encoder {
	enc, err := zstd.NewWriter(nil, append(options, zstd.WithEncoderCRC(false))...)
	if err != nil {
		panic(err) // options of this repository, not input
	}
	return enc
}

// Compress appends the compressed src to dst and returns the extended slice. A
// block that does not shrink is not worth its decompression: dst then comes back
// with nothing appended, and the caller stores src as None. None itself appends
// src as it is. It is safe for concurrent use.
func (c Codec) Compress(dst, src []byte) []byte {
	return c.compress(dst, src, zstdEncoder)
}

// compressState is Compress with the coder of envelopes.
func (c Codec) compressState(dst, src []byte) []byte {
	return c.compress(dst, src, zstdStateEncoder)
}

func (c Codec) compress(dst, src []byte, zstdCoder func() *zstd.Encoder) []byte {
	if c == None {
		return append(dst, src...)
	}
	if !c.Valid() {
		panic("compress with " + c.String()) // codecs of blocks that are read go to Decompress
	}
	if len(src) == 0 || len(src) > RawBytesMax {
		return dst
	}
	base := len(dst)
	switch c {
	case LZ4:
		dst = compressLZ4(dst, src)
	case Snappy:
		dst = slices.Grow(dst, snappy.MaxEncodedLen(len(src)))
		dst = dst[:base+len(snappy.Encode(dst[base:cap(dst)], src))]
	case Zstd:
		coder := zstdCoder()
		dst = coder.EncodeAll(src, slices.Grow(dst, coder.MaxEncodedSize(len(src))))
	}
	if len(dst)-base >= len(src) {
		return dst[:base]
	}
	return dst
}

func compressLZ4(dst, src []byte) []byte {
	comp := lz4Compressors.Get().(*lz4.Compressor)
	defer lz4Compressors.Put(comp)
	base := len(dst)
	dst = slices.Grow(dst, lz4.CompressBlockBound(len(src)))
	n, err := comp.CompressBlock(src, dst[base:cap(dst)])
	if err != nil {
		return dst[:base] // cannot be: the memory is of the bound's size
	}
	return dst[:base+n]
}

// Decompress appends the rawLen bytes of the compressed src to dst and returns the extended
// slice. It never produces more, whatever src says. If src holds another number of bytes,
// or is not a block of this codec, the error is ErrCorrupt and dst comes back unchanged. It is
// safe for concurrent use.
func (c Codec) Decompress(dst, src []byte, rawLen int) ([]byte, error) {
	if rawLen < 0 || rawLen > RawBytesMax {
		return dst, fmt.Errorf("%w: raw length %d, limit %d", ErrCorrupt, rawLen, RawBytesMax)
	}
	n, err := c.lenOf(src, rawLen)
	if err != nil {
		return dst, fmt.Errorf("%w: %s: %w", ErrCorrupt, c, err)
	}
	if n != rawLen {
		return dst, fmt.Errorf("%w: %s block holds %d bytes, declared are %d", ErrCorrupt, c, n, rawLen)
	}
	base := len(dst)
	dst = slices.Grow(dst, rawLen)
	// The third index keeps a decoder from the spare memory after the block.
	out := dst[base : base+rawLen : base+rawLen]
	switch c {
	case None:
		n = copy(out, src)
	case LZ4:
		n, err = lz4.UncompressBlock(src, out)
	case Snappy:
		var raw []byte
		raw, err = snappy.Decode(out, src)
		n = len(raw)
	case Zstd:
		var raw []byte
		raw, err = zstdDecoder().DecodeAll(src, out[:0])
		n = len(raw)
	}
	if err != nil {
		return dst[:base], fmt.Errorf("%w: %s: %w", ErrCorrupt, c, err)
	}
	if n != rawLen {
		return dst[:base], fmt.Errorf("%w: %s block holds %d bytes, declared are %d", ErrCorrupt, c, n, rawLen)
	}
	return dst[:base+n], nil
}

// lenOf returns the raw length that src itself declares, or else rawLen. It returns an
// error if that is impossible, so that a false length is found before memory is allocated
// for it.
func (c Codec) lenOf(src []byte, rawLen int) (int, error) {
	switch c {
	case None:
		return len(src), nil
	case LZ4:
		if rawLen > len(src)*lz4ExpansionMax {
			return 0, fmt.Errorf("%d bytes cannot stand for the %d that are declared", len(src), rawLen)
		}
		return rawLen, nil
	case Snappy:
		return snappy.DecodedLen(src)
	case Zstd:
		var h zstd.Header
		if err := h.Decode(src); err != nil {
			return 0, err
		}
		if h.HasFCS {
			return int(min(h.FrameContentSize, math.MaxInt32)), nil
		}
		return rawLen, nil
	default:
		return 0, fmt.Errorf("codec number %d is not known; a newer version may have written it", uint8(c))
	}
}
