package window

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
)

// The state of a sorted window has an entry for each block of seats, by the number
// of the first: the rows there, and in which order they came. One more has how
// many rows came so far. The order is not written: it follows from the rows.

// seatsPerBlock is how much is written where one row has changed. Smaller blocks
// cost bytes: each has its own columns.
const seatsPerBlock = 64

// sortBlocks are the blocks that have changed since Changed was called.
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
	w.blocks, w.loaded = sortBlocks{}, map[uint64][]seat{}
}

// Put implements state.Source.
func (w *sorted) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyFields {
		if err := ReadFields(value, w.fields); err != nil {
			return fmt.Errorf("window sort: %w", err)
		}
		return nil
	}
	if len(key) != 9 || key[0] != keyBlock {
		return fmt.Errorf("window sort: key %q is none of it", key)
	}
	first := binary.BigEndian.Uint64(key[1:])
	places, rest, err := w.pool.read(value, w.env, seatsPerBlock)
	f := Fields{bytes: rest, reading: true, err: err}
	seats := make([]seat, len(places))
	for i, place := range places {
		seats[i].place = place
		f.Uint(&seats[i].came)
	}
	if err := f.end(); err != nil {
		return fmt.Errorf("window sort: block %d: %w", first, err)
	}
	w.loaded[first] = seats
	return nil
}

// Ready implements state.Source.
func (w *sorted) Ready() error {
	for n := len(w.loaded); n > 0; n-- {
		first := uint64(len(w.seats))
		seats := w.loaded[first]
		if len(seats) == 0 || n > 1 && len(seats) < seatsPerBlock {
			return fmt.Errorf("window sort: block %d is missing, or has %d rows", first, len(seats))
		}
		w.seats = append(w.seats, seats...)
	}
	w.loaded = nil
	if len(w.seats) > w.size || (len(w.seats) == 0) != (w.came == 0) {
		return fmt.Errorf("window sort: %d rows of %d, and %d have come", len(w.seats), w.size, w.came)
	}
	w.order = make([]int32, len(w.seats))
	for i := range w.order {
		w.order[i] = int32(i)
	}
	slices.SortFunc(w.order, func(a, b int32) int {
		x, y := w.seats[a], w.seats[b]
		return cmp.Or(w.compare(x.place, y.place), cmp.Compare(x.came, y.came))
	})
	return w.checkArrivals()
}

// checkArrivals refuses rows that came at the same time, or are still to come.
func (w *sorted) checkArrivals() error {
	came := make([]uint64, len(w.seats))
	for i, s := range w.seats {
		came[i] = s.came
	}
	slices.Sort(came)
	for i, n := range came {
		if n == 0 || n > w.came || i > 0 && n == came[i-1] {
			return fmt.Errorf("window sort: a row came as number %d, again or after the last, %d", n, w.came)
		}
	}
	return nil
}

// Bytes implements state.Source.
func (w *sorted) Bytes() int64 {
	const perSeat = 20 // and its place in the order
	return int64(w.pool.rows.Bytes()) + perSeat*int64(len(w.seats))
}
