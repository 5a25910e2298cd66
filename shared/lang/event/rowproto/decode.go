package rowproto

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// Decoder reads rows of one schema. It keeps its memory from call to call, and is not safe
// for concurrent use.
type Decoder struct {
	schema  *event.Schema
	check   func(b *event.Batch) *rowjson.RowError // checks the last row of b; nil: every row is accepted
	ignored uint64                                 // rows with fields that the descriptors lack
	name    string                                 // of the message
	root    *node
	attrs   []attr

	// Of the current message:
	payload []byte
	unknown bool
}

// node is a message on the way to attributes, at one path.
type node struct {
	seen   bool     // in the current payload
	dense  []*field // by number
	sparse map[protowire.Number]*field
	values []*value
	inside []*node
}

// field is a field of a node.
type field struct {
	wire   protowire.Type
	name   string
	value  *value // it is an attribute
	inside *node  // it leads to attributes
	// clears has the other members of its oneof.
	clears []*field
}

// value is a field that an attribute reads.
type value struct {
	set  bool   // in the current payload
	bits uint64 // as in the wire format
	text []byte
}

// denseMax is the largest field number that is found without a hash.
const denseMax = 255

// New returns a decoder of rows of s. A mapping that is wrong makes it panic: the deploy has
// checked it.
func New(s *event.Schema, m *Mapping) *Decoder {
	files, err := ReadFiles([]byte(m.Descriptors))
	if err != nil {
		panic(err)
	}
	message := files.Message(m.Message)
	d := &Decoder{schema: s, name: m.Message, root: newNode(message)}
	for i, a := range s.Attrs {
		fields, err := Resolve(message, m.Attrs[i], a.Type)
		if err != nil {
			panic(err)
		}
		d.attrs = append(d.attrs, d.root.attr(fields, a))
		d.attrs[i].notFinite = m.NotFinite
	}
	return d
}

func newNode(m protoreflect.MessageDescriptor) *node {
	n := &node{sparse: map[protowire.Number]*field{}}
	fields := m.Fields()
	byNumber := map[protowire.Number]*field{}
	for i := range fields.Len() {
		fd := fields.Get(i)
		f := &field{wire: wireOf(fd), name: string(fd.Name())}
		byNumber[fd.Number()] = f
		if fd.Number() <= denseMax {
			for len(n.dense) <= int(fd.Number()) {
				n.dense = append(n.dense, nil)
			}
			n.dense[fd.Number()] = f
		} else {
			n.sparse[fd.Number()] = f
		}
	}
	for i := range m.Oneofs().Len() {
		members := m.Oneofs().Get(i).Fields()
		for k := range members.Len() {
			for j := range members.Len() {
				if j != k {
					f := byNumber[members.Get(k).Number()]
					f.clears = append(f.clears, byNumber[members.Get(j).Number()])
				}
			}
		}
	}
	return n
}

func (n *node) field(num protowire.Number) *field {
	if num <= denseMax {
		if int(num) < len(n.dense) {
			return n.dense[num]
		}
		return nil
	}
	return n.sparse[num]
}

// valueOf returns what an attribute reads of a field of n.
func (n *node) valueOf(fd protoreflect.FieldDescriptor) *value {
	f := n.field(fd.Number())
	if f.value == nil {
		f.value = &value{}
		n.values = append(n.values, f.value)
	}
	return f.value
}

// nodeOf returns the message of a field of n.
func (n *node) nodeOf(fd protoreflect.FieldDescriptor) *node {
	f := n.field(fd.Number())
	if f.inside == nil {
		f.inside = newNode(fd.Message())
		n.inside = append(n.inside, f.inside)
	}
	return f.inside
}

func wireOf(fd protoreflect.FieldDescriptor) protowire.Type {
	switch fd.Kind() {
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind, protoreflect.FloatKind:
		return protowire.Fixed32Type
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind, protoreflect.DoubleKind:
		return protowire.Fixed64Type
	case protoreflect.StringKind, protoreflect.BytesKind, protoreflect.MessageKind:
		return protowire.BytesType
	case protoreflect.GroupKind:
		return protowire.StartGroupType
	}
	return protowire.VarintType
}

