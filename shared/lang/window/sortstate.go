package window

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// The state of a sorted window has an entry for each block of seats, by the number of the
// first: the rows there, and their order of arrival. One more entry has the number of rows
// so far. The order is not written: it follows from the rows.

// seatsPerBlock is how many seats a change of one row writes. Smaller blocks cost bytes,
// because each block has its own columns.
const seatsPerBlock = 64

// sortBlocks are the blocks that have changed since the last Changed.
type sortBlocks struct {
	dirty  []bool // by number of the block
	listed []int32
}

func (b *sortBlocks) changed(seat int32) {
	n := int(seat / seatsPerBlock)
	for n >= len(b.dirty) {
		b.dirty = append(b.dirty, false)
	}
	if !b.dirty[n] {
		b.dirty[n] = true
		b.listed = append(b.listed, int32(n))
	}
}

// Changed implements state.Source.
func (w *sorted) Changed(visit func(key []byte)) {
	if len(w.blocks.listed) == 0 {
		return
	}
	var key [9]byte
	for _, n := range w.blocks.listed {
		w.blocks.dirty[n] = false
		visit(blockKey(key[:0], uint64(n)*seatsPerBlock))
	}
	w.blocks.listed = w.blocks.listed[:0]
	visit([]byte{keyFields})
}

// Keys implements state.Source.
func (w *sorted) Keys(visit func(key []byte)) {
	if len(w.seats) == 0 {
		return
	}
	var key [9]byte
	for first := 0; first < len(w.seats); first += seatsPerBlock {
		visit(blockKey(key[:0], uint64(first)))
	}
	visit([]byte{keyFields})
}

// Append implements state.Source.
func (w *sorted) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyFields && len(w.seats) > 0 {
		return WriteFields(dst, w.fields), true
	}
	if len(key) != 9 || key[0] != keyBlock {
		return dst, false
	}
	first := binary.BigEndian.Uint64(key[1:])
	if first%seatsPerBlock != 0 || first >= uint64(len(w.seats)) {
		return dst, false
	}
	seats := w.seats[first:min(first+seatsPerBlock, uint64(len(w.seats)))]
	var places [seatsPerBlock]int32
	for i, s := range seats {
		places[i] = s.place
	}
	dst = w.pool.append(dst, w.env, places[:len(seats)])
	for _, s := range seats {
		dst = binary.AppendUvarint(dst, s.came)
	}
	return dst, true
}

func (w *sorted) fields(f *Fields) {
	f.Uint(&w.came)
	f.Require(w.came <= rowNumberMax, "%d rows have come", w.came)
}

// Reset implements state.Source.
func (w *sorted) Reset() {
	w.pool.reset()
	w.seats, w.order, w.came = nil, nil, 0
	w.blocks, w.loaded = sortBlocks{}, &loadedBlocks{}
}

// PutsAtOnce implements state.Parallel: each block is read into memory of its own.
func (w *sorted) PutsAtOnce() bool { return true }

// Put implements state.Source.
func (w *sorted) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyFields {
		w.loaded.Lock()
		defer w.loaded.Unlock()
		if err := ReadFields(value, w.fields); err != nil {
			return fmt.Errorf("window sort: %w", err)
		}
		return nil
	}
	if len(key) != 9 || key[0] != keyBlock {
		return fmt.Errorf("window sort: key %q is none of it", key)
	}
	first := binary.BigEndian.Uint64(key[1:])
	if err := w.loaded.put(first, w.pool.rows.Schema, w.pool.used, value, seatsPerBlock, true); err != nil {
		return fmt.Errorf("window sort: block %d: %w", first, err)
	}
	return nil
}

// Ready implements state.Source.
func (w *sorted) Ready() error {
	w.loaded.sort()
	w.seats = make([]seat, 0, len(w.loaded.all)*seatsPerBlock)
	var blocks []*event.Batch
	for n := len(w.loaded.all); n > 0; n-- {
		first := uint64(len(w.seats))
		block, rows := w.loaded.find(first)
		if rows == 0 || n > 1 && rows < seatsPerBlock {
			return fmt.Errorf("window sort: block %d is missing, or has %d rows", first, rows)
		}
		blocks = append(blocks, block.rows)
		for _, came := range block.tags {
			w.seats = append(w.seats, seat{int32(len(w.seats)), came})
		}
	}
	w.loaded = nil
	if len(w.seats) > w.size || (len(w.seats) == 0) != (w.came == 0) {
		return fmt.Errorf("window sort: %d rows of %d, and %d have come", len(w.seats), w.size, w.came)
	}
	w.pool.rows.AppendAll(w.pool.used, blocks...)
	return w.arrange()
}

// arrange finds the order of the rows. It refuses rows with the same number of arrival, or
// with one that was not reached yet.
func (w *sorted) arrange() error {
	w.order = make([]int32, len(w.seats))
	numbers := make([]uint64, len(w.seats))
	for i, s := range w.seats {
		w.order[i], numbers[i] = int32(i), s.came
	}
	sortByNumber(w.order, numbers)
	for i, seat := range w.order {
		if n := numbers[seat]; n == 0 || n > w.came || i > 0 && n == numbers[w.order[i-1]] {
			return fmt.Errorf("window sort: a row came as number %d, again or after the last, %d", n, w.came)
		}
	}
	// The rows are many, and a number can order most of them.
	by := w.by[0]
	for i, s := range w.seats {
		numbers[i] = w.pool.rows.Cols[by.attr].Rank(int(s.place), by.desc)
	}
	sortByNumber(w.order, numbers)
	decided := len(w.by) == 1 && w.pool.rows.Cols[by.attr].Type.Class() != event.Texts
	for from, to := 0, 0; from < len(w.order); from = to {
		number := numbers[w.order[from]]
		for to = from; to < len(w.order) && numbers[w.order[to]] == number; to++ {
		}
		if decided && number != math.MaxUint64 { // which nulls have, and some others too
			continue // they are equal, and in order of arrival
		}
		slices.SortFunc(w.order[from:to], func(a, b int32) int {
			x, y := w.seats[a], w.seats[b]
			if c := w.compare(x.place, y.place); c != 0 {
				return c
			}
			return cmp.Compare(x.came, y.came)
		})
	}
	return nil
}

// sortByNumber sorts seats by the number that each has in numbers, and keeps the order of
// equal ones: a radix sort from the lowest byte on, which skips bytes that are all the
// same.
func sortByNumber(seats []int32, numbers []uint64) {
	differ := uint64(0)
	for _, n := range numbers {
		differ |= n ^ numbers[0]
	}
	from, to := seats, make([]int32, len(seats))
	for shift := 0; shift < 64; shift += 8 {
		if byte(differ>>shift) == 0 {
			continue
		}
		var next [257]int // where the next seat of each byte goes
		for _, n := range numbers {
			next[1+int(byte(n>>shift))]++
		}
		for i := range 256 {
			next[i+1] += next[i]
		}
		for _, seat := range from {
			at := &next[byte(numbers[seat]>>shift)]
			to[*at] = seat
			*at++
		}
		from, to = to, from
	}
	copy(seats, from)
}

// Bytes implements state.Source.
func (w *sorted) Bytes() int64 {
	const perSeat = 20 // and its place in the order
	return int64(w.pool.rows.Bytes()) + perSeat*int64(len(w.seats))
}
