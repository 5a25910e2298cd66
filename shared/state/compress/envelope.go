package compress

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// The envelope: version, codec, raw length, stored length, payload, CRC. Version and CRC
// have the same places in every version, so that a damaged version number is not mistaken
// for a newer one. docs/formats/envelope.md describes every byte.
const (
	envelopeVersion = 1

	offsetCodec = 1
	offsetSizes = 2

	envelopeBytesMin = offsetSizes + 2 + wire.CRCBytes // of an empty block
	sizeBytesMax     = 5                               // a uvarint of at most 32 bits
)

// OverheadMax is the most that an envelope adds to a block, in bytes. Up to 127
// bytes it adds 8, up to 16,383 bytes 10.
const OverheadMax = offsetSizes + 2*sizeBytesMax + wire.CRCBytes

// Envelope describes a sealed block.
type Envelope struct {
	Version   uint8
	Codec     Codec
	RawLen    int // bytes of the block
	StoredLen int // bytes of the payload; the same as RawLen for None
	Offset    int // where the payload starts
	CRC       uint32
}

// Seal appends raw in an envelope to dst and returns the extended slice. A block that the
// codec does not shrink is stored as it is. The same block and choice give the same bytes
// until a compression library is updated, so do not hash sealed bytes to tell blocks apart.
//
// A raw longer than RawBytesMax or a codec that does not exist is a bug of the
// caller and panics. Seal is safe for concurrent use; it keeps neither slice.
func Seal(dst, raw []byte, how Choice) []byte {
	dst, _ = SealExplain(dst, raw, how)
	return dst
}

// SealExplain is Seal, and also returns which codec it used and why.
func SealExplain(dst, raw []byte, how Choice) ([]byte, Decision) {
	if len(raw) > RawBytesMax {
		panic(fmt.Sprintf("seal %d bytes, limit %d", len(raw), RawBytesMax))
	}
	base := len(dst)
	dst = append(dst, envelopeVersion, 0)
	dst = binary.AppendUvarint(dst, uint64(len(raw)))
	sizeAt := len(dst)
	// The stored length is at most the raw one, so it needs no more room.
	room := sizeAt - base - offsetSizes
	dst = append(dst, make([]byte, room)...)
	dst, decision := how.appendBlock(dst, raw)
	stored := len(dst) - sizeAt - room

	dst[base+offsetCodec] = byte(decision.Codec)
	used := binary.PutUvarint(dst[sizeAt:], uint64(stored))
	if used < room {
		dst = slices.Delete(dst, sizeAt+used, sizeAt+room)
	}
	return binary.LittleEndian.AppendUint32(dst, wire.CRC(dst[base:])), decision
}

// Open appends the block that sealed holds to dst and returns the extended slice. sealed is
// exactly one envelope. A block of more than rawMax bytes is refused before memory is
// allocated for it, whatever sealed says.
//
// It fails with a *CorruptError or an ErrVersion, and then returns dst as it was.
// It is safe for concurrent use.
func Open(dst, sealed []byte, rawMax int) ([]byte, error) {
	e, err := Inspect(sealed)
	if err != nil {
		return dst, err
	}
	if e.RawLen > rawMax {
		return dst, corrupt(offsetSizes, "a block of %d bytes, allowed are %d", e.RawLen, rawMax)
	}
	dst, err = e.Codec.Decompress(dst, sealed[e.Offset:e.Offset+e.StoredLen], e.RawLen)
	if err != nil {
		return dst, corrupt(e.Offset, "payload: %v", err)
	}
	return dst, nil
}

// Inspect checks the envelope around sealed, including its CRC, and returns it.
// The payload is not decompressed.
func Inspect(sealed []byte) (Envelope, error) {
	r := wire.Checked(sealed, "envelope", envelopeBytesMin)
	e := Envelope{Version: r.Byte(), Codec: Codec(r.Byte())}
	switch {
	case r.Failed():
		return e, corruption(r.Err())
	case e.Version == 0:
		return e, corrupt(0, "version 0")
	case e.Version != envelopeVersion:
		return e, fmt.Errorf("%w: format version %d, known is %d; read it with the version that wrote it or a newer one", ErrVersion, e.Version, envelopeVersion)
	case e.Codec == 0:
		return e, corrupt(offsetCodec, "codec 0")
	case !e.Codec.Valid():
		return e, fmt.Errorf("%w: codec %d is not known; a newer version may have written it", ErrVersion, uint8(e.Codec))
	}
	e.CRC = binary.LittleEndian.Uint32(sealed[len(sealed)-wire.CRCBytes:])
	e.RawLen = readSize(&r)
	sizeAt := r.Offset()
	e.StoredLen = readSize(&r)
	e.Offset = r.Offset()
	switch {
	case r.Failed():
	case e.Codec == None && e.StoredLen != e.RawLen:
		r.FailAt(sizeAt, "%d bytes stored of %d that are not compressed", e.StoredLen, e.RawLen)
	case e.Codec != None && e.StoredLen >= e.RawLen:
		r.FailAt(sizeAt, "%s made %d bytes of %d; what does not shrink is stored as it is", e.Codec, e.StoredLen, e.RawLen)
	case e.StoredLen != r.Len():
		r.FailAt(sizeAt, "%d bytes of payload are declared, %d are there", e.StoredLen, r.Len())
	}
	return e, corruption(r.Err())
}

func readSize(r *wire.Reader) int {
	at := r.Offset()
	size := r.Uvarint()
	if size > RawBytesMax {
		r.FailAt(at, "a length of %d, limit %d", size, RawBytesMax)
		return 0
	}
	return int(size)
}

func corruption(err error) error {
	if at, ok := err.(*wire.Error); ok {
		return &CorruptError{at.What, at.Offset}
	}
	return err
}
