package view

import (
	"bytes"
	"slices"
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
)

// rowReader reads the rows of results, and the key of each. Results may be those of an earlier version
// of the app: an attribute that they lack is null.
type rowReader struct {
	tokens  []subject.Token
	columns []int // by token: of keys; -1: none
	number  string
	keys    *event.Batch // the attributes of the key
	decoder *rowjson.Decoder
	packed  bool
	text    []byte
	value   []byte
}

func newRowReader(s *siddhiql.Stream, partition uint32) *rowReader {
	v := s.Sink.View
	r := &rowReader{tokens: v.Key.Tokens, number: strconv.FormatUint(uint64(partition), 10), packed: s.Sink.Packed}
	schema := &event.Schema{Name: s.Name}
	for _, attr := range v.Attrs {
		column := -1
		if attr >= 0 {
			a := s.Schema.Attrs[attr]
			if column = slices.IndexFunc(schema.Attrs, func(b event.Attr) bool { return a.Name == b.Name }); column < 0 {
				column = len(schema.Attrs)
				schema.Attrs = append(schema.Attrs, a)
			}
		}
		r.columns = append(r.columns, column)
	}
	r.keys = event.NewBatch(schema)
	if len(schema.Attrs) > 0 {
		r.decoder = rowjson.NewMapped(schema, rowjson.Mapping{Optional: true})
	}
	return r
}

// each hands over the rows of a message, with their keys. Earlier versions of the app may have
// packed them. It returns how many rows have no key, because an attribute of it has another type.
func (r *rowReader) each(data []byte, see func(key string, row []byte)) (unkeyed int) {
	for len(data) > 0 {
		row := data
		if i := bytes.IndexByte(data, '\n'); i >= 0 {
			row, data = data[:i], data[i+1:]
		} else {
			data = nil
		}
		if key, ok := r.key(row); ok {
			see(key, row)
		} else {
			unkeyed++
		}
	}
	return unkeyed
}

// key returns the key of a row.
func (r *rowReader) key(row []byte) (string, bool) {
	if r.decoder != nil {
		r.keys.Reset()
		if n, _ := r.decoder.Rows(r.keys, row, 0); n != 1 {
			return "", false
		}
	}
	r.text = r.text[:0]
	for i, token := range r.tokens {
		if i > 0 {
			r.text = append(r.text, '.')
		}
		switch c := r.columns[i]; {
		case c >= 0 && r.keys.Cols[c].IsNull(0):
			r.text = subject.AppendKeyNull(r.text)
		case c >= 0:
			r.value = rowjson.AppendText(r.value[:0], &r.keys.Cols[c], 0)
			r.text = subject.AppendKeyToken(r.text, r.value)
		case token.Placeholder == subject.PartitionName:
			r.text = append(r.text, r.number...)
		default:
			r.text = append(r.text, token.Word...)
		}
	}
	return string(r.text), true
}
