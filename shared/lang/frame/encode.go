package frame

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state/compress"
)

// Flags of a run. Without its flag, a property has its usual value: the block of the
// previous run, one row, each row a chunk of its own, no id, no header.
const (
	runIsChunk   = 1 << 0
	runHasID     = 1 << 1
	runHasHeader = 1 << 2
	runHasBlock  = 1 << 3
	runHasRows   = 1 << 4
	runFlags     = 1<<5 - 1
)

// First byte of arrival stamps and null bitmaps.
const (
	absent  = 1 // as the rows' own stamps; no row is null
	present = 2
)

// Encoder encodes frames. The zero value is ready; it keeps its scratch memory,
// and is not safe for concurrent use.
type Encoder struct {
	raw  []byte
	ints []int64
	left []int // rows of each block that no run has consumed yet
	dict dictionary
}

// Append encodes f after dst, returns the extended slice and sets f.CRC. The same frame and
// codec always give the same bytes. A payload that the codec does not shrink is stored as
// it is.
//
// It fails with ErrTooLarge or ErrInvalid, and then returns dst unchanged.
func (e *Encoder) Append(dst []byte, f *Frame, codec compress.Codec) ([]byte, error) {
	if !codec.Valid() {
		return dst, fmt.Errorf("%w: %s", ErrInvalid, codec)
	}
	if err := checkHeader(&f.Header); err != nil {
		return dst, err
	}
	raw, err := e.payload(e.raw[:0], f)
	e.raw = raw[:0]
	if err != nil {
		return dst, err
	}
	if len(raw) > RawBytesMax {
		return dst, fmt.Errorf("%w: payload of %d bytes, limit %d; put fewer rows into it", ErrTooLarge, len(raw), RawBytesMax)
	}
	base := len(dst)
	dst = appendHeader(dst, &f.Header)
	start := len(dst)
	dst = codec.Compress(dst, raw)
	if len(dst) == start {
		codec = compress.None
		dst = append(dst, raw...)
	}
	dst, f.CRC, err = seal(dst, base, codec, len(raw))
	return dst, err
}

func (e *Encoder) payload(dst []byte, f *Frame) ([]byte, error) {
	if f.Kind != Events && len(f.Blocks)+len(f.Runs) > 0 {
		return dst, fmt.Errorf("%w: a %s has no events, but %d blocks and %d runs were given", ErrInvalid, f.Kind, len(f.Blocks), len(f.Runs))
	}
	if f.Kind != Barrier && f.Cut != (Cut{}) {
		return dst, fmt.Errorf("%w: %s frame with a barrier's cut", ErrInvalid, f.Kind)
	}
	if f.Kind != Deploy && f.Deploy != (Version{}) {
		return dst, fmt.Errorf("%w: %s frame with the content of a deploy frame", ErrInvalid, f.Kind)
	}
	if f.HasClock && f.Kind != Tick || !f.HasClock && f.Clock != 0 {
		return dst, fmt.Errorf("%w: %s frame with a clock of its own (%d); only a tick has one, with HasClock", ErrInvalid, f.Kind, f.Clock)
	}
	switch f.Kind {
	case Events:
		return e.events(dst, f)
	case Barrier:
		return appendCut(dst, f.Cut)
	case Deploy:
		return appendVersion(dst, &f.Deploy)
	case Tick:
		if f.HasClock {
			dst = binary.LittleEndian.AppendUint64(dst, uint64(f.Clock))
		}
	}
	return dst, nil
}

func appendVersion(dst []byte, v *Version) ([]byte, error) {
	if v.Number == 0 || v.Level == 0 {
		return dst, fmt.Errorf("%w: deploy frame with version %d and semantics level %d; both start at 1", ErrInvalid, v.Number, v.Level)
	}
	dst = binary.AppendUvarint(dst, uint64(v.Number))
	dst = binary.AppendUvarint(dst, uint64(v.Level))
	for _, part := range []struct {
		name, text string
		limit      int
	}{{"build", v.Build, NameBytesMax}, {"settings", v.Settings, SettingsBytesMax}, {"app text", v.Text, AppBytesMax}} {
		if part.text == "" || len(part.text) > part.limit {
			return dst, fmt.Errorf("%w: deploy frame with %s of %d bytes, allowed are 1 to %d", tooLargeIf(part.text != ""), part.name, len(part.text), part.limit)
		}
		dst = append(binary.AppendUvarint(dst, uint64(len(part.text))), part.text...)
	}
	if v.Change == "" {
		return dst, nil
	}
	if len(v.Change) > ChangeBytesMax {
		return dst, fmt.Errorf("%w: deploy frame with a change of %d bytes, allowed are %d", ErrTooLarge, len(v.Change), ChangeBytesMax)
	}
	return append(binary.AppendUvarint(dst, uint64(len(v.Change))), v.Change...), nil
}

