package frame

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// reader reads a payload.
type reader struct {
	wire.Reader
	budget int // bytes of memory that the rows may still need
}

// corruption returns the first error.
func (r *reader) corruption() error {
	if at, ok := r.Err().(*wire.Error); ok {
		return &CorruptError{What: at.What, Offset: at.Offset, InPayload: true}
	}
	return r.Err()
}

// newer reports something well-formed that this version does not know.
func (r *reader) newer(format string, args ...any) {
	r.Stop(fmt.Errorf("%w: "+format+"; a newer version may have written it", append([]any{ErrVersion}, args...)...))
}

// count reads a number of things, from least to most.
func (r *reader) count(what string, least, most int) int {
	at := r.Offset()
	v := r.Uvarint()
	if v < uint64(least) || v > uint64(most) {
		r.FailAt(at, "%d %s, allowed are %d to %d", v, what, least, most)
		return 0
	}
	return int(v)
}

// reserve subtracts the memory of rows from the budget.
func (r *reader) reserve(n int) bool {
	if n > r.budget {
		r.Fail("rows of more than %d bytes in memory", DecodedBytesMax)
	}
	r.budget -= n
	return !r.Failed()
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
