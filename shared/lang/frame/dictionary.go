package frame

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// A column of few distinct texts, such as airports or symbols, is stored as these texts and
// the number of one for each row. On real flights that makes frames a sixth smaller and
// halves the time of LZ4.
const (
	dictionaryTextsMax = 256 // the number of a text takes one byte
	dictionaryRowsMin  = 16
	dictionarySlots    = 4 * dictionaryTextsMax
)

// wordBytes is the longest text that is handled as one number: codes and symbols, which
// such columns mostly hold, fit.
const wordBytes = 8

// dictionary numbers texts by first appearance, so that its content does not
// depend on the seed of the hash.
type dictionary struct {
	seed  maphash.Seed
	slots [dictionarySlots]uint16 // 1 + number of a text; 0 is free
	keys  []uint64                // the word that a short text is, the hash of a long one
	lens  []int64
	ends  []uint32 // where text i ends in bytes
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
	d.keys, d.lens, d.ends, d.bytes = d.keys[:0], d.lens[:0], d.ends[:0], d.bytes[:0]
	d.rows = resize(d.rows, texts)
	limit := min(dictionaryTextsMax, texts/2)
	start, n := 0, 0
	for i, end := range c.Ends {
		from, size := start, int(end)-start
		start = int(end)
		if nulls && c.IsNull(i) {
			continue
		}
		var key uint64
		if size <= wordBytes {
			key = wordAt(c.Bytes, from, size)
		} else {
			key = maphash.Bytes(d.seed, c.Bytes[from:start])
		}
		number := d.number(key, c.Bytes[from:start])
		if number >= limit {
			return false
		}
		d.rows[n] = int64(number)
		n++
	}
	return true
}

// number returns the number of a text, a new one if it was not seen before.
func (d *dictionary) number(key uint64, text []byte) int {
	const golden = 0x9E3779B97F4A7C15 // 2^64 / φ: the product's top bits are spread evenly
	slot := (key*golden ^ uint64(len(text))) >> 32 % dictionarySlots
	for d.slots[slot] != 0 {
		number := int(d.slots[slot] - 1)
		if d.keys[number] == key && d.lens[number] == int64(len(text)) &&
			(len(text) <= wordBytes || bytes.Equal(d.text(number), text)) {
			return number
		}
		slot = (slot + 1) % dictionarySlots
	}
	d.keys = append(d.keys, key)
	d.lens = append(d.lens, int64(len(text)))
	d.bytes = append(d.bytes, text...)
	d.ends = append(d.ends, uint32(len(d.bytes)))
	d.slots[slot] = uint16(len(d.ends))
	return len(d.ends) - 1
}

// wordAt returns the size bytes at from, at most wordBytes, as one number.
func wordAt(src []byte, from, size int) uint64 {
	if from+wordBytes <= len(src) {
		return binary.LittleEndian.Uint64(src[from:]) & (1<<(8*uint(size)) - 1)
	}
	w := uint64(0)
	for i, b := range src[from : from+size] {
		w |= uint64(b) << (8 * i)
	}
	return w
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
	if r.Failed() {
		return
	}
	d.ints = resize(d.ints, count)
	texts := r.Bytes(r.lengths(d.ints))
	d.starts = append(d.starts[:0], 0)
	longest := int64(0)
	for i, size := range d.ints {
		d.starts = append(d.starts, d.starts[i]+uint32(size))
		longest = max(longest, size)
	}
	d.ints = resize(d.ints, rows)
	numbers := d.ints[:rows-nulls]
	r.ints(numbers)
	total := d.totalOf(r, numbers, count)
	if !r.reserve(total) {
		return
	}
	scatter(d.ints, d.nulls, nulls)
	if longest <= wordBytes && nulls == 0 {
		d.placeWords(c, texts, total)
		return
	}
	c.Bytes = resize(c.Bytes, total)
	end := 0
	for i, number := range d.ints {
		if nulls == 0 || !c.IsNull(i) {
			end += copy(c.Bytes[end:], texts[d.starts[number]:d.starts[number+1]])
		}
		c.Ends[i] = uint32(end)
	}
}

// placeWords writes short texts a word at a time, each over the spare bytes of the
// one before: several times faster than to copy two or three bytes.
func (d *Decoder) placeWords(c *event.Column, texts []byte, total int) {
	d.words = d.words[:0]
	for i, start := range d.starts[1:] {
		d.words = append(d.words, wordAt(texts, int(d.starts[i]), int(start-d.starts[i])))
	}
	buf := resize(c.Bytes, total+wordBytes)
	end := uint32(0)
	for i, number := range d.ints {
		binary.LittleEndian.PutUint64(buf[end:], d.words[number])
		end += d.starts[number+1] - d.starts[number]
		c.Ends[i] = end
	}
	c.Bytes = buf[:total]
}

// totalOf checks the numbers of the rows' texts and adds up the texts' lengths.
func (d *Decoder) totalOf(r *reader, numbers []int64, count int) int {
	if r.Failed() {
		return 0
	}
	total := 0
	for _, number := range numbers {
		if uint64(number) >= uint64(count) {
			r.Fail("text %d of a dictionary of %d", number, count)
			return 0
		}
		total += int(d.starts[number+1] - d.starts[number])
	}
	return total
}
