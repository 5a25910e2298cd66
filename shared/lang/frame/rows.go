package frame

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// AppendRows appends the rows of b, with their stamps and the columns listed, in the form
// of a frame's blocks, but without a schema: the reader must know it. It fails with
// ErrTooLarge or ErrInvalid, and then returns dst unchanged.
func (e *Encoder) AppendRows(dst []byte, b *event.Batch, cols []int) ([]byte, error) {
	base, rows := len(dst), b.Len()
	if rows > RowsMax {
		return dst, fmt.Errorf("%w: %d rows, limit %d", ErrTooLarge, rows, RowsMax)
	}
	dst = binary.AppendUvarint(dst, uint64(rows))
	if rows == 0 {
		return dst, nil
	}
	dst = appendInts(dst, b.TS, spreadOf(b.TS))
	for _, i := range cols {
		var err error
		if dst, err = e.column(dst, b.Cols[i].Type, &b.Cols[i], rows); err != nil {
			return dst[:base], fmt.Errorf("attribute %s: %w", b.Schema.Attrs[i].Name, err)
		}
	}
	return dst, nil
}

// ReadRows resets b, reads into it what AppendRows wrote at the front of src, and returns
// the bytes after that. Columns that are not listed stay empty. The rows share no memory
// with src.
func (d *Decoder) ReadRows(b *event.Batch, src []byte, cols []int) ([]byte, error) {
	b.Reset()
	r := &reader{wire.New(src), DecodedBytesMax}
	rows := r.count("rows", 0, RowsMax)
	if rows == 0 || !r.reserve(cellBytes(rows, len(cols))) {
		return src[r.Offset():], r.corruption()
	}
	b.TS = resize(b.TS, rows)
	r.ints(b.TS)
	for _, i := range cols {
		if r.Failed() {
			break
		}
		d.column(r, b.Cols[i].Type, &b.Cols[i], rows)
	}
	if r.Failed() {
		*b = *event.NewBatch(b.Schema) // half of it is read
		return nil, r.corruption()
	}
	return src[r.Offset():], nil
}
