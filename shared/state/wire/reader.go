// Package wire reads the bytes that EventFlux stores: numbers, texts and lists that follow one
// another. Formats use one Reader, so that each of them checks lengths before it allocates,
// refuses a number in more bytes than it needs, and reports where it found damage. Package
// encoding/binary writes what Reader reads.
//
// A format whose fields have fixed places, such as the header of a frame or a record of the
// witness, checks its length once and reads these fields with encoding/binary. Avro and
// Protocol Buffers allow numbers in a longer form, so their decoders in shared/lang/event read
// numbers themselves.
package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// Error says what is wrong with the bytes, and where. Formats turn it into their own error,
// which also names the object.
type Error struct {
	Offset int
	What   string
}

func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.What) }

// Reader reads from a slice. It keeps the first error; from then on it has no bytes left, numbers
// are 0 and slices are nil or empty, so a caller checks once after several reads. It allocates
// nothing unless it fails. A Reader is made by New.
type Reader struct {
	data []byte
	at   int
	err  error
}

// New returns a reader of data, which it does not change. Slices that it returns are parts of
// data.
func New(data []byte) Reader { return Reader{data: data} }

// Checked returns a reader of data without its last 4 bytes, which are the CRC32C of the bytes before
// them; else it has failed. what names the format, whose shortest form has least bytes.
func Checked(data []byte, what string, least int) Reader {
	r := New(data)
	if len(data) < least {
		r.FailAt(len(data), "%d bytes, the shortest %s has %d", len(data), what, least)
		return r
	}
	end := len(data) - CRCBytes
	if want, got := binary.LittleEndian.Uint32(data[end:]), CRC(data[:end]); want != got {
		r.FailAt(end, "CRC32C is %08x, %08x was stored; it was altered or cut", got, want)
		return r
	}
	r.data = data[:end]
	return r
}

// Len returns how many bytes are left.
func (r *Reader) Len() int { return len(r.data) - r.at }

// Offset returns how many bytes were read; after an error, all of them.
func (r *Reader) Offset() int { return r.at }

// Failed reports whether there was an error.
func (r *Reader) Failed() bool { return r.err != nil }

// Err returns the first error: an *Error, or what Stop was called with.
func (r *Reader) Err() error { return r.err }

// End returns the first error. Bytes that are left are one.
func (r *Reader) End() error {
	if r.at < len(r.data) {
		r.Fail("%d bytes too many", r.Len())
	}
	return r.err
}

// Fail ends reading with an error at the current offset, made of format and args.
func (r *Reader) Fail(format string, args ...any) { r.FailAt(r.at, format, args...) }

// FailAt is Fail with an error at another offset.
func (r *Reader) FailAt(at int, format string, args ...any) {
	if r.err == nil {
		r.Stop(&Error{at, fmt.Sprintf(format, args...)})
	}
}

// Stop ends reading with err, unless there was an error before.
func (r *Reader) Stop(err error) {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.data)
}

// StopIn is Stop with the error of a reader of a part of the bytes, which starts at an offset.
func (r *Reader) StopIn(start int, err error) {
	if e, ok := err.(*Error); ok {
		err = &Error{start + e.Offset, e.What}
	}
	r.Stop(err)
}

// missing is a call of its own, so that Byte can be inlined.
//
//go:noinline
func (r *Reader) missing(n int) { r.Fail("expected %d bytes, %d are left", n, r.Len()) }

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.at < len(r.data) {
		r.at++
		return r.data[r.at-1]
	}
	r.missing(1)
	return 0
}

// Bytes reads n bytes.
func (r *Reader) Bytes(n int) []byte {
	if uint(n) > uint(len(r.data)-r.at) {
		r.missing(n)
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at : r.at]
}

// Rest reads all bytes that are left.
func (r *Reader) Rest() []byte { return r.Bytes(r.Len()) }

// Unread returns the bytes that are left, and does not read them.
func (r *Reader) Unread() []byte { return r.data[r.at:] }

// Sized reads bytes with their length in front.
func (r *Reader) Sized() []byte { return r.Bytes(r.Count(1)) }

// Uint64 reads 8 bytes, the lowest first.
func (r *Reader) Uint64() uint64 {
	if b := r.Bytes(8); len(b) == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Float reads the 8 bytes of a double.
func (r *Reader) Float() float64 { return math.Float64frombits(r.Uint64()) }

// Uvarint reads a number in its shortest form.
func (r *Reader) Uvarint() uint64 {
	if r.at < len(r.data) && r.data[r.at] < 0x80 { // as most are
		r.at++
		return uint64(r.data[r.at-1])
	}
	return r.longUvarint()
}

func (r *Reader) longUvarint() uint64 {
	rest := r.data[r.at:]
	v, n := binary.Uvarint(rest)
	switch {
	case n == 0:
		r.Fail("expected a number, which is cut off")
		return 0
	case n < 0 || rest[n-1] == 0:
		r.Fail("expected a number in its shortest form, found %x", rest[:max(n, -n)])
		return 0
	}
	r.at += n
	return v
}

// Varint reads a number of any sign in its shortest form.
func (r *Reader) Varint() int64 {
	v := r.Uvarint()
	return int64(v>>1) ^ -int64(v&1)
}

// Count reads a number of items that take at least size bytes each. More than the bytes that are
// left can hold is an error, so that a caller may allocate memory for the items.
func (r *Reader) Count(size int) int {
	at := r.at
	n := r.Uvarint()
	switch left := r.Len(); {
	case n <= uint64(left/size):
		return int(n)
	case size == 1:
		r.FailAt(at, "a length of %d, and %d bytes are left", n, left)
	default:
		r.FailAt(at, "%d items of %d or more bytes each, and %d bytes are left", n, size, left)
	}
	return 0
}
