package checkpoint

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"math"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// The entries alone decide where blocks end, so that equal stretches of state give equal
// blocks, which are stored once. From blockBytesMin on, an entry ends a block with a
// probability that grows with its size, and blockBytesMax ends it in any case.
const (
	blockBytesMin    = 64 << 10
	blockBytesMiddle = 192 << 10 // on average, after blockBytesMin
	blockBytesMax    = 512 << 10
	// blockRawMax bounds what a reader accepts: a block has at least one entry, however
	// large that is.
	blockRawMax = 64 << 20
)

// hash is the SHA-256 of a block's uncompressed bytes, and names it.
type hash [sha256.Size]byte

func (h hash) String() string { return hex.EncodeToString(h[:]) }

func blockName(h hash) string { return "blocks/" + h.String() }

// blockBuilder puts changes into blocks. A change is
//
//	uvarint bytes of the key shared with the one before, uvarint rest, the rest,
//	uvarint 0 for a deletion, or length of the value + 1 and the value
type blockBuilder struct {
	raw     []byte
	last    []byte
	entries int
}

// add appends a change and reports whether the block ends with it.
func (b *blockBuilder) add(c *state.Change) bool {
	shared := 0
	if b.entries > 0 {
		for shared < len(b.last) && shared < len(c.Key) && b.last[shared] == c.Key[shared] {
			shared++
		}
	}
	b.raw = binary.AppendUvarint(b.raw, uint64(shared))
	b.raw = binary.AppendUvarint(b.raw, uint64(len(c.Key)-shared))
	b.raw = append(b.raw, c.Key[shared:]...)
	if c.Deleted {
		b.raw = append(b.raw, 0)
	} else {
		b.raw = binary.AppendUvarint(b.raw, uint64(len(c.Value))+1)
		b.raw = append(b.raw, c.Value...)
	}
	b.last = append(b.last[:0], c.Key...)
	b.entries++
	switch n := len(b.raw); {
	case n >= blockBytesMax:
		return true
	case n < blockBytesMin:
		return false
	}
	// The entry's own size, as it would be in any block.
	size := min(len(c.Key)+len(c.Value), blockBytesMiddle)
	return keyHash(c.Key) < uint32(float64(size)/blockBytesMiddle*math.MaxUint32)
}

// keyHash spreads keys evenly: FNV-1a with MurmurHash3's finalizer.
func keyHash(key []byte) uint32 {
	f := fnv.New32a()
	_, _ = f.Write(key) // never fails
	h := f.Sum32()
	h ^= h >> 16
	h *= 0x85ebca6b
	h ^= h >> 13
	h *= 0xc2b2ae35
	return h ^ h>>16
}

// reset starts a new block. It gives the previous one away; the new one will probably be as
// long.
func (b *blockBuilder) reset() { b.raw, b.entries = make([]byte, 0, min(len(b.raw), blockBytesMax)), 0 }

// readBlock reads the changes of a block. They share raw's bytes where they can. object
// names it in errors.
func readBlock(object string, raw []byte, entries int) ([]state.Change, error) {
	if entries < 0 || entries > len(raw)/minChangeBytes {
		return nil, corrupt(object, 0, "%d entries in %d bytes", entries, len(raw))
	}
	changes := make([]state.Change, 0, entries)
	keys := make([]byte, 0, min(len(raw), entries*keyBytesLikely))
	var last []byte
	r := wire.New(raw)
	for r.Len() > 0 {
		at := r.Offset()
		shared := r.Uvarint()
		if shared > uint64(len(last)) {
			r.FailAt(at, "%d bytes shared with a key of %d", shared, len(last))
		}
		rest := r.Sized()
		size := r.Uvarint()
		deleted := size == 0
		var value []byte
		if !deleted {
			value = r.Bytes(int(min(size-1, math.MaxInt)))
		}
		if r.Failed() {
			return nil, corruption(object, r.Err())
		}
		if len(changes) > 0 && (len(rest) == 0 || shared < uint64(len(last)) && rest[0] <= last[shared]) {
			return nil, corrupt(object, at, "a key that does not follow the one before")
		}
		start := len(keys)
		keys = append(append(keys, last[:shared]...), rest...)
		last = keys[start:len(keys):len(keys)]
		changes = append(changes, state.Change{Key: last, Value: value, Deleted: deleted})
	}
	if len(changes) != entries {
		return nil, corrupt(object, -1, "%d entries, the run says %d", len(changes), entries)
	}
	return changes, nil
}

const (
	minChangeBytes = 3
	keyBytesLikely = 16
)
