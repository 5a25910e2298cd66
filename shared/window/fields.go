package window

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Fields writes numbers to an entry of state, or reads them from it: one function
// that names the fields serves both ways.
type Fields struct {
	bytes   []byte
	reading bool
	err     error
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

// Int is a number of any sign.
func (f *Fields) Int(v *int64) {
	switch {
	case !f.reading:
		f.bytes = binary.AppendVarint(f.bytes, *v)
	case f.err == nil:
		n := 0
		if *v, n = binary.Varint(f.bytes); n <= 0 {
			f.err = errors.New("a number is cut off")
			return
		}
		f.bytes = f.bytes[n:]
	}
}

// Uint is a number that is not negative.
func (f *Fields) Uint(v *uint64) {
	switch {
	case !f.reading:
		f.bytes = binary.AppendUvarint(f.bytes, *v)
	case f.err == nil:
		n := 0
		if *v, n = binary.Uvarint(f.bytes); n <= 0 {
			f.err = errors.New("a number is cut off")
			return
		}
		f.bytes = f.bytes[n:]
	}
}

// Count is an int that is not negative.
func (f *Fields) Count(v *int) {
	n := uint64(*v)
	f.Uint(&n)
	if f.reading && n > 1<<40 {
		f.fail("a count of %d", n)
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
	if f.reading && n > 1 {
		f.fail("a flag of %d", n)
	}
	*v = n == 1
}

func (f *Fields) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// end returns what was wrong, unread bytes among it.
func (f *Fields) end() error {
	if f.err == nil && len(f.bytes) > 0 {
		return fmt.Errorf("%d bytes are left over", len(f.bytes))
	}
	return f.err
}
