package window

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// Fields writes numbers to an entry of state, or reads them from it: one function
// that names the fields serves both ways.
type Fields struct {
	bytes    []byte
	reading  bool
	clearing bool
	err      error
}

// WriteFields appends the fields that visit names.
func WriteFields(dst []byte, visit func(*Fields)) []byte {
	f := Fields{bytes: dst}
	visit(&f)
	return f.bytes
}

// ReadFields sets the fields that visit names from what WriteFields wrote.
func ReadFields(src []byte, visit func(*Fields)) error {
	f := Fields{bytes: src, reading: true}
	visit(&f)
	return f.end()
}

// ReadSomeFields is ReadFields, and returns the bytes that follow the fields.
func ReadSomeFields(src []byte, visit func(*Fields)) (rest []byte, err error) {
	f := Fields{bytes: src, reading: true}
	visit(&f)
	return f.bytes, f.err
}

// Failed reports whether a field could not be read, or was refused.
func (f *Fields) Failed() bool { return f.err != nil }

// Int is a number of any sign.
func (f *Fields) Int(v *int64) {
	n := uint64(*v)<<1 ^ uint64(*v>>63)
	f.Uint(&n)
	*v = int64(n>>1) ^ -int64(n&1)
}

// Uint is a number that is not negative.
func (f *Fields) Uint(v *uint64) {
	switch {
	case f.clearing:
		*v = 0
	case !f.reading:
		f.bytes = binary.AppendUvarint(f.bytes, *v)
	case f.err == nil:
		r := wire.New(f.bytes)
		*v = r.Uvarint()
		f.bytes, f.err = r.Unread(), r.Err()
	}
}

// Count is an int that is not negative.
func (f *Fields) Count(v *int) {
	n := uint64(*v)
	f.Uint(&n)
	if f.Require(n <= 1<<40, "a count of %d", n); f.err != nil {
		n = 0
	}
	*v = int(n)
}

// Bool is a flag.
func (f *Fields) Bool(v *bool) {
	n := uint64(0)
	if *v {
		n = 1
	}
	f.Uint(&n)
	f.Require(n <= 1, "a flag of %d", n)
	*v = n == 1
}

// Require refuses what was read unless ok: name the fields first, then require what must be
// true of them. The error is made of format and args.
func (f *Fields) Require(ok bool, format string, args ...any) {
	if f.reading && f.err == nil && !ok {
		f.err = fmt.Errorf(format, args...)
	}
}

// end returns the first error; unread bytes are one.
func (f *Fields) end() error {
	if f.err == nil && len(f.bytes) > 0 {
		return fmt.Errorf("%d bytes are left over", len(f.bytes))
	}
	return f.err
}

// ClearFields sets the fields that visit names to 0.
func ClearFields(visit func(*Fields)) {
	visit(&Fields{clearing: true})
}
