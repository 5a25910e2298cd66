package rowavro

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// depthMax bounds values inside each other: a type may contain itself.
const depthMax = 200

// Decoder reads rows of one schema. It keeps its memory from call to call, and is not safe
// for concurrent use.
type Decoder struct {
	schema *event.Schema
	check  func(b *event.Batch) *rowjson.RowError // checks the last row of b; nil: every row is accepted
	name   string                                 // of the record
	root   *node
	attrs  []*value
	values []*value // each once
	header []byte   // of each payload

	// Of the current message:
	payload []byte
	at      int
	depth   int
}

// New returns a decoder of rows of s. A mapping that is wrong makes it panic: the deploy has
// checked it.
func New(s *event.Schema, m *Mapping) *Decoder {
	schema, err := ReadSchema(m.Schema)
	if err != nil {
		panic(err)
	}
	d := &Decoder{schema: s, name: fullName(schema.root)}
	byPath := map[string]*value{}
	var wants []want
	for i, a := range s.Attrs {
		if err := schema.Resolve(m.Attrs[i], a.Type); err != nil {
			panic(err)
		}
		v := byPath[m.Attrs[i].String()]
		if v == nil {
			v = &value{notFinite: m.NotFinite}
			byPath[m.Attrs[i].String()] = v
			wants = append(wants, want{m.Attrs[i], v})
			d.values = append(d.values, v)
		}
		d.attrs = append(d.attrs, v)
	}
	if m.SingleObject {
		d.header = schema.header[:]
	}
	b := &builder{schema: schema, skipped: map[string]*node{}}
	d.root = b.read(schema.root, "", wants)
	return d
}

// Ignored returns 0: a schema says which fields there are.
func (d *Decoder) Ignored() uint64 { return 0 }

// Check sets a function that checks every further row once it is read. It may change the
// row's timestamp, the last of the batch. If it returns an error, the row is refused.
func (d *Decoder) Check(check func(b *event.Batch) *rowjson.RowError) { d.check = check }

// Rows appends the row of payload to b, a batch of the decoder's schema, with timestamp ts
// (ms). A refused row leaves nothing in b. The payload is not kept.
func (d *Decoder) Rows(b *event.Batch, payload []byte, ts int64) (accepted int, refused []rowjson.Refused) {
	before := b.Len()
	d.payload, d.at, d.depth = payload, 0, 0
	for _, v := range d.values {
		v.node = nil
	}
	err := d.start()
	if err == nil {
		err = d.read(d.root)
	}
	if err == nil && d.at < len(payload) {
		err = d.malformed(d.root, strconv.Itoa(len(payload)-d.at)+" bytes follow the record")
	}
	if err == nil {
		err = d.row(b)
	}
	if err == nil {
		b.TS = append(b.TS, ts)
		if d.check != nil {
			err = d.check(b)
		}
	}
	if err != nil {
		b.Truncate(before)
		return 0, []rowjson.Refused{{End: len(payload), Err: err}}
	}
	return 1, nil
}

// start reads the header.
func (d *Decoder) start() *rowjson.RowError {
	d.at = len(d.header)
	switch {
	case bytes.HasPrefix(d.payload, d.header):
		return nil
	case len(d.payload) < len(d.header) || !bytes.HasPrefix(d.payload, d.header[:2]):
		d.at = 0
		return d.malformed(d.root, "it does not start with the bytes c3 01 and a fingerprint of 8 bytes (single-object encoding)")
	}
	d.at = 2
	return d.malformed(d.root, fmt.Sprintf("the message has the fingerprint %x, and the schema %x: the publisher uses another schema", d.payload[2:len(d.header)], d.header[2:]))
}

// read reads a value, or skips it.
func (d *Decoder) read(n *node) *rowjson.RowError {
	var bits uint64
	var data []byte
	ok := true
	switch n.kind {
	case null:
		return nil
	case record:
		return d.record(n)
	case array:
		return d.items(n)
	case union:
		return d.branch(n)
	case boolean:
		data, ok = d.take(1)
		if ok {
			bits = uint64(data[0])
			if bits > 1 {
				return d.malformed(n, fmt.Sprintf("found a boolean of %d", bits))
			}
		}
	case integer, long, enum:
		var v int64
		v, ok = d.varint()
		if ok && n.kind != long && v != int64(int32(v)) {
			return d.malformed(n, fmt.Sprintf("%d is no int", v))
		}
		if ok && n.kind == enum && (v < 0 || v >= int64(len(n.symbols))) {
			return d.malformed(n, fmt.Sprintf("found symbol %d of an enum of %d", v, len(n.symbols)))
		}
		bits = uint64(v)
	case float:
		if data, ok = d.take(4); ok {
			bits = uint64(binary.LittleEndian.Uint32(data))
		}
	case double:
		if data, ok = d.take(8); ok {
			bits = binary.LittleEndian.Uint64(data)
		}
	case fixed:
		data, ok = d.take(int64(n.size))
	default:
		var size int64
		if size, ok = d.varint(); ok {
			data, ok = d.take(size)
		}
	}
	if !ok {
		return d.malformed(n, "the value does not end")
	}
	if n.value != nil {
		*n.value = value{kind: n.kind, bits: bits, text: data, node: n, notFinite: n.value.notFinite}
	}
	return nil
}