func appendCut(dst []byte, c Cut) ([]byte, error) {
	if c.Epoch == 0 || c.Term == 0 || c.ID == [16]byte{} {
		return dst, fmt.Errorf("%w: barrier with epoch %d, term %d, id %x; none of them may be zero", ErrInvalid, c.Epoch, c.Term, c.ID)
	}
	dst = binary.LittleEndian.AppendUint64(dst, c.Epoch)
	dst = binary.LittleEndian.AppendUint64(dst, c.Term)
	return append(dst, c.ID[:]...), nil
}

func (e *Encoder) events(dst []byte, f *Frame) ([]byte, error) {
	if err := checkLimits(f.Blocks); err != nil {
		return dst, err
	}
	dst = binary.AppendUvarint(dst, uint64(len(f.Blocks)))
	e.left = resize(e.left, len(f.Blocks))
	for i := range f.Blocks {
		var err error
		if dst, err = e.block(dst, &f.Blocks[i]); err != nil {
			return dst, fmt.Errorf("block %d (%s): %w", i, f.Blocks[i].Batch.Schema.Name, err)
		}
		e.left[i] = f.Blocks[i].Batch.Len()
	}
	return e.runs(dst, f.Runs)
}

// checkLimits refuses blocks that could not be decoded again.
func checkLimits(blocks []Block) error {
	if len(blocks) == 0 || len(blocks) > BlocksMax {
		return fmt.Errorf("%w: %d blocks, allowed are 1 to %d", tooLargeIf(len(blocks) > 0), len(blocks), BlocksMax)
	}
	rows, bytes := 0, 0
	for i := range blocks {
		b := blocks[i].Batch
		if b == nil || b.Schema == nil || b.Len() == 0 {
			return fmt.Errorf("%w: block %d has no rows or no schema; leave it out", ErrInvalid, i)
		}
		rows += b.Len()
		bytes += cellBytes(b.Len(), len(b.Schema.Attrs))
		for c := range b.Cols {
			bytes += len(b.Cols[c].Bytes)
		}
	}
	if rows > RowsMax || bytes > DecodedBytesMax {
		return fmt.Errorf("%w: %d rows of %d bytes in memory, limits are %d and %d; put fewer rows into it", ErrTooLarge, rows, bytes, RowsMax, DecodedBytesMax)
	}
	return nil
}

// cellBytes is the memory of rows without their texts: each value, the row's own stamp and
// its arrival stamp.
func cellBytes(rows, attrs int) int { return 8 * rows * (attrs + 2) }

func tooLargeIf(large bool) error {
	if large {
		return ErrTooLarge
	}
	return ErrInvalid
}

func (e *Encoder) block(dst []byte, b *Block) ([]byte, error) {
	batch := b.Batch
	rows := batch.Len()
	if len(batch.Cols) != len(batch.Schema.Attrs) {
		return dst, fmt.Errorf("%w: %d columns for %d attributes", ErrInvalid, len(batch.Cols), len(batch.Schema.Attrs))
	}
	if len(b.Arrived) != 0 && len(b.Arrived) != rows {
		return dst, fmt.Errorf("%w: %d arrival stamps for %d rows", ErrInvalid, len(b.Arrived), rows)
	}
	dst, err := appendSchema(dst, batch.Schema)
	if err != nil {
		return dst, err
	}
	dst = binary.AppendUvarint(dst, uint64(rows))
	dst = appendInts(dst, batch.TS, spreadOf(batch.TS))
	if len(b.Arrived) == 0 || slices.Equal(b.Arrived, batch.TS) {
		dst = append(dst, absent)
	} else {
		dst = appendInts(append(dst, present), b.Arrived, spreadOf(b.Arrived))
	}
	for i := range batch.Cols {
		attr := &batch.Schema.Attrs[i]
		if dst, err = e.column(dst, attr.Holds(), &batch.Cols[i], rows); err != nil {
			return dst, fmt.Errorf("attribute %s %s: %w", attr.Name, attr.Holds(), err)
		}
	}
	return dst, nil
}

