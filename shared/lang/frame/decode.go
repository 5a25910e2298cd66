package frame

import (
	"encoding/binary"
	"math"
	"unsafe"

	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/wire"
	"github.com/eventflux/eventflux/shared/testing/scribble"
)

// Decoder decodes frames into memory that it reuses. The zero value is ready; it is not
// safe for concurrent use.
type Decoder struct {
	frame   Frame
	raw     []byte // the payload after decompression
	texts   []byte // ids and headers of runs
	ints    []int64
	starts  []uint32 // where the texts of a dictionary start
	words   []uint64 // these texts, if none is longer than a word
	nulls   []uint64
	left    []int // rows of each block that no run has consumed yet
	shapes  map[string]*shape
	current []*shape // those that the frame has
	lent    []byte   // the copy of a frame that is decoded if scribbling is on
}

// Decode returns the frame that src holds and nothing else. The frame is valid until the
// next call and shares no memory with src; copy rows, ids or headers to keep them longer.
// Schemas are the same pointers as long as the log has no more than a few hundred of them.
//
// Bytes that are not a frame are a *CorruptError, which is ErrCorrupt and may be ErrTorn; a
// frame of a newer version is ErrVersion. A Decoder can be used again after an error.
func (d *Decoder) Decode(src []byte) (*Frame, error) {
	d.release()
	if scribble.On {
		d.lent = append(d.lent[:0], src...)
		src = d.lent
		defer scribble.Bytes(src)
	}
	e, err := open(src)
	if err != nil {
		return nil, err
	}
	raw, err := d.payload(&e)
	if err != nil {
		return nil, err
	}
	f := &d.frame
	app := f.App
	f.Header, f.CRC = e.header, e.crc
	if f.App = app; app != string(e.app) {
		f.App = string(e.app)
	}
	r := reader{wire.New(raw), DecodedBytesMax}
	switch f.Kind {
	case Events:
		d.events(&r)
	case Barrier:
		f.Cut = readCut(&r)
	case Deploy:
		f.Deploy = readVersion(&r)
	case Tick:
		if f.HasClock = e.version > 1 && r.Len() > 0; f.HasClock {
			f.Clock = int64(r.Uint64())
		}
	}
	if r.End() != nil {
		return nil, r.corruption()
	}
	return f, nil
}

// release takes back the memory of the previous frame.
func (d *Decoder) release() {
	for _, s := range d.current {
		s.release()
	}
	d.current = d.current[:0]
	d.texts = d.texts[:0]
	f := &d.frame
	if scribble.On {
		for i := range f.Runs { // d.texts may have moved since the first of them
			scribble.Bytes(unsafe.Slice(unsafe.StringData(f.Runs[i].ID), len(f.Runs[i].ID)))
			scribble.Bytes(unsafe.Slice(unsafe.StringData(f.Runs[i].Header), len(f.Runs[i].Header)))
		}
	}
	clear(f.Blocks)
	f.Blocks, f.Runs, f.Cut, f.Deploy = f.Blocks[:0], f.Runs[:0], Cut{}, Version{}
	f.HasClock, f.Clock = false, 0
}

// payload returns the raw payload. If it is not compressed, it is a part of src, because
// the decoder copies everything that it keeps.
func (d *Decoder) payload(e *envelope) ([]byte, error) {
	if e.codec == compress.None {
		if len(e.payload) != e.rawLen {
			return nil, corrupt(offsetRawLen, "payload of %d bytes, declared are %d", len(e.payload), e.rawLen)
		}
		return e.payload, nil
	}
	scribble.Bytes(d.raw)
	raw, err := e.codec.Decompress(d.raw[:0], e.payload, e.rawLen)
	if err != nil {
		return nil, corrupt(headerBytes+len(e.app), "payload: %v", err)
	}
	d.raw = raw
	return raw, nil
}

func readCut(r *reader) Cut {
	b := r.Bytes(8 + 8 + 16)
	if r.Failed() {
		return Cut{}
	}
	c := Cut{Epoch: binary.LittleEndian.Uint64(b), Term: binary.LittleEndian.Uint64(b[8:]), ID: [16]byte(b[16:])}
	if c.Epoch == 0 || c.Term == 0 || c.ID == [16]byte{} {
		r.Fail("barrier with epoch %d, term %d, id %x; none of them can be zero", c.Epoch, c.Term, c.ID)
	}
	return c
}

