package event

import (
	"encoding/binary"
	"unsafe"

	"github.com/eventflux/eventflux/shared/testing/scribble"
)

// Column holds the values of one attribute for the rows of a batch. Which slice
// is used follows from Type.Class; it has one element per row, null or not (the
// element under a null is zero or empty, so that equal rows are equal bytes).
//
// Text is kept end to end in Bytes, and row i ends at Ends[i]: a column holds no
// pointers, so a large window costs the garbage collector nothing.
type Column struct {
	Type   Type
	Ints   []int64
	Floats []float64
	Ends   []uint32
	Bytes  []byte

	nulls    []uint64 // bit i set: row i is null; words may be missing at the end
	hasNulls bool
}

// IsNull reports whether row i is null.
func (c *Column) IsNull(i int) bool { return c.hasNulls && c.nullBit(i) }

func (c *Column) nullBit(i int) bool {
	return i>>6 < len(c.nulls) && c.nulls[i>>6]>>(uint(i)&63)&1 != 0
}

// HasNulls reports whether any row is null.
func (c *Column) HasNulls() bool { return c.hasNulls }

// Text returns row i of a text column. The string shares the column's memory: it is valid
// until the batch is reset or truncated below the row. Clone it to keep it longer.
func (c *Column) Text(i int) string {
	start := uint32(0)
	if i > 0 {
		start = c.Ends[i-1]
	}
	b := c.Bytes[start:c.Ends[i]]
	return unsafe.String(unsafe.SliceData(b), len(b))
}

// TextBytes returns the length of row i of a text column.
func (c *Column) TextBytes(i int) int {
	if i == 0 {
		return int(c.Ends[0])
	}
	return int(c.Ends[i] - c.Ends[i-1])
}

// ShortBytesMax is the length of the texts that Short packs.
const ShortBytesMax = 7

// Short returns row i of a text column as a number, if it has at most
// ShortBytesMax bytes: different texts give different numbers.
func (c *Column) Short(i int) (uint64, bool) {
	start := uint32(0)
	if i > 0 {
		start = c.Ends[i-1]
	}
	n := c.Ends[i] - start
	if n > ShortBytesMax {
		return 0, false
	}
	if rest := c.Bytes[start:]; len(rest) >= 8 {
		return binary.LittleEndian.Uint64(rest)&(1<<(8*n)-1) | uint64(n)<<56, true
	}
	key := uint64(n) << 56
	for k, b := range c.Bytes[start : start+n] {
		key |= uint64(b) << (8 * k)
	}
	return key, true
}

// Len returns the number of rows.
func (c *Column) Len() int {
	switch c.Type.Class() {
	case Reals:
		return len(c.Floats)
	case Texts:
		return len(c.Ends)
	default:
		return len(c.Ints)
	}
}

// AppendInt appends a value to a column of class Integers.
func (c *Column) AppendInt(v int64) { c.Ints = append(c.Ints, v) }

// AppendBool appends a value to a column of type Bool.
func (c *Column) AppendBool(v bool) {
	if v {
		c.Ints = append(c.Ints, 1)
	} else {
		c.Ints = append(c.Ints, 0)
	}
}

// AppendFloat appends a value to a column of class Reals. The caller has rounded
// it to 32 bits if the column's type is Float.
func (c *Column) AppendFloat(v float64) { c.Floats = append(c.Floats, v) }

// AppendText appends a copy of v to a text column.
func (c *Column) AppendText(v string) {
	c.Bytes = append(c.Bytes, v...)
	c.Ends = append(c.Ends, uint32(len(c.Bytes)))
}

// AppendNull appends a null of the column's type.
func (c *Column) AppendNull() {
	i := c.Len()
	switch c.Type.Class() {
	case Reals:
		c.Floats = append(c.Floats, 0)
	case Texts:
		c.Ends = append(c.Ends, uint32(len(c.Bytes)))
	default:
		c.Ints = append(c.Ints, 0)
	}
	c.setNull(i)
}

// AppendFrom appends row i of src, a column of the same class.
func (c *Column) AppendFrom(src *Column, i int) {
	if src.IsNull(i) {
		c.AppendNull()
		return
	}
	switch c.Type.Class() {
	case Reals:
		c.Floats = append(c.Floats, src.Floats[i])
	case Texts:
		start := uint32(0)
		if i > 0 {
			start = src.Ends[i-1]
		}
		c.Bytes = append(c.Bytes, src.Bytes[start:src.Ends[i]]...)
		c.Ends = append(c.Ends, uint32(len(c.Bytes)))
	default:
		c.Ints = append(c.Ints, src.Ints[i])
	}
}

// Nulls returns the null bitmap: bit i of word i/64 is set if row i is null. It ends with
// the word of the last null, and is nil if no row is null, so that equal rows have equal
// bitmaps. The slice is the column's own.
func (c *Column) Nulls() []uint64 {
	if !c.hasNulls {
		return nil
	}
	return c.nulls
}

// SetNulls replaces the null bitmap by a copy of words. Decoders use it.
func (c *Column) SetNulls(words []uint64) {
	c.nulls = append(c.nulls[:0], words...)
	c.trimNulls()
}

// trimNulls drops the words after the last null.
func (c *Column) trimNulls() {
	n := len(c.nulls)
	for n > 0 && c.nulls[n-1] == 0 {
		n--
	}
	c.nulls, c.hasNulls = c.nulls[:n], n > 0
}

func (c *Column) setNull(i int) {
	for len(c.nulls) <= i>>6 {
		c.nulls = append(c.nulls, 0)
	}
	c.nulls[i>>6] |= 1 << (uint(i) & 63)
	c.hasNulls = true
}

// Truncate drops the rows from n on.
func (c *Column) Truncate(n int) {
	switch c.Type.Class() {
	case Reals:
		scribble.Numbers(c.Floats[n:])
		c.Floats = c.Floats[:n]
	case Texts:
		c.Ends = c.Ends[:n]
		end := 0
		if n > 0 {
			end = int(c.Ends[n-1])
		}
		scribble.Bytes(c.Bytes[end:])
		c.Bytes = c.Bytes[:end]
	default:
		scribble.Numbers(c.Ints[n:])
		c.Ints = c.Ints[:n]
	}
	if !c.hasNulls {
		return
	}
	if words := (n + 63) >> 6; len(c.nulls) > words {
		c.nulls = c.nulls[:words]
	}
	if last := n >> 6; last < len(c.nulls) {
		c.nulls[last] &= 1<<(uint(n)&63) - 1
	}
	c.trimNulls()
}
