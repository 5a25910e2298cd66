package frame

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// The frame around the payload. Magic, size and the CRC at the end have the same places in
// every version, so that a damaged version number is not mistaken for a newer one.
const (
	version    = 2 // that is written
	versionMin = 1 // that is still read

	offsetVersion   = 4
	offsetKind      = 5
	offsetCodec     = 6
	offsetAppLen    = 7
	offsetSize      = 8
	offsetRawLen    = 12
	offsetPartition = 16
	offsetPrev      = 20
	offsetWriter    = 24
	offsetNumber    = 32
	offsetStamp     = 40
	headerBytes     = 48 // the app's name follows
	crcBytes        = 4
	frameBytesMin   = headerBytes + 1 + crcBytes
)

const magic = "EFWF"

// envelope is a frame with checked surroundings: the CRC is right, and the version, kind
// and codec are known.
type envelope struct {
	header  Header // without App, so that reading it takes no memory
	version uint8
	app     []byte
	codec   compress.Codec
	rawLen  int
	payload []byte // compressed
	crc     uint32
}

// DecodeHeader returns the header of the frame that src holds, and its CRC. It checks the
// CRC over the whole frame, but does not read the payload.
func DecodeHeader(src []byte) (Header, uint32, error) {
	e, err := open(src)
	if err != nil {
		return Header{}, 0, err
	}
	h := e.header
	h.App = string(e.app)
	return h, e.crc, nil
}

// open checks everything around the payload.
func open(src []byte) (envelope, error) {
	if err := checkWhole(src); err != nil {
		return envelope{}, err
	}
	v := src[offsetVersion]
	if v == 0 {
		return envelope{}, corrupt(offsetVersion, "version 0")
	}
	if v > version {
		return envelope{}, fmt.Errorf("%w: format version %d, known are %d to %d; read it with the version that wrote it or a newer one", ErrVersion, v, versionMin, version)
	}
	e := envelope{version: v, codec: compress.Codec(src[offsetCodec]), crc: crcOf(src)}
	e.header = Header{
		Kind:      Kind(src[offsetKind]),
		Partition: binary.LittleEndian.Uint32(src[offsetPartition:]),
		Prev:      binary.LittleEndian.Uint32(src[offsetPrev:]),
		Writer:    binary.LittleEndian.Uint64(src[offsetWriter:]),
		Number:    binary.LittleEndian.Uint64(src[offsetNumber:]),
		Stamp:     int64(binary.LittleEndian.Uint64(src[offsetStamp:])),
	}
	appLen, rawLen := int(src[offsetAppLen]), binary.LittleEndian.Uint32(src[offsetRawLen:])
	switch h := &e.header; {
	case h.Kind == 0:
		return e, corrupt(offsetKind, "kind 0")
	case !h.Kind.Valid(), v < 2 && h.Kind > Barrier:
		return e, fmt.Errorf("%w: a frame of kind %d is not known; a newer version may have written it", ErrVersion, uint8(h.Kind))
	case e.codec == 0:
		return e, corrupt(offsetCodec, "codec 0")
	case !e.codec.Valid():
		return e, fmt.Errorf("%w: codec %d is not known; a newer version may have written it", ErrVersion, uint8(e.codec))
	case appLen == 0 || headerBytes+appLen > len(src)-crcBytes:
		return e, corrupt(offsetAppLen, "app name of %d bytes in a frame of %d", appLen, len(src))
	case rawLen > RawBytesMax:
		return e, corrupt(offsetRawLen, "payload of %d bytes, limit %d", rawLen, RawBytesMax)
	case h.Writer == 0:
		return e, corrupt(offsetWriter, "writer 0")
	case h.Number == 0:
		return e, corrupt(offsetNumber, "frame number 0")
	case h.Number == 1 && h.Prev != 0:
		return e, corrupt(offsetPrev, "a writer's first frame names a frame before it (%08x)", h.Prev)
	}
	e.app = src[headerBytes : headerBytes+appLen]
	e.payload = src[headerBytes+appLen : len(src)-crcBytes]
	e.rawLen = int(rawLen)
	return e, nil
}

