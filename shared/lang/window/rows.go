package window

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// Rows are written in pieces that fit a decoder, whatever they hold: first the number of
// rows, then pieces until there are so many.
const (
	pieceRowsMax  = 4096
	pieceBytesMax = 1 << 20 // of texts, unless one row alone has more
)

// appendRows writes the rows of b, with the attributes that are used. It copies into spare
// if one piece is not enough.
func (c *codec) appendRows(dst []byte, b, spare *event.Batch, used []int) []byte {
	dst = binary.AppendUvarint(dst, uint64(b.Len()))
	if b.Len() <= pieceRowsMax && b.Bytes() <= pieceBytesMax {
		return c.appendPiece(dst, b, used)
	}
	spare.Reset()
	size := 0
	for i := range b.TS {
		more := 0
		for _, a := range used {
			if col := &b.Cols[a]; col.Type.Class() == event.Texts {
				more += len(col.Text(i))
			}
		}
		if n := spare.Len(); n == pieceRowsMax || n > 0 && size+more > pieceBytesMax {
			dst = c.appendPiece(dst, spare, used)
			spare.Reset()
			size = 0
		}
		spare.AppendSome(b, i, used)
		size += more
	}
	return c.appendPiece(dst, spare, used)
}

func (c *codec) appendPiece(dst []byte, b *event.Batch, used []int) []byte {
	if b.Len() == 0 {
		return dst
	}
	dst, err := c.encoder.AppendRows(dst, b, used)
	if err != nil { // it is small, and holds what frames held
		panic(fmt.Sprintf("window: encode %d rows: %v", b.Len(), err))
	}
	return dst
}

// readRows appends to b the rows that appendRows wrote, at most rowsMax, and returns the
// bytes after them. It copies from spare what cannot be read straight into b; spare may be
// nil.
func readRows(b, spare *event.Batch, src []byte, used []int, rowsMax uint64) ([]byte, error) {
	c := codecs.Get().(*codec)
	defer codecs.Put(c)
	r := wire.New(src)
	rows := r.Uvarint()
	if r.Failed() || rows > rowsMax {
		return nil, fmt.Errorf("a number of %d rows, at most %d fit", rows, rowsMax)
	}
	src = r.Rest()
	for rows > 0 {
		r := wire.New(src)
		size := r.Uvarint()
		if r.Failed() || size == 0 || size > min(rows, pieceRowsMax) {
			return nil, fmt.Errorf("a piece of %d rows, and %d are left", size, rows)
		}
		piece := b
		if b.Len() > 0 {
			if spare == nil {
				spare = event.NewBatch(b.Schema)
			}
			piece = spare
		}
		rest, err := c.decoder.ReadRows(piece, src, used)
		if err != nil {
			return nil, err
		}
		if piece != b {
			b.AppendAll(used, piece)
		}
		src, rows = rest, rows-size
	}
	return src, nil
}
