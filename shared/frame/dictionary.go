package frame

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"eventflux/shared/event"
)

// A column of few distinct texts, such as airports or symbols, is stored as these
// texts and the number of one for each row. On real flights that takes a sixth off
// a frame and halves the time that LZ4 needs for it.
const (
	dictionaryTextsMax = 256 // the number of a text takes one byte
	dictionaryRowsMin  = 16
	dictionarySlots    = 4 * dictionaryTextsMax
)

// dictionary numbers texts by first appearance, so that its content does not
// depend on the seed of the hash.
type dictionary struct {
	seed  maphash.Seed
	slots [dictionarySlots]uint16 // 1 + number of a text; 0 is free
	ends  []uint32                // where text i ends in bytes
	lens  []int64
	bytes []byte
	rows  []int64 // number of the text of each row that is not null
}

// fill numbers the texts of c that are not null. It gives up, and returns false,
// as soon as they have too many values.
func (d *dictionary) fill(c *event.Column, nulls bool, texts int) bool {
	if texts < dictionaryRowsMin {
		return false
	}
	if d.seed == (maphash.Seed{}) {
		d.seed = maphash.MakeSeed()
	}
	clear(d.slots[:])
	d.ends, d.lens, d.bytes = d.ends[:0], d.lens[:0], d.bytes[:0]
	d.rows = resize(d.rows, texts)
	limit := min(dictionaryTextsMax, texts/2)
	start, n := uint32(0), 0
	for i, end := range c.Ends {
		text := c.Bytes[start:end]
		start = end
		if nulls && c.IsNull(i) {
			continue
		}
		number := d.number(text)
		if number >= limit {
			return false
		}
		d.rows[n] = int64(number)
		n++
	}
	return true
}

// number returns the number of a text, a new one if it was not seen before.
func (d *dictionary) number(text []byte) int {
	slot := maphash.Bytes(d.seed, text) % dictionarySlots
	for d.slots[slot] != 0 {
		number := int(d.slots[slot] - 1)
		if bytes.Equal(d.text(number), text) {
			return number
		}
		slot = (slot + 1) % dictionarySlots
	}
	d.bytes = append(d.bytes, text...)
	d.ends = append(d.ends, uint32(len(d.bytes)))
	d.lens = append(d.lens, int64(len(text)))
	d.slots[slot] = uint16(len(d.ends))
	return len(d.ends) - 1
}

func (d *dictionary) text(number int) []byte {
	start := uint32(0)
	if number > 0 {
		start = d.ends[number-1]
	}
	return d.bytes[start:d.ends[number]]
}

// appendTo appends the texts and the numbers of the rows.
func (d *dictionary) appendTo(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(d.ends)))
	dst = appendInts(dst, d.lens, spreadOf(d.lens))
	dst = append(dst, d.bytes...)
	return appendInts(dst, d.rows, spreadOf(d.rows))
}

// readDictionary reads what appendTo wrote.
func (d *Decoder) readDictionary(r *reader, c *event.Column, rows, nulls int) {
	count := r.count("texts of a dictionary", 1, rows-nulls)
	if r.err != nil {
		return
	}
	d.ints = resize(d.ints, count)
	texts := r.bytes(r.lengths(d.ints))
	d.starts = append(d.starts[:0], 0)
	for i, size := range d.ints {
		d.starts = append(d.starts, d.starts[i]+uint32(size))
	}
	d.ints = resize(d.ints, rows)
	numbers := d.ints[:rows-nulls]
	r.ints(numbers)
	total := d.totalOf(r, numbers, count)
	if !r.take(total) {
		return
	}
	c.Bytes = resize(c.Bytes, total)
	scatter(d.ints, d.nulls, nulls)
	end := 0
	for i, number := range d.ints {
		if nulls == 0 || !c.IsNull(i) {
			end += copy(c.Bytes[end:], texts[d.starts[number]:d.starts[number+1]])
		}
		c.Ends[i] = uint32(end)
	}
}

// totalOf checks the numbers of the rows' texts and adds up the texts' lengths.
func (d *Decoder) totalOf(r *reader, numbers []int64, count int) int {
	if r.err != nil {
		return 0
	}
	total := 0
	for _, number := range numbers {
		if uint64(number) >= uint64(count) {
			r.fail("text %d of a dictionary of %d", number, count)
			return 0
		}
		total += int(d.starts[number+1] - d.starts[number])
	}
	return total
}