// Ignored returns how many rows had fields that the descriptors lack.
func (d *Decoder) Ignored() uint64 { return d.ignored }

// Check sets a function that checks every further row once it is read. It may change the
// row's timestamp, the last of the batch. If it returns an error, the row is refused.
func (d *Decoder) Check(check func(b *event.Batch) *rowjson.RowError) { d.check = check }

// Rows appends the row of payload to b, a batch of the decoder's schema, with timestamp ts
// (ms). A refused row leaves nothing in b. The payload is not kept.
func (d *Decoder) Rows(b *event.Batch, payload []byte, ts int64) (accepted int, refused []rowjson.Refused) {
	before := b.Len()
	d.payload, d.unknown = payload, false
	d.root.clear()
	err := d.message(d.root, payload)
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
	if d.unknown {
		d.ignored++
	}
	return 1, nil
}

// clear forgets the values of a node and of those inside.
func (n *node) clear() {
	n.seen = false
	for _, v := range n.values {
		v.set = false
	}
	for _, i := range n.inside {
		if i.seen {
			i.clear()
		}
	}
}

// message reads a message, or the next part of one: of a field that is set twice, the last
// value counts, and messages are merged.
func (d *Decoder) message(n *node, data []byte) *rowjson.RowError {
	n.seen = true
	for len(data) > 0 {
		num, wire, size := protowire.ConsumeTag(data)
		if size < 0 {
			return d.malformed(data, "a field", size)
		}
		data = data[size:]
		f := n.field(num)
		if f == nil {
			d.unknown = true
		}
		if f == nil || wire != f.wire || f.value == nil && f.inside == nil && f.clears == nil {
			if size = protowire.ConsumeFieldValue(num, wire, data); size < 0 {
				return d.malformed(data, nameOf(f, num), size)
			}
			data = data[size:]
			continue
		}
		for _, o := range f.clears {
			o.clear()
		}
		size, err := d.field(f, num, data)
		if err != nil {
			return err
		}
		data = data[size:]
	}
	return nil
}

func (f *field) clear() {
	if f.value != nil {
		f.value.set = false
	}
	if f.inside != nil {
		f.inside.clear()
	}
}

// field reads the value of a field, and returns its length.
func (d *Decoder) field(f *field, num protowire.Number, data []byte) (size int, err *rowjson.RowError) {
	var bits uint64
	var text []byte
	switch f.wire {
	case protowire.VarintType:
		bits, size = protowire.ConsumeVarint(data)
	case protowire.Fixed32Type:
		var v uint32
		v, size = protowire.ConsumeFixed32(data)
		bits = uint64(v)
	case protowire.Fixed64Type:
		bits, size = protowire.ConsumeFixed64(data)
	case protowire.BytesType:
		text, size = protowire.ConsumeBytes(data)
	default:
		text, size = protowire.ConsumeGroup(num, data)
	}
	if size < 0 {
		return 0, d.malformed(data, nameOf(f, num), size)
	}
	if f.value != nil {
		*f.value = value{set: true, bits: bits, text: text}
	}
	if f.inside != nil {
		return size, d.message(f.inside, text)
	}
	return size, nil
}

func nameOf(f *field, num protowire.Number) string {
	if f == nil {
		return fmt.Sprintf("field %d", num)
	}
	return "field " + f.name
}

// malformed says where and why the payload is not a message.
func (d *Decoder) malformed(rest []byte, what string, code int) *rowjson.RowError {
	reason := strings.ReplaceAll(protowire.ParseError(code).Error(), "\u00a0", " ")
	reason = strings.TrimPrefix(reason, "proto: ")
	at := cap(d.payload) - cap(rest)
	return &rowjson.RowError{
		Problem: rowjson.Malformed, Expected: "a message " + d.name,
		Found: fmt.Sprintf("%s at byte %d of %d: %s", what, at, len(d.payload), reason),
	}
}
