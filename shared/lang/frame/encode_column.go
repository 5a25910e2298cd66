package frame

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// How a text column is stored.
const (
	plainTexts      = 1 // lengths, then all bytes
	dictionaryTexts = 2 // the distinct texts, then the number of one for each row
)

// column appends a null bitmap, and the values of the rows that are not null.
func (e *Encoder) column(dst []byte, t event.Type, c *event.Column, rows int) ([]byte, error) {
	if c.Type.Class() != t.Class() || c.Len() != rows {
		return dst, fmt.Errorf("%w: column of %d values of %s for %d rows", ErrInvalid, c.Len(), c.Type, rows)
	}
	dst, nulls := appendNulls(dst, c, rows)
	if nulls == rows {
		return dst, nil
	}
	switch t {
	case event.Float, event.Double:
		return appendFloats(dst, t, c, nulls > 0)
	case event.String, event.Object:
		return e.texts(dst, c, nulls > 0)
	case event.Bool:
		return appendBools(dst, c, nulls > 0)
	}
	vals := c.Ints
	if nulls > 0 {
		vals = e.notNull(c)
	}
	s := spreadOf(vals)
	if t == event.Int && (s.min < math.MinInt32 || s.max > math.MaxInt32) {
		return dst, fmt.Errorf("%w: values from %d to %d exceed 32 bits", ErrInvalid, s.min, s.max)
	}
	return appendInts(dst, vals, s), nil
}

// appendNulls appends the bitmap of c, if any row is null, and returns how many are.
func appendNulls(dst []byte, c *event.Column, rows int) ([]byte, int) {
	words := c.Nulls()
	words = words[:min(len(words), (rows+63)/64)]
	nulls := 0
	for i, w := range words {
		nulls += bits.OnesCount64(w & usedBits(rows, i))
	}
	if nulls == 0 {
		return append(dst, absent), 0
	}
	dst = append(dst, present)
	dst, out := extend(dst, (rows+7)/8)
	clear(out)
	for i, w := range words {
		w &= usedBits(rows, i)
		for at := 8 * i; at < len(out) && w != 0; at++ {
			out[at] = byte(w)
			w >>= 8
		}
	}
	return dst, nulls
}

// usedBits masks the bits of word i of a bitmap that stand for rows.
func usedBits(rows, i int) uint64 {
	if left := rows - 64*i; left < 64 {
		return 1<<uint(left) - 1
	}
	return math.MaxUint64
}

// notNull collects the values of c that are not null.
func (e *Encoder) notNull(c *event.Column) []int64 {
	e.ints = e.ints[:0]
	for i, v := range c.Ints {
		if !c.IsNull(i) {
			e.ints = append(e.ints, v)
		}
	}
	return e.ints
}

func appendFloats(dst []byte, t event.Type, c *event.Column, nulls bool) ([]byte, error) {
	width := 8
	if t == event.Float {
		width = 4
	}
	base := len(dst)
	dst, out := extend(dst, len(c.Floats)*width)
	n := 0
	for i, v := range c.Floats {
		if nulls && c.IsNull(i) {
			continue
		}
		if width == 8 {
			binary.LittleEndian.PutUint64(out[n:], math.Float64bits(v))
		} else {
			short := float32(v)
			if math.Float64bits(float64(short)) != math.Float64bits(v) {
				return dst, fmt.Errorf("%w: row %d has %v, which is not rounded to 32 bits", ErrInvalid, i, v)
			}
			binary.LittleEndian.PutUint32(out[n:], math.Float32bits(short))
		}
		n += width
	}
	return dst[:base+n], nil
}

func appendBools(dst []byte, c *event.Column, nulls bool) ([]byte, error) {
	base := len(dst)
	dst, out := extend(dst, (len(c.Ints)+7)/8)
	clear(out)
	n := 0
	for i, v := range c.Ints {
		if nulls && c.IsNull(i) {
			continue
		}
		if uint64(v) > 1 {
			return dst, fmt.Errorf("%w: row %d has %d, a bool is 0 or 1", ErrInvalid, i, v)
		}
		out[n>>3] |= byte(v) << (n & 7)
		n++
	}
	return dst[:base+(n+7)/8], nil
}

func (e *Encoder) texts(dst []byte, c *event.Column, nulls bool) ([]byte, error) {
	lens, err := e.textLens(c, nulls)
	if err != nil {
		return dst, err
	}
	text, s := c.Bytes[:c.Ends[len(c.Ends)-1]], spreadOf(lens)
	if d := &e.dict; d.fill(c, nulls, len(lens)) {
		plain := len(text) + len(lens)*widthOf(uint64(s.max-s.min))
		if len(d.bytes)+len(d.lens)+len(d.rows) < plain {
			return d.appendTo(append(dst, dictionaryTexts)), nil
		}
	}
	dst = appendInts(append(dst, plainTexts), lens, s)
	return append(dst, text...), nil
}

// textLens returns the lengths of the texts that are not null.
func (e *Encoder) textLens(c *event.Column, nulls bool) ([]int64, error) {
	if int(c.Ends[len(c.Ends)-1]) > len(c.Bytes) {
		return nil, fmt.Errorf("%w: texts end at byte %d of %d", ErrInvalid, c.Ends[len(c.Ends)-1], len(c.Bytes))
	}
	e.ints = resize(e.ints, len(c.Ends))
	n, start, least := 0, int64(0), int64(0)
	for i, end := range c.Ends {
		size := int64(end) - start
		start = int64(end)
		least = min(least, size)
		if nulls && c.IsNull(i) {
			if size != 0 {
				return nil, fmt.Errorf("%w: row %d is null and has a text", ErrInvalid, i)
			}
			continue
		}
		e.ints[n] = size
		n++
	}
	if least < 0 {
		return nil, fmt.Errorf("%w: a text ends before it starts", ErrInvalid)
	}
	return e.ints[:n], nil
}
