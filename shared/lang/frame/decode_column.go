package frame

import (
	"encoding/binary"
	"math"
	"math/bits"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// column reads the values of one attribute into c, whatever it held before.
func (d *Decoder) column(r *reader, t event.Type, c *event.Column, rows int) {
	nulls := d.readNulls(r, rows)
	if r.Failed() {
		return
	}
	if nulls == 0 {
		c.SetNulls(nil)
	} else {
		c.SetNulls(d.nulls)
	}
	switch t.Class() {
	case event.Reals:
		c.Floats = resize(c.Floats, rows)
		readFloats(r, t, c.Floats[:rows-nulls])
		scatter(c.Floats, d.nulls, nulls)
	case event.Texts:
		d.readTexts(r, c, rows, nulls)
	default:
		c.Ints = resize(c.Ints, rows)
		readIntegers(r, t, c.Ints[:rows-nulls])
		scatter(c.Ints, d.nulls, nulls)
	}
}

// readNulls reads a bitmap into d.nulls and returns how many rows are null.
func (d *Decoder) readNulls(r *reader, rows int) int {
	if !r.present() {
		return 0
	}
	src := r.Bytes((rows + 7) / 8)
	if r.Failed() {
		return 0
	}
	d.nulls = resize(d.nulls, (rows+63)/64)
	nulls := 0
	for i := range d.nulls {
		w := uint64(0)
		if len(src) >= 8 {
			w, src = binary.LittleEndian.Uint64(src), src[8:]
		} else {
			for at, b := range src {
				w |= uint64(b) << (8 * at)
			}
		}
		if w&^usedBits(rows, i) != 0 {
			r.Fail("a null bitmap with bits after its %d rows", rows)
			return 0
		}
		d.nulls[i] = w
		nulls += bits.OnesCount64(w)
	}
	if nulls == 0 {
		r.Fail("a null bitmap without nulls")
	}
	return nulls
}

// scatter moves the values at the front of vals to the rows that are not null, and
// makes the others zero.
func scatter[T int64 | float64](vals []T, words []uint64, nulls int) {
	if nulls == 0 {
		return
	}
	from := len(vals) - nulls
	for i := len(vals) - 1; i >= 0; i-- {
		if words[i>>6]>>(uint(i)&63)&1 != 0 {
			vals[i] = 0
			continue
		}
		from--
		vals[i] = vals[from]
	}
}

// readIntegers fills dst, which may be empty.
func readIntegers(r *reader, t event.Type, dst []int64) {
	if len(dst) == 0 {
		return
	}
	if t == event.Bool {
		readBools(r, dst)
		return
	}
	r.ints(dst)
	if t != event.Int {
		return
	}
	excess := uint64(0)
	for _, v := range dst {
		excess |= uint64(v-math.MinInt32) >> 32
	}
	if excess != 0 {
		r.Fail("a value of an int exceeds 32 bits")
	}
}

func readBools(r *reader, dst []int64) {
	src := r.Bytes((len(dst) + 7) / 8)
	if r.Failed() {
		return
	}
	if last := len(dst) & 7; last != 0 && src[len(src)-1]>>last != 0 {
		r.Fail("bools with bits after their %d values", len(dst))
		return
	}
	for i := range dst {
		dst[i] = int64(src[i>>3] >> (i & 7) & 1)
	}
}

func readFloats(r *reader, t event.Type, dst []float64) {
	if t == event.Float {
		src := r.Bytes(4 * len(dst))
		for i := range len(src) / 4 {
			dst[i] = float64(math.Float32frombits(binary.LittleEndian.Uint32(src[4*i:])))
		}
		return
	}
	src := r.Bytes(8 * len(dst))
	for i := range len(src) / 8 {
		dst[i] = math.Float64frombits(binary.LittleEndian.Uint64(src[8*i:]))
	}
}

func (d *Decoder) readTexts(r *reader, c *event.Column, rows, nulls int) {
	c.Ends, c.Bytes = resize(c.Ends, rows), c.Bytes[:0]
	if nulls == rows {
		clear(c.Ends)
		return
	}
	switch form := r.Byte(); {
	case r.Failed():
	case form == plainTexts:
		d.readPlain(r, c, rows, nulls)
	case form == dictionaryTexts:
		d.readDictionary(r, c, rows, nulls)
	default:
		r.Fail("form %d of texts", form)
	}
}

func (d *Decoder) readPlain(r *reader, c *event.Column, rows, nulls int) {
	d.ints = resize(d.ints, rows)
	total := r.lengths(d.ints[:rows-nulls])
	src := r.Bytes(total)
	if !r.reserve(total) {
		return
	}
	scatter(d.ints, d.nulls, nulls)
	end := uint32(0)
	for i, size := range d.ints {
		end += uint32(size)
		c.Ends[i] = end
	}
	c.Bytes = append(c.Bytes, src...)
}

// lengths fills dst with lengths of texts and returns their sum.
func (r *reader) lengths(dst []int64) int {
	r.ints(dst)
	if r.Failed() {
		return 0
	}
	total, all := int64(0), int64(0)
	for _, size := range dst {
		all |= size
		total += size
	}
	if all < 0 || all > RawBytesMax || total > DecodedBytesMax {
		r.Fail("texts of impossible lengths")
		return 0
	}
	return int(total)
}
