// Package event holds rows of streams as typed columns. It knows types, schemas and
// batches. Package frame stores rows, and package rowjson writes them as JSON.
package event

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// Batch is a number of rows of one stream, by column. It is not safe for
// concurrent use, and is made to be reset and filled again.
type Batch struct {
	Schema *Schema
	// TS has the own timestamp of each row, in ms since the Unix epoch.
	TS   []int64
	Cols []Column
}

// NewBatch returns an empty batch of the schema's shape.
func NewBatch(s *Schema) *Batch {
	b := &Batch{Schema: s, Cols: make([]Column, len(s.Attrs))}
	for i, a := range s.Attrs {
		b.Cols[i].Type = a.Holds()
	}
	return b
}

// Len returns the number of rows. A row is complete once its timestamp is
// appended: append to every column first, and to TS last.
func (b *Batch) Len() int { return len(b.TS) }

// AppendRow appends a copy of row i of src, a batch of the same column types.
func (b *Batch) AppendRow(src *Batch, i int) {
	for c := range b.Cols {
		b.Cols[c].AppendFrom(&src.Cols[c], i)
	}
	b.TS = append(b.TS, src.TS[i])
}

// AppendSome appends a copy of row i of src as AppendRow does, but only of the
// columns listed: the others stay empty and must not be read.
func (b *Batch) AppendSome(src *Batch, i int, cols []int) {
	for _, c := range cols {
		b.Cols[c].AppendFrom(&src.Cols[c], i)
	}
	b.TS = append(b.TS, src.TS[i])
}

// AppendAll appends copies of all rows of some batches, with the columns listed: it is
// AppendSome for each of them, and makes room for all at once.
func (b *Batch) AppendAll(cols []int, from ...*Batch) {
	rows := 0
	for _, src := range from {
		rows += src.Len()
	}
	for _, c := range cols {
		b.Cols[c].grow(rows, from, c)
		for _, src := range from {
			b.Cols[c].appendRange(&src.Cols[c], 0, src.Len())
		}
	}
	b.TS = slices.Grow(b.TS, rows)
	for _, src := range from {
		b.TS = append(b.TS, src.TS...)
	}
}

// AppendRows appends copies of the rows [from, to) of src.
func (b *Batch) AppendRows(src *Batch, from, to int) {
	for c := range b.Cols {
		b.Cols[c].appendRange(&src.Cols[c], from, to)
	}
	b.TS = append(b.TS, src.TS[from:to]...)
}

// Truncate drops the rows from n on, including half-written ones.
func (b *Batch) Truncate(n int) {
	for c := range b.Cols {
		if b.Cols[c].Len() > n {
			b.Cols[c].Truncate(n)
		}
	}
	b.TS = b.TS[:min(n, len(b.TS))]
}

// Reset drops all rows. It keeps the memory, unless it was made for far more rows.
func (b *Batch) Reset() {
	if shrink.Far(len(b.TS), cap(b.TS)) {
		for c := range b.Cols {
			b.Cols[c] = Column{Type: b.Cols[c].Type}
		}
		b.TS = nil
		return
	}
	b.Truncate(0)
}

// Bytes returns the memory that the rows take, without spare capacity.
func (b *Batch) Bytes() int {
	n := 8 * len(b.TS)
	for i := range b.Cols {
		c := &b.Cols[i]
		n += 8*(len(c.Ints)+len(c.Floats)+len(c.nulls)) + 4*len(c.Ends) + len(c.Bytes)
	}
	return n
}

// grow makes room for the given rows of one column of some batches.
func (c *Column) grow(rows int, from []*Batch, column int) {
	switch c.Type.Class() {
	case Reals:
		c.Floats = slices.Grow(c.Floats, rows)
	case Texts:
		size := 0
		for _, src := range from {
			size += len(src.Cols[column].Bytes)
		}
		c.Ends, c.Bytes = slices.Grow(c.Ends, rows), slices.Grow(c.Bytes, size)
	default:
		c.Ints = slices.Grow(c.Ints, rows)
	}
}

func (c *Column) appendRange(src *Column, from, to int) {
	if src.hasNulls {
		for i := from; i < to; i++ {
			c.AppendFrom(src, i)
		}
		return
	}
	switch c.Type.Class() {
	case Reals:
		c.Floats = append(c.Floats, src.Floats[from:to]...)
	case Texts:
		start := uint32(0)
		if from > 0 {
			start = src.Ends[from-1]
		}
		shift := uint32(len(c.Bytes)) - start
		if to > from {
			c.Bytes = append(c.Bytes, src.Bytes[start:src.Ends[to-1]]...)
		}
		for _, end := range src.Ends[from:to] {
			c.Ends = append(c.Ends, end+shift)
		}
	default:
		c.Ints = append(c.Ints, src.Ints[from:to]...)
	}
}
