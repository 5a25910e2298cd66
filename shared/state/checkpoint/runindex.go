package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// A run's object: docs/formats/run.md has every byte.
//
//	magic, version, kind, inline, uvarint blocks, per block: hash, uvarint entries,
//	uvarint raw bytes, uvarint stored bytes; the block itself if inline; CRC32C
//
// Version 1 also had the first key of each block, so that the size of an index depended
// on the sizes of keys.
const (
	runMagic      = "EFRN"
	runVersion    = 2
	runWithKeys   = 1 // the version whose index has the first key of each block
	runBytesMin   = len(runMagic) + 3 + 1 + crcBytes
	crcBytes      = 4
	indexBytesMin = sha256.Size + 3
	// inlineBytesMax is the largest stored size of a run's only block that is kept in the
	// run's object, which saves a second object.
	inlineBytesMax = 1 << 20
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// blockRef is a block as a run's index has it.
type blockRef struct {
	hash    hash
	entries int
	raw     int
	stored  int
	first   []byte // its first key; only in version 1
}

// runIndex is the content of a run's object.
type runIndex struct {
	version byte
	kind    Kind
	blocks  []blockRef
	inline  []byte // the only block, sealed; nil where blocks are objects of their own
	size    int    // of the object that was read
	proven  bool   // by a digest of the blocks' content: their hashes are not compared
}

func (k Kind) code() byte {
	switch k {
	case Base:
		return 1
	case Delta:
		return 2
	}
	return 0
}

// name is the SHA-256 over kind and blocks. The entries alone decide where blocks end, so
// it is a hash of the run's canonical entries.
func (x *runIndex) name() string {
	h := sha256.New()
	_, _ = fmt.Fprintf(h, "eventflux run %d\n%s\n", x.version, x.kind) // never fails
	for i := range x.blocks {
		_, _ = h.Write(x.blocks[i].hash[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

func runName(name string) string { return "runs/" + name }

func (x *runIndex) encode() []byte {
	dst := append([]byte(runMagic), x.version, x.kind.code(), 0)
	if x.inline != nil {
		dst[len(dst)-1] = 1
	}
	dst = binary.AppendUvarint(dst, uint64(len(x.blocks)))
	for i := range x.blocks {
		b := &x.blocks[i]
		dst = append(dst, b.hash[:]...)
		dst = binary.AppendUvarint(dst, uint64(b.entries))
		dst = binary.AppendUvarint(dst, uint64(b.raw))
		dst = binary.AppendUvarint(dst, uint64(b.stored))
		if x.version == runWithKeys {
			dst = binary.AppendUvarint(dst, uint64(len(b.first)))
			dst = append(dst, b.first...)
		}
	}
	dst = append(dst, x.inline...)
	return binary.LittleEndian.AppendUint32(dst, crc32.Checksum(dst, castagnoli))
}

// decodeRun reads a run's object. object names it in errors.
func decodeRun(object string, data []byte) (*runIndex, error) {
	if len(data) < runBytesMin {
		return nil, corrupt(object, len(data), "%d bytes, the shortest run has %d", len(data), runBytesMin)
	}
	end := len(data) - crcBytes
	if want, got := binary.LittleEndian.Uint32(data[end:]), crc32.Checksum(data[:end], castagnoli); want != got {
		return nil, corrupt(object, end, "CRC32C is %08x, %08x was stored; it was altered or cut", got, want)
	}
	if string(data[:len(runMagic)]) != runMagic {
		return nil, corrupt(object, 0, "it starts with %q, not with %q", data[:len(runMagic)], runMagic)
	}
	r := &reader{object: object, data: data[:end], at: len(runMagic)}
	v := r.bytes(1)[0]
	if v == 0 {
		return nil, corrupt(object, len(runMagic), "version 0")
	} else if v > runVersion {
		return nil, fmt.Errorf("%w: %s: format version %d, known is %d; read it with the version that wrote it or a newer one", ErrVersion, object, v, runVersion)
	}
	x := &runIndex{version: v, size: len(data)}
	switch kind := r.bytes(1)[0]; kind {
	case Base.code():
		x.kind = Base
	case Delta.code():
		x.kind = Delta
	default:
		return nil, corrupt(object, r.at-1, "kind %d", kind)
	}
	inline := r.bytes(1)[0]
	if err := x.readBlocks(r); err != nil {
		return nil, err
	}
	rest := r.data[r.at:]
	switch {
	case inline > 1, inline == 1 && (len(x.blocks) != 1 || len(rest) != x.blocks[0].stored), inline == 0 && len(rest) > 0:
		return nil, corrupt(object, r.at, "%d bytes after the index of %d blocks", len(rest), len(x.blocks))
	case inline == 1:
		x.inline = rest
	}
	return x, nil
}

func (x *runIndex) readBlocks(r *reader) error {
	n := r.uvarint()
	if r.err == nil && (n == 0 || n > uint64((len(r.data)-r.at)/indexBytesMin)) {
		r.fail(r.at, "an index of %d blocks", n)
	}
	for i := uint64(0); i < n && r.err == nil; i++ {
		var b blockRef
		copy(b.hash[:], r.bytes(len(b.hash)))
		at := r.at
		entries, raw, stored := r.uvarint(), r.uvarint(), r.uvarint()
		if r.err == nil && (entries == 0 || entries > raw || raw > blockRawMax || stored == 0 || stored > 2*blockRawMax) {
			r.fail(at, "block %d has %d entries in %d bytes, stored as %d", i, entries, raw, stored)
		}
		b.entries, b.raw, b.stored = int(entries), int(raw), int(stored)
		if x.version == runWithKeys {
			b.first = r.bytes(r.length())
		}
		if x.version == runWithKeys && r.err == nil && i > 0 && string(b.first) <= string(x.blocks[i-1].first) {
			r.fail(at, "block %d starts with a key that does not follow the previous one", i)
		}
		x.blocks = append(x.blocks, b)
	}
	return r.err
}
