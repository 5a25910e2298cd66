package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/wire"
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
	runBytesMin   = len(runMagic) + 3 + 1 + wire.CRCBytes
	indexBytesMin = sha256.Size + 3
	// inlineBytesMax is the largest stored size of a run's only block that is kept in the
	// run's object, which saves a second object.
	inlineBytesMax = 1 << 20
)

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

const runsFolder = "runs/"

func runName(name string) string { return runsFolder + name }

// isInline reports whether a run's object has its only block in it.
func isInline(data []byte) bool { return len(data) >= runBytesMin && data[len(runMagic)+2] == 1 }

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
	return wire.AppendCRC(dst)
}

// decodeRun reads a run's object. object names it in errors.
func decodeRun(object string, data []byte) (*runIndex, error) {
	r := wire.Checked(data, "run", runBytesMin)
	if magic := r.Bytes(len(runMagic)); !r.Failed() && string(magic) != runMagic {
		r.FailAt(0, "it starts with %q, not with %q", magic, runMagic)
	}
	x := &runIndex{version: r.Byte(), size: len(data)}
	switch {
	case r.Failed():
	case x.version == 0:
		r.FailAt(len(runMagic), "version 0")
	case x.version > runVersion:
		return nil, fmt.Errorf("%w: %s: format version %d, known is %d; read it with the version that wrote it or a newer one", ErrVersion, object, x.version, runVersion)
	}
	switch kind := r.Byte(); {
	case kind == Base.code():
		x.kind = Base
	case kind == Delta.code():
		x.kind = Delta
	case !r.Failed():
		r.FailAt(r.Offset()-1, "kind %d", kind)
	}
	inline := r.Byte()
	x.readBlocks(&r)
	at := r.Offset()
	rest := r.Rest()
	switch {
	case r.Failed():
	case inline > 1, inline == 1 && (len(x.blocks) != 1 || len(rest) != x.blocks[0].stored), inline == 0 && len(rest) > 0:
		r.FailAt(at, "%d bytes after the index of %d blocks", len(rest), len(x.blocks))
	case inline == 1:
		x.inline = rest
	}
	if r.Failed() {
		return nil, corruption(object, r.Err())
	}
	return x, nil
}

func (x *runIndex) readBlocks(r *wire.Reader) {
	at := r.Offset()
	n := r.Count(indexBytesMin)
	if n == 0 {
		r.FailAt(at, "an index of 0 blocks")
	}
	for i := 0; i < n && !r.Failed(); i++ {
		var b blockRef
		copy(b.hash[:], r.Bytes(len(b.hash)))
		at := r.Offset()
		entries, raw, stored := r.Uvarint(), r.Uvarint(), r.Uvarint()
		if entries == 0 || entries > raw || raw > blockRawMax || stored == 0 || stored > 2*blockRawMax {
			r.FailAt(at, "block %d has %d entries in %d bytes, stored as %d", i, entries, raw, stored)
		}
		b.entries, b.raw, b.stored = int(entries), int(raw), int(stored)
		if x.version == runWithKeys {
			b.first = r.Sized()
		}
		if x.version == runWithKeys && i > 0 && string(b.first) <= string(x.blocks[i-1].first) {
			r.FailAt(at, "block %d starts with a key that does not follow the previous one", i)
		}
		x.blocks = append(x.blocks, b)
	}
}
