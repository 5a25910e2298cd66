package aggregate

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A slot's state is written without a version: the schema version of the component that
// holds it, Spec.Version, says how to read it. An empty slot has no bytes, and every other
// state has exactly one form.

// stateBytes reads what AppendState wrote. The first failure stays.
type stateBytes struct {
	all, rest []byte
	err       error
}

func readState(src []byte) *stateBytes { return &stateBytes{all: src, rest: src} }

func (r *stateBytes) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("byte %d: %s", len(r.all)-len(r.rest), fmt.Sprintf(format, args...))
	}
	r.rest = nil
}

// uvarint reads a number in its shortest form.
func (r *stateBytes) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	if len(r.rest) > 0 && r.rest[0] < 0x80 { // as most are
		v := r.rest[0]
		r.rest = r.rest[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.rest)
	if n <= 0 || n > 1 && r.rest[n-1] == 0 {
		r.fail("expected a varint, found %x", r.rest[:min(len(r.rest), binary.MaxVarintLen64)])
		return 0
	}
	r.rest = r.rest[n:]
	return v
}

func (r *stateBytes) varint() int64 {
	v := r.uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// count reads how often a value is present: at least once.
func (r *stateBytes) count() int64 {
	n := r.uvarint()
	if r.err == nil && (n == 0 || n > math.MaxInt64) {
		r.fail("a value that is present %d times", n)
	}
	return int64(n)
}

// items reads a number of items that take at least size bytes each, so that no
// more memory is asked for than the bytes can fill.
func (r *stateBytes) items(size int) int {
	n := r.uvarint()
	if r.err == nil && n > uint64(len(r.rest)/size) {
		r.fail("%d values in %d bytes", n, len(r.rest))
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *stateBytes) byte() byte {
	if b := r.bytes(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *stateBytes) bytes(n int) []byte {
	if r.err != nil {
		return nil
	}
	if n > len(r.rest) {
		r.fail("%d bytes are missing", n-len(r.rest))
		return nil
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *stateBytes) float() float64 {
	if b := r.bytes(8); b != nil {
		return math.Float64frombits(binary.LittleEndian.Uint64(b))
	}
	return 0
}

// appendFloat writes all NaNs alike: processors differ in the NaN that an addition yields.
func appendFloat(dst []byte, v float64) []byte {
	if v != v {
		v = math.NaN()
	}
	return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v))
}

// key reads a key that follows the one before, if there is one.
func (r *stateBytes) key(before int64, first bool) int64 {
	if first {
		return r.varint()
	}
	key := before + int64(r.uvarint())
	if r.err == nil && key <= before {
		r.fail("value %d follows %d", key, before)
	}
	return key
}

func appendKey(dst []byte, key, before int64, first bool) []byte {
	if first {
		return binary.AppendVarint(dst, key)
	}
	return binary.AppendUvarint(dst, uint64(key)-uint64(before))
}

// end returns the first error; unread bytes are one.
func (r *stateBytes) end(name string) error {
	if r.err == nil && len(r.rest) > 0 {
		r.fail("%d bytes too many", len(r.rest))
	}
	if r.err != nil {
		return fmt.Errorf("state of %s: %w", name, r.err)
	}
	return nil
}