// readVersion copies the texts: there are few of them, and their readers keep them.
func readVersion(r *reader) Version {
	v := Version{
		Number: uint32(r.count("as the number of an app's version", 1, math.MaxUint32)),
		Level:  uint32(r.count("as a semantics level", 1, math.MaxUint32)),
	}
	v.Build = string(r.Bytes(r.count("bytes of a build's name", 1, NameBytesMax)))
	v.Settings = string(r.Bytes(r.count("bytes of settings", 1, SettingsBytesMax)))
	v.Text = string(r.Bytes(r.count("bytes of an app's text", 1, AppBytesMax)))
	if r.Len() > 0 {
		v.Change = string(r.Bytes(r.count("bytes of a change", 1, ChangeBytesMax)))
	}
	return v
}

func (d *Decoder) events(r *reader) {
	blocks := r.count("blocks", 1, BlocksMax)
	rows := 0
	d.left = d.left[:0]
	for range blocks {
		n := d.block(r, RowsMax-rows)
		if r.Failed() {
			return
		}
		rows += n
		d.left = append(d.left, n)
	}
	d.runs(r, rows)
}

// block reads one block and returns its number of rows.
func (d *Decoder) block(r *reader, rowsMax int) int {
	s := d.shapeOf(r)
	if r.Failed() {
		return 0
	}
	rows := r.count("rows", 1, rowsMax)
	if !r.reserve(cellBytes(rows, len(s.schema.Attrs))) {
		return 0
	}
	b := s.next()
	b.Batch.TS = resize(b.Batch.TS, rows)
	r.ints(b.Batch.TS)
	if b.Arrived = b.Arrived[:0]; r.present() {
		b.Arrived = resize(b.Arrived, rows)
		r.ints(b.Arrived)
	}
	for i := range b.Batch.Cols {
		if r.Failed() {
			break
		}
		d.column(r, s.schema.Attrs[i].Holds(), &b.Batch.Cols[i], rows)
	}
	d.frame.Blocks = append(d.frame.Blocks, *b)
	return rows
}

// present reads whether an optional part follows.
func (r *reader) present() bool {
	b := r.Byte()
	if !r.Failed() && b != absent && b != present {
		r.Fail("%d where %d (absent) or %d (present) is expected", b, absent, present)
	}
	return b == present && !r.Failed()
}

func (d *Decoder) runs(r *reader, rows int) {
	runs := r.count("runs", 1, min(rows, r.Len())) // each takes a byte or more
	d.frame.Runs = resize(d.frame.Runs, runs)
	last := 0
	for i := range d.frame.Runs {
		run := &d.frame.Runs[i]
		*run = d.run(r, last)
		if r.Failed() {
			return
		}
		if run.Rows > d.left[run.Block] {
			r.Fail("run %d has %d rows, block %d has %d left", i, run.Rows, run.Block, d.left[run.Block])
			return
		}
		d.left[run.Block] -= run.Rows
		last = run.Block
	}
	for i, left := range d.left {
		if left != 0 {
			r.Fail("no run has the last %d rows of block %d", left, i)
			return
		}
	}
}

func (d *Decoder) run(r *reader, lastBlock int) Run {
	flags := r.Byte()
	if flags&^runFlags != 0 {
		r.Fail("flags %#x of a run", flags)
	}
	run := Run{Block: lastBlock, Rows: 1, Chunk: flags&runIsChunk != 0}
	if flags&runHasBlock != 0 {
		if run.Block = r.count("as the number of a block", 0, len(d.left)-1); !r.Failed() && run.Block == lastBlock {
			r.Fail("block %d is named again", lastBlock)
		}
	}
	if flags&runHasRows != 0 {
		run.Rows = r.count("rows of a run", 2, RowsMax)
	}
	if flags&runHasID != 0 {
		run.ID = d.text(r)
	}
	if flags&runHasHeader != 0 {
		run.Header = d.text(r)
	}
	return run
}

// text copies an id or header to memory that lasts as long as the frame.
func (d *Decoder) text(r *reader) string {
	b := r.Bytes(r.count("bytes of an id or header", 1, TextBytesMax))
	start := len(d.texts)
	d.texts = append(d.texts, b...)
	kept := d.texts[start:]
	return unsafe.String(unsafe.SliceData(kept), len(kept))
}
