package ratelimit

import (
	"encoding/binary"
	"math"
	"unicode/utf8"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// A row is written as its kind, its timestamp, a bitmap of its nulls, and its values that
// are not null: numbers as varints, reals as 8 bytes, texts with their length in front.

func appendRow(dst []byte, b *event.Batch, i int, kind window.Kind) []byte {
	dst = append(dst, byte(kind))
	dst = binary.AppendVarint(dst, b.TS[i])
	nulls := len(dst)
	dst = append(dst, make([]byte, (len(b.Cols)+7)/8)...)
	for n := range b.Cols {
		c := &b.Cols[n]
		if c.IsNull(i) {
			dst[nulls+n/8] |= 1 << (n % 8)
			continue
		}
		switch c.Type.Class() {
		case event.Reals:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Floats[i]))
		case event.Texts:
			dst = binary.AppendUvarint(dst, uint64(c.TextBytes(i)))
			dst = append(dst, c.Text(i)...)
		default:
			dst = binary.AppendVarint(dst, c.Ints[i])
		}
	}
	return dst
}

// readRow appends to b the row that appendRow wrote. If r has failed, b may have half a row.
func readRow(b *event.Batch, r *wire.Reader) window.Kind {
	kind := window.Kind(r.Byte())
	if kind > window.Expired {
		r.Fail("a row of kind %d", kind)
	}
	ts, nulls := r.Varint(), r.Bytes((len(b.Cols)+7)/8)
	if r.Failed() {
		return 0
	}
	for n := range b.Cols {
		c := &b.Cols[n]
		if nulls[n/8]>>(n%8)&1 != 0 {
			c.AppendNull()
		} else {
			readValue(c, r)
		}
	}
	if used := len(b.Cols) % 8; used > 0 && nulls[len(nulls)-1]>>used != 0 {
		r.Fail("a row has nulls in attributes that do not exist")
	}
	b.TS = append(b.TS, ts)
	return kind
}

func readValue(c *event.Column, r *wire.Reader) {
	switch c.Type.Class() {
	case event.Reals:
		c.AppendFloat(r.Float())
	case event.Texts:
		text := r.Sized()
		if !utf8.Valid(text) {
			r.Fail("a text is not UTF-8")
		}
		c.AppendText(string(text))
	default:
		v := r.Varint()
		if c.Type == event.Bool && v != 0 && v != 1 || c.Type == event.Int && v != int64(int32(v)) {
			r.Fail("the %s %d", c.Type, v)
		}
		c.AppendInt(v)
	}
}

// hash returns a number that rows with equal values in the columns share.
func hash(h uint64, b *event.Batch, i int, cols []int) uint64 {
	for _, n := range cols {
		c := &b.Cols[n]
		switch {
		case c.IsNull(i):
			h = mix(h, 1)
		case c.Type.Class() == event.Reals:
			h = mix(h, math.Float64bits(c.Floats[i]))
		case c.Type.Class() == event.Texts:
			for _, x := range []byte(c.Text(i)) {
				h = (h ^ uint64(x)) * 1099511628211 // FNV-1a
			}
			h = mix(h, uint64(c.TextBytes(i)))
		default:
			h = mix(h, uint64(c.Ints[i]))
		}
	}
	return h
}

func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>29
}

// equal reports whether two rows have the same values in the columns. NaN equals NaN.
func equal(a *event.Batch, i int, b *event.Batch, k int, cols []int) bool {
	for _, n := range cols {
		x, y := &a.Cols[n], &b.Cols[n]
		if x.IsNull(i) || y.IsNull(k) {
			if x.IsNull(i) != y.IsNull(k) {
				return false
			}
			continue
		}
		same := false
		switch x.Type.Class() {
		case event.Reals:
			same = math.Float64bits(x.Floats[i]) == math.Float64bits(y.Floats[k])
		case event.Texts:
			same = x.Text(i) == y.Text(k)
		default:
			same = x.Ints[i] == y.Ints[k]
		}
		if !same {
			return false
		}
	}
	return true
}
