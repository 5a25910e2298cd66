package frame

import (
	"encoding/binary"
	"fmt"
	"slices"
)

// reader walks through a payload. It keeps the first error in err; from then on all numbers
// read are zero and all slices empty.
type reader struct {
	src    []byte
	pos    int
	budget int // bytes of memory that the rows may still take
	err    error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = &CorruptError{What: fmt.Sprintf(format, args...), Offset: r.pos, InPayload: true}
	}
	r.pos = len(r.src)
}

// newer reports something well-formed that this version does not know.
func (r *reader) newer(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: "+format+"; a newer version may have written it", append([]any{ErrVersion}, args...)...)
	}
	r.pos = len(r.src)
}

func (r *reader) rest() int { return len(r.src) - r.pos }

func (r *reader) byte() byte {
	if r.pos >= len(r.src) {
		r.fail("the payload ends too early")
		return 0
	}
	b := r.src[r.pos]
	r.pos++
	return b
}

// bytes returns the next n bytes, a part of the payload.
func (r *reader) bytes(n int) []byte {
	if n < 0 || n > r.rest() {
		r.fail("%d bytes are declared, %d remain", n, r.rest())
		return nil
	}
	b := r.src[r.pos : r.pos+n]
	r.pos += n
	return b
}

func (r *reader) int64() int64 {
	b := r.bytes(8)
	if r.err != nil {
		return 0
	}
	return int64(binary.LittleEndian.Uint64(b))
}

func (r *reader) uvarint() uint64 {
	v, n := binary.Uvarint(r.src[r.pos:])
	if n <= 0 || n > 1 && r.src[r.pos+n-1] == 0 {
		r.fail("no number in its shortest form")
		return 0
	}
	r.pos += n
	return v
}

func (r *reader) varint() int64 {
	u := r.uvarint()
	return int64(u>>1) ^ -int64(u&1)
}

// count reads a number of things, from least to most.
func (r *reader) count(what string, least, most int) int {
	at := r.pos
	v := r.uvarint()
	if r.err == nil && (v < uint64(least) || v > uint64(most)) {
		r.pos = at
		r.fail("%d %s, allowed are %d to %d", v, what, least, most)
	}
	if r.err != nil {
		return 0
	}
	return int(v)
}

// take reserves memory for rows from the budget.
func (r *reader) take(n int) bool {
	if r.err == nil && n > r.budget {
		r.fail("rows of more than %d bytes in memory", DecodedBytesMax)
	}
	r.budget -= n
	return r.err == nil
}

// resize returns a slice of n elements of any value, s itself if it is large
// enough.
func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return slices.Grow(s[:0], n)[:n]
	}
	return s[:n]
}

// extend lengthens dst by n bytes of any value and returns these as well.
func extend(dst []byte, n int) (all, added []byte) {
	base := len(dst)
	dst = slices.Grow(dst, n)[:base+n]
	return dst, dst[base:]
}
