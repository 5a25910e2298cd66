package engine

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// writersSource is the chain of frames as state: an entry for each writer. There are few,
// so Changed visits all of them.
type writersSource struct {
	chain  *frame.Chain
	loaded *[]frame.Entry
}

func newWritersSource(chain *frame.Chain) writersSource {
	return writersSource{chain: chain, loaded: new([]frame.Entry)}
}

// Changed implements state.Source.
func (c writersSource) Changed(visit func(key []byte)) { c.Keys(visit) }

// Keys implements state.Source.
func (c writersSource) Keys(visit func(key []byte)) {
	for _, e := range c.chain.Entries(nil) {
		visit(binary.BigEndian.AppendUint64(nil, e.Writer))
	}
}

// Append implements state.Source.
func (c writersSource) Append(dst, key []byte) ([]byte, bool) {
	if len(key) != 8 {
		return dst, false
	}
	e, ok := c.chain.Entry(binary.BigEndian.Uint64(key))
	if !ok {
		return dst, false
	}
	return window.WriteFields(dst, func(f *window.Fields) { writerFields(f, &e) }), true
}

func writerFields(f *window.Fields, e *frame.Entry) {
	crc := uint64(e.CRC)
	f.Uint(&e.Number)
	f.Uint(&crc)
	f.Require(crc <= math.MaxUint32, "a CRC of %x", crc)
	f.Uint(&e.Seq)
	e.CRC = uint32(crc)
}

// Reset implements state.Source.
func (c writersSource) Reset() {
	*c.loaded = nil
	_ = c.chain.Load(nil) // an empty list always fits
}

// Put implements state.Source.
func (c writersSource) Put(key, value []byte) error {
	if len(key) != 8 {
		return fmt.Errorf("writers: unknown key %x", key)
	}
	e := frame.Entry{Writer: binary.BigEndian.Uint64(key)}
	if err := window.ReadFields(value, func(f *window.Fields) { writerFields(f, &e) }); err != nil {
		return fmt.Errorf("writer %016x: %w", e.Writer, err)
	}
	*c.loaded = append(*c.loaded, e)
	return nil
}

// Ready implements state.Source.
func (c writersSource) Ready() error { return c.chain.Load(*c.loaded) }

// Bytes implements state.Source.
func (c writersSource) Bytes() int64 { return 64 * int64(len(c.chain.Entries(nil))) }
