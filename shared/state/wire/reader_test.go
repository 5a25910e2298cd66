package wire_test

import (
	"encoding/binary"
	"errors"
	"math"
	"testing"

	"github.com/eventflux/eventflux/shared/state/wire"
)

func TestReaderReadsWhatWasWritten(t *testing.T) {
	data := []byte{7, 'a', 'b'}
	data = binary.AppendUvarint(data, 300)
	data = binary.AppendVarint(data, math.MinInt64)
	data = append(binary.AppendUvarint(data, 5), "hello"...)
	data = binary.LittleEndian.AppendUint64(data, math.Float64bits(-0.5))
	data = append(data, 3, 'x', 'y', 'z', 'r', 'e', 's', 't')
	r := wire.New(data)
	switch {
	case r.Byte() != 7, string(r.Bytes(2)) != "ab", r.Uvarint() != 300, r.Varint() != math.MinInt64,
		string(r.Sized()) != "hello", r.Float() != -0.5, r.Count(2) != 3, string(r.Bytes(3)) != "xyz",
		r.Len() != 4, r.Offset() != len(data)-4, string(r.Rest()) != "rest":
		t.Errorf("another value was read before byte %d", r.Offset())
	}
	if err := r.End(); err != nil {
		t.Error(err)
	}
}

func TestReaderRefuses(t *testing.T) {
	for _, test := range []struct {
		name, data string
		read       func(*wire.Reader)
		want       string
	}{
		{"a byte that is missing", "", func(r *wire.Reader) { r.Byte() }, "byte 0: expected 1 bytes, 0 are left"},
		{"bytes that are missing", "ab", func(r *wire.Reader) { r.Bytes(3) }, "byte 0: expected 3 bytes, 2 are left"},
		{"a negative number of bytes", "ab", func(r *wire.Reader) { r.Bytes(-1) }, "byte 0: expected -1 bytes, 2 are left"},
		{"a number that is cut off", "a\x80", func(r *wire.Reader) { r.Byte(); r.Uvarint() }, "byte 1: expected a number, which is cut off"},
		{"a number in a longer form", "\x80\x00", func(r *wire.Reader) { r.Uvarint() }, "byte 0: expected a number in its shortest form, found 8000"},
		{"a number of more than 64 bits", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", func(r *wire.Reader) { r.Varint() }, "byte 0: expected a number in its shortest form, found ffffffffffffffffff02"},
		{"a length beyond the end", "\x03ab", func(r *wire.Reader) { r.Sized() }, "byte 0: a length of 3, and 2 bytes are left"},
		{"more items than fit", "\x02abc", func(r *wire.Reader) { r.Count(2) }, "byte 0: 2 items of 2 or more bytes each, and 3 bytes are left"},
		{"bytes at the end", "abc", func(r *wire.Reader) { r.Byte() }, "byte 1: 2 bytes too many"},
		{"what the format refuses", "abc", func(r *wire.Reader) { r.Fail("no %s", "use") }, "byte 0: no use"},
		{"what a part refuses", "abc", func(r *wire.Reader) {
			part := wire.New(r.Bytes(2)[1:])
			part.Bytes(2)
			r.StopIn(1, part.Err())
		}, "byte 1: expected 2 bytes, 1 are left"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := wire.New([]byte(test.data))
			test.read(&r)
			err := r.End()
			if err == nil || err.Error() != test.want {
				t.Fatalf("got %v, want %s", err, test.want)
			}
			r.Stop(errors.New("later"))
			if r.Byte() != 0 || r.Uvarint() != 0 || r.Uint64() != 0 || r.Count(1) != 0 || len(r.Rest()) > 0 || len(r.Sized()) > 0 || r.Len() > 0 {
				t.Error("it reads on after an error")
			}
			if r.End() != err {
				t.Errorf("the error is now %v, the first was %v", r.Err(), err)
			}
		})
	}
}

func TestCheckedComparesTheChecksum(t *testing.T) {
	sealed := wire.AppendCRC([]byte("content"))
	r := wire.Checked(sealed, "record", 5)
	if got := string(r.Rest()); got != "content" || r.End() != nil {
		t.Errorf("got %q and %v", got, r.Err())
	}
	for i := range sealed {
		sealed[i] ^= 1
		if r := wire.Checked(sealed, "record", 5); !r.Failed() || r.Len() > 0 {
			t.Errorf("a change of byte %d was not noticed", i)
		}
		sealed[i] ^= 1
	}
	r = wire.Checked(sealed[:4], "record", 5)
	if err := r.Err(); err == nil || err.Error() != "byte 4: 4 bytes, the shortest record has 5" {
		t.Errorf("got %v", err)
	}
}

func TestReaderAllocatesNothing(t *testing.T) {
	data := append([]byte{1, 0x80, 1, 3}, "abc"...)
	if n := testing.AllocsPerRun(100, func() {
		r := wire.New(data)
		r.Byte()
		r.Uvarint()
		r.Sized()
		if r.End() != nil {
			t.Fatal(r.Err())
		}
	}); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzReader reads arbitrary bytes by an arbitrary script: never a panic, never bytes beyond the end.
func FuzzReader(f *testing.F) {
	f.Add([]byte("\x03abc\x80\x01"), []byte{5, 3, 0})
	f.Fuzz(func(t *testing.T, data, script []byte) {
		r := wire.New(data)
		for _, step := range script {
			before, failed := r.Offset(), r.Failed()
			switch step % 7 {
			case 0:
				r.Byte()
			case 1:
				r.Bytes(int(int8(step)))
			case 2:
				r.Uint64()
			case 3:
				r.Uvarint()
			case 4:
				r.Varint()
			case 5:
				r.Sized()
			case 6:
				if n := r.Count(1 + int(step)/7); n > r.Len() {
					t.Fatalf("%d items in %d bytes", n, r.Len())
				}
			}
			if r.Offset() < before || r.Len() < 0 || failed && !r.Failed() {
				t.Fatalf("offset %d after %d, %d left, error %v", r.Offset(), before, r.Len(), r.Err())
			}
		}
	})
}
