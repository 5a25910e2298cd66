package state

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// reader reads serialized state. It keeps the first error; all later reads return zero.
type reader struct {
	component string
	data      []byte
	at        int
	err       error
}

func (r *reader) fail(format string, args ...any) { r.failAt(r.at, format, args...) }

func (r *reader) failAt(at int, format string, args ...any) {
	if r.err == nil {
		r.err = &CorruptError{r.component, fmt.Sprintf(format, args...), at}
	}
}

// checkWhole checks the CRC and cuts it off the end.
func (r *reader) checkWhole() {
	if len(r.data) < containerBytesMin {
		r.failAt(len(r.data), "%d bytes, the shortest state has %d", len(r.data), containerBytesMin)
		return
	}
	end := len(r.data) - crcBytes
	want, got := binary.LittleEndian.Uint32(r.data[end:]), crc32.Checksum(r.data[:end], castagnoli)
	if want != got {
		r.failAt(end, "CRC32C is %08x, %08x was stored; it was altered or cut", got, want)
	}
	r.data = r.data[:end]
}

func (r *reader) byte() byte {
	if b := r.bytes(1); len(b) > 0 {
		return b[0]
	}
	return 0
}

// bytes returns the next n bytes, for the caller to read only.
func (r *reader) bytes(n int) []byte {
	if r.err == nil && n > len(r.data)-r.at {
		r.fail("%d bytes are missing", n-(len(r.data)-r.at))
	}
	if r.err != nil {
		return nil
	}
	r.at += n
	return r.data[r.at-n : r.at : r.at]
}

// uvarint reads a number in its shortest form.
func (r *reader) uvarint() uint64 {
	if r.err != nil {
		return 0
	}
	v, n := binary.Uvarint(r.data[r.at:])
	if n <= 0 || n > 1 && r.data[r.at+n-1] == 0 {
		r.fail("expected a number")
		return 0
	}
	r.at += n
	return v
}

// length reads a number of items that take at least size bytes each, so that it never
// allocates more memory than the bytes can fill.
func (r *reader) length(size int) int {
	at := r.at
	n := r.uvarint()
	if r.err == nil && n > uint64((len(r.data)-r.at)/size) {
		r.failAt(at, "a length of %d, and %d bytes are left", n, len(r.data)-r.at)
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) name() string {
	at := r.at
	name := string(r.bytes(r.length(1)))
	if r.err == nil && (name == "" || len(name) > NameBytesMax) {
		r.failAt(at, "a name of %d bytes, allowed are 1 to %d", len(name), NameBytesMax)
	}
	return name
}