// checkWhole checks the parts that every version of the format has: magic, size and CRC.
func checkWhole(src []byte) error {
	switch {
	case len(src) < frameBytesMin:
		return torn(len(src), "%d bytes, the shortest frame has %d", len(src), frameBytesMin)
	case binary.LittleEndian.Uint32(src) == 0:
		return torn(0, "zeros where the frame starts")
	case string(src[:len(magic)]) != magic:
		return corrupt(0, "it starts with %q, not with %q", src[:len(magic)], magic)
	}
	size := int(binary.LittleEndian.Uint32(src[offsetSize:]))
	switch {
	case size < frameBytesMin || size > BytesMax:
		return corrupt(offsetSize, "size %d, allowed are %d to %d", size, frameBytesMin, BytesMax)
	case size > len(src):
		return torn(len(src), "%d bytes of %d", len(src), size)
	case size < len(src):
		return corrupt(size, "%d bytes after the frame", len(src)-size)
	}
	want, got := crcOf(src), wire.CRC(src[:size-crcBytes])
	if want == got {
		return nil
	}
	if want == 0 {
		return torn(size-crcBytes, "zeros where the frame ends")
	}
	return corrupt(size-crcBytes, "CRC32C is %08x, the frame says %08x", got, want)
}

func crcOf(src []byte) uint32 {
	return binary.LittleEndian.Uint32(src[len(src)-crcBytes:])
}

// appendHeader appends everything before the payload; seal sets the sizes.
func appendHeader(dst []byte, h *Header) []byte {
	dst = append(dst, magic...)
	dst = append(dst, version, byte(h.Kind), 0, byte(len(h.App)))
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, 0)
	dst = binary.LittleEndian.AppendUint32(dst, h.Partition)
	dst = binary.LittleEndian.AppendUint32(dst, h.Prev)
	dst = binary.LittleEndian.AppendUint64(dst, h.Writer)
	dst = binary.LittleEndian.AppendUint64(dst, h.Number)
	dst = binary.LittleEndian.AppendUint64(dst, uint64(h.Stamp))
	return append(dst, h.App...)
}

// seal completes the frame that starts at base: codec, sizes and CRC.
func seal(dst []byte, base int, codec compress.Codec, rawLen int) ([]byte, uint32, error) {
	size := len(dst) - base + crcBytes
	if size > BytesMax {
		return dst[:base], 0, fmt.Errorf("%w: %d bytes encoded, limit %d; put fewer rows into it", ErrTooLarge, size, BytesMax)
	}
	dst[base+offsetCodec] = byte(codec)
	binary.LittleEndian.PutUint32(dst[base+offsetSize:], uint32(size))
	binary.LittleEndian.PutUint32(dst[base+offsetRawLen:], uint32(rawLen))
	crc := wire.CRC(dst[base:])
	return binary.LittleEndian.AppendUint32(dst, crc), crc, nil
}

// checkHeader refuses headers that DecodeHeader would refuse.
func checkHeader(h *Header) error {
	switch {
	case !h.Kind.Valid():
		return fmt.Errorf("%w: kind %d", ErrInvalid, uint8(h.Kind))
	case h.App == "" || len(h.App) > NameBytesMax:
		return fmt.Errorf("%w: app name of %d bytes, allowed are 1 to %d", ErrInvalid, len(h.App), NameBytesMax)
	case h.Writer == 0:
		return fmt.Errorf("%w: writer 0; give each incarnation of a process its own number", ErrInvalid)
	case h.Number == 0:
		return fmt.Errorf("%w: frame number 0; numbers start at 1", ErrInvalid)
	case h.Number == 1 && h.Prev != 0:
		return fmt.Errorf("%w: frame 1 with a previous CRC %08x; a writer's first frame has none", ErrInvalid, h.Prev)
	}
	return nil
}