// appendSchema appends the schema with its length first, so that a reader that has seen the
// same bytes before need not parse them.
func appendSchema(dst []byte, s *event.Schema) ([]byte, error) {
	if len(s.Attrs) > AttrsMax {
		return dst, fmt.Errorf("%w: %d attributes, limit %d", ErrTooLarge, len(s.Attrs), AttrsMax)
	}
	size := 1 + len(s.Name) + uvarintLen(len(s.Attrs))
	for i := range s.Attrs {
		size += 2 + len(s.Attrs[i].Name)
	}
	dst = binary.AppendUvarint(dst, uint64(size))
	dst, err := appendName(dst, s.Name)
	if err != nil {
		return dst, fmt.Errorf("stream: %w", err)
	}
	dst = binary.AppendUvarint(dst, uint64(len(s.Attrs)))
	for i := range s.Attrs {
		a := &s.Attrs[i]
		if !a.Type.Valid() || a.Held != 0 && !a.Held.Valid() {
			return dst, fmt.Errorf("%w: attribute %q of %s, holding %s", ErrInvalid, a.Name, a.Type, a.Held)
		}
		dst = append(dst, byte(a.Type)|byte(a.Held)<<4)
		if dst, err = appendName(dst, a.Name); err != nil {
			return dst, fmt.Errorf("attribute: %w", err)
		}
	}
	return dst, nil
}

func appendName(dst []byte, name string) ([]byte, error) {
	if name == "" || len(name) > NameBytesMax {
		return dst, fmt.Errorf("%w: name of %d bytes, allowed are 1 to %d", ErrInvalid, len(name), NameBytesMax)
	}
	return append(append(dst, byte(len(name))), name...), nil
}

func uvarintLen(n int) int {
	size := 1
	for ; n >= 0x80; n >>= 7 {
		size++
	}
	return size
}

func (e *Encoder) runs(dst []byte, runs []Run) ([]byte, error) {
	dst = binary.AppendUvarint(dst, uint64(len(runs)))
	last := 0
	for i := range runs {
		run := &runs[i]
		switch {
		case run.Block < 0 || run.Block >= len(e.left):
			return dst, fmt.Errorf("%w: run %d is of block %d, there are %d", ErrInvalid, i, run.Block, len(e.left))
		case run.Rows < 1 || run.Rows > e.left[run.Block]:
			return dst, fmt.Errorf("%w: run %d has %d rows, block %d has %d left", ErrInvalid, i, run.Rows, run.Block, e.left[run.Block])
		case max(len(run.ID), len(run.Header)) > TextBytesMax:
			return dst, fmt.Errorf("%w: id of %d and header of %d bytes, limit %d each", ErrTooLarge, len(run.ID), len(run.Header), TextBytesMax)
		}
		e.left[run.Block] -= run.Rows
		dst = appendRun(dst, run, last)
		last = run.Block
	}
	for i, left := range e.left {
		if left != 0 {
			return dst, fmt.Errorf("%w: no run has the last %d rows of block %d", ErrInvalid, left, i)
		}
	}
	return dst, nil
}

func appendRun(dst []byte, run *Run, lastBlock int) []byte {
	at := len(dst)
	dst = append(dst, 0)
	flags := byte(0)
	if run.Chunk {
		flags |= runIsChunk
	}
	if run.Block != lastBlock {
		flags |= runHasBlock
		dst = binary.AppendUvarint(dst, uint64(run.Block))
	}
	if run.Rows != 1 {
		flags |= runHasRows
		dst = binary.AppendUvarint(dst, uint64(run.Rows))
	}
	if run.ID != "" {
		flags |= runHasID
		dst = append(binary.AppendUvarint(dst, uint64(len(run.ID))), run.ID...)
	}
	if run.Header != "" {
		flags |= runHasHeader
		dst = append(binary.AppendUvarint(dst, uint64(len(run.Header))), run.Header...)
	}
	dst[at] = flags
	return dst
}
