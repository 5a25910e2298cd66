package frame

import (
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state/wire"
	"github.com/eventflux/eventflux/shared/testing/scribble"
)

// schemasMax bounds how many schemas a decoder remembers. An app has a few dozen streams;
// in a log with more, schemas are decoded again.
const schemasMax = 256

// spareBytesMax bounds the memory of a batch that is kept for the next frame, so
// that one giant frame does not hold its memory forever.
const spareBytesMax = 16 << 20

// shape is a schema that was seen before, with the memory of its blocks. A frame can have
// several blocks of one schema.
type shape struct {
	schema *event.Schema
	blocks []Block
	used   int // blocks in use by the current frame
}

// next returns memory for one more block of the current frame.
func (s *shape) next() *Block {
	if s.used == len(s.blocks) {
		s.blocks = append(s.blocks, Block{Batch: event.NewBatch(s.schema)})
	}
	b := &s.blocks[s.used]
	s.used++
	return b
}

// release frees the blocks of the last frame for the next one.
func (s *shape) release() {
	for i := range s.used {
		if b := &s.blocks[i]; cap(b.Arrived)*8+b.Batch.Bytes() > spareBytesMax {
			*b = Block{Batch: event.NewBatch(s.schema)}
		} else if scribble.On {
			b.Batch.Reset()
			scribble.Numbers(b.Arrived)
		}
	}
	s.used = 0
}

// shapeOf returns the remembered shape of encoded schema bytes.
func (d *Decoder) shapeOf(r *reader) *shape {
	encoded := r.Bytes(r.count("bytes of a schema", 1, RawBytesMax))
	if r.Failed() {
		return nil
	}
	if s := d.shapes[string(encoded)]; s != nil {
		return d.inUse(s)
	}
	inner := reader{Reader: wire.New(encoded)}
	schema := readSchema(&inner)
	if err := inner.End(); err != nil {
		r.StopIn(r.Offset()-len(encoded), err)
		return nil
	}
	if len(d.shapes) >= schemasMax {
		clear(d.shapes)
	}
	if d.shapes == nil {
		d.shapes = map[string]*shape{}
	}
	s := &shape{schema: schema}
	d.shapes[string(encoded)] = s
	return d.inUse(s)
}

func (d *Decoder) inUse(s *shape) *shape {
	if s.used == 0 {
		d.current = append(d.current, s)
	}
	return s
}

func readSchema(r *reader) *event.Schema {
	s := &event.Schema{Name: readName(r)}
	attrs := r.count("attributes", 0, min(AttrsMax, r.Len()/3)) // 3 bytes is the shortest
	s.Attrs = make([]event.Attr, 0, attrs)
	for range attrs {
		types := r.Byte()
		a := event.Attr{Type: event.Type(types & 15), Held: event.Type(types >> 4)}
		switch {
		case r.Failed():
		case a.Type == 0:
			r.Fail("attribute of type 0")
		case !a.Type.Valid() || a.Held != 0 && !a.Held.Valid():
			r.newer("an attribute of %s, holding %s, is not known", a.Type, a.Held)
		}
		a.Name = readName(r)
		s.Attrs = append(s.Attrs, a)
	}
	return s
}

func readName(r *reader) string {
	size := int(r.Byte())
	if size == 0 {
		r.Fail("empty name")
	}
	return string(r.Bytes(size))
}