// varint reads a whole number.
func (d *Decoder) varint() (int64, bool) {
	v, size := binary.Uvarint(d.payload[d.at:])
	if size <= 0 {
		return 0, false
	}
	d.at += size
	return int64(v>>1) ^ -int64(v&1), true
}

// take returns the next n bytes.
func (d *Decoder) take(n int64) ([]byte, bool) {
	if n < 0 || n > int64(len(d.payload)-d.at) {
		return nil, false
	}
	data := d.payload[d.at : d.at+int(n)]
	d.at += int(n)
	return data, true
}

func (d *Decoder) record(n *node) *rowjson.RowError {
	if d.depth++; d.depth > depthMax {
		return &rowjson.RowError{Problem: rowjson.TooDeep, Expected: fmt.Sprintf("at most %d levels of records", depthMax), Found: "more"}
	}
	for _, f := range n.inside {
		if err := d.read(f); err != nil {
			return err
		}
	}
	d.depth--
	return nil
}

func (d *Decoder) branch(n *node) *rowjson.RowError {
	if d.depth++; d.depth > depthMax {
		return &rowjson.RowError{Problem: rowjson.TooDeep, Expected: fmt.Sprintf("at most %d levels of records", depthMax), Found: "more"}
	}
	i, ok := d.varint()
	if !ok || i < 0 || i >= int64(len(n.inside)) {
		return d.malformed(n, fmt.Sprintf("found branch %d of a union of %d", i, len(n.inside)))
	}
	err := d.read(n.inside[i])
	d.depth--
	return err
}

// items skips an array or a map. Its time is bounded by the bytes of the payload.
func (d *Decoder) items(n *node) *rowjson.RowError {
	if d.depth++; d.depth > depthMax {
		return &rowjson.RowError{Problem: rowjson.TooDeep, Expected: fmt.Sprintf("at most %d levels of records", depthMax), Found: "more"}
	}
	for {
		count, ok := d.varint()
		if ok && count == 0 {
			d.depth--
			return nil
		}
		if ok && count < 0 { // the size of the block follows
			var size int64
			if size, ok = d.varint(); ok {
				_, ok = d.take(size)
			}
			if ok {
				continue
			}
		}
		if !ok {
			return d.malformed(n, "the value does not end")
		}
		if n.inside[0].empty && !n.keyed {
			continue
		}
		for range count { // each takes at least a byte
			if n.keyed {
				size, ok := d.varint()
				if ok {
					_, ok = d.take(size)
				}
				if !ok {
					return d.malformed(n, "a key does not end")
				}
			}
			if err := d.read(n.inside[0]); err != nil {
				return err
			}
		}
	}
}

// malformed says where and why the payload is no record.
func (d *Decoder) malformed(n *node, why string) *rowjson.RowError {
	at := fmt.Sprintf("byte %d of %d", d.at, len(d.payload))
	if n.name != "" {
		at = "field " + n.name + " before " + at
	}
	return &rowjson.RowError{Problem: rowjson.Malformed, Expected: "a record " + d.name + " in Avro's binary encoding", Found: at + ": " + why}
}

// row appends the values of the current payload. When it fails, columns may be left longer
// than others.
func (d *Decoder) row(b *event.Batch) *rowjson.RowError {
	for i, v := range d.attrs {
		if err := v.append(&b.Cols[i]); err != nil {
			err.Attr = d.schema.Attrs[i].Name
			return err
		}
	}
	return nil
}

// append appends the value to a column.
func (v *value) append(c *event.Column) *rowjson.RowError {
	if v.node == nil {
		c.AppendNull()
		return nil
	}
	switch v.kind {
	case boolean:
		c.AppendInt(int64(v.bits))
	case integer, long:
		if c.Type == event.Double {
			c.AppendFloat(float64(int64(v.bits)))
		} else {
			c.AppendInt(int64(v.bits))
		}
	case float:
		return v.float(c, float64(math.Float32frombits(uint32(v.bits))))
	case double:
		return v.float(c, math.Float64frombits(v.bits))
	case enum:
		c.AppendText(v.node.symbols[v.bits])
	case text:
		if !utf8.Valid(v.text) {
			return &rowjson.RowError{Problem: rowjson.BadUnicode, Expected: "UTF-8", Found: "invalid bytes in " + rowjson.Quoted(string(v.text))}
		}
		c.AppendText(unsafe.String(unsafe.SliceData(v.text), len(v.text))) // which copies it
	default:
		c.Bytes = base64.StdEncoding.AppendEncode(c.Bytes, v.text)
		c.Ends = append(c.Ends, uint32(len(c.Bytes)))
	}
	return nil
}

func (v *value) float(c *event.Column, x float64) *rowjson.RowError {
	if !v.notFinite && (math.IsNaN(x) || math.IsInf(x, 0)) {
		return &rowjson.RowError{Problem: rowjson.OutOfRange, Expected: "a finite number", Found: strconv.FormatFloat(x, 'g', -1, 64)}
	}
	c.AppendFloat(x)
	return nil
}
