package siddhiql

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowavro"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
)

// ResultReader reads results in a Format. It keeps its memory from call to call, and is not safe
// for concurrent use.
type ResultReader struct {
	read    rowDecoder
	message *event.Batch // as the message has the row
	row     *event.Batch // with the types of the stream
}

// rowDecoder reads messages of a source.
type rowDecoder interface {
	Rows(b *event.Batch, payload []byte, ts int64) (accepted int, refused []rowjson.Refused)
}

// Reader returns a reader of the results of a stream, whose Format it is. It fails if a message
// does not tell the values of an attribute, as of an Avro union whose other branches do not fit.
func (f *Format) Reader(s *Stream) (*ResultReader, error) {
	types := &event.Schema{Name: s.Name}
	message := &event.Schema{Name: s.Name}
	for i, a := range s.Schema.Attrs {
		held := event.Attr{Name: a.Name, Type: a.Holds()}
		types.Attrs = append(types.Attrs, held)
		var failed error
		wide := slices.IndexFunc(wider(held.Type), func(t event.Type) bool {
			err := f.resolve(i, t)
			if failed == nil {
				failed = err
			}
			return err == nil
		})
		if wide < 0 {
			return nil, fmt.Errorf("attribute %s cannot be read from messages of type %s: %w", a.Name, f.Name, failed)
		}
		message.Attrs = append(message.Attrs, event.Attr{Name: a.Name, Type: wider(held.Type)[wide]})
	}
	return &ResultReader{f.decoder(message), event.NewBatch(message), event.NewBatch(types)}, nil
}

// wider returns the types of fields that hold every value of a type, which is the first.
func wider(t event.Type) []event.Type {
	switch t {
	case event.Int:
		return []event.Type{event.Int, event.Long, event.Double}
	case event.Float:
		return []event.Type{event.Float, event.Double}
	}
	return []event.Type{t}
}

// resolve returns an error unless attribute i can be read as a type.
func (f *Format) resolve(i int, t event.Type) error {
	if f.proto != nil {
		files, err := rowproto.ReadFiles([]byte(f.proto.Descriptors))
		if err != nil {
			return err
		}
		_, err = rowproto.Resolve(files.Message(f.proto.Message), f.proto.Attrs[i], t)
		return err
	}
	schema, err := rowavro.ReadSchema(f.avro.Schema)
	if err != nil {
		return err
	}
	return schema.Resolve(f.avro.Attrs[i], t)
}

func (f *Format) decoder(s *event.Schema) rowDecoder {
	if f.proto != nil {
		m := *f.proto
		m.NotFinite = true
		return rowproto.New(s, &m)
	}
	m := *f.avro
	m.NotFinite = true
	return rowavro.New(s, &m)
}

// AppendJSON appends the row of a message to dst, as results in JSON have it.
func (r *ResultReader) AppendJSON(dst, message []byte) ([]byte, error) {
	r.message.Reset()
	r.row.Reset()
	if n, refused := r.read.Rows(r.message, message, 0); n != 1 {
		return dst, refused[0].Err
	}
	for i := range r.row.Cols {
		from, to := &r.message.Cols[i], &r.row.Cols[i]
		switch {
		case from.IsNull(0):
			to.AppendNull()
		case from.Type == event.Double && to.Type == event.Int:
			to.AppendInt(int64(from.Floats[0]))
		default:
			to.AppendFrom(from, 0)
		}
	}
	r.row.TS = append(r.row.TS, 0)
	return rowjson.AppendObject(dst, r.row, 0), nil
}
