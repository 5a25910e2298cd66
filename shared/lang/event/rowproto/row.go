package rowproto

import (
	"encoding/base64"
	"math"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
)

// attr is where an attribute comes from.
type attr struct {
	event.Attr
	parent *node // of the field
	value  *value
	nanos  *value // of a Timestamp, whose seconds value has
	kind   protoreflect.Kind
	enum   map[uint64]string // names by value as in the wire format
	// Of a field that is not set, while its message is: whether it is null, or required, or
	// else its value.
	presence, required bool
	def                value
	notFinite          bool // NaN and infinities are accepted
}

// attr finds what an attribute reads: the last of fields, a path from n.
func (n *node) attr(fields []protoreflect.FieldDescriptor, a event.Attr) attr {
	for _, f := range fields[:len(fields)-1] {
		n = n.nodeOf(f)
	}
	last := fields[len(fields)-1]
	out := attr{Attr: a, parent: n, kind: last.Kind(), presence: last.HasPresence() && !last.HasDefault()}
	if m := last.Message(); m != nil { // a Timestamp
		inside := n.nodeOf(last)
		out.parent, out.presence = inside, false
		out.value = inside.valueOf(m.Fields().ByName("seconds"))
		out.nanos = inside.valueOf(m.Fields().ByName("nanos"))
		return out
	}
	out.required = last.Cardinality() == protoreflect.Required
	out.value = n.valueOf(last)
	if e := last.Enum(); e != nil {
		out.enum = map[uint64]string{}
		for i := e.Values().Len() - 1; i >= 0; i-- { // of aliases, the first
			v := e.Values().Get(i)
			out.enum[uint64(int64(v.Number()))] = string(v.Name())
		}
	}
	out.def = defaultOf(last)
	return out
}

// defaultOf returns a field's value if it is not set.
func defaultOf(f protoreflect.FieldDescriptor) value {
	v := value{set: true}
	switch d := f.Default(); f.Kind() {
	case protoreflect.BoolKind:
		v.bits = protowire.EncodeBool(d.Bool())
	case protoreflect.EnumKind:
		v.bits = uint64(int64(d.Enum()))
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		v.bits = protowire.EncodeZigZag(d.Int())
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Sfixed64Kind:
		v.bits = uint64(d.Int())
	case protoreflect.Sfixed32Kind:
		v.bits = uint64(uint32(d.Int()))
	case protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.Fixed32Kind, protoreflect.Fixed64Kind:
		v.bits = d.Uint()
	case protoreflect.FloatKind:
		v.bits = uint64(math.Float32bits(float32(d.Float())))
	case protoreflect.DoubleKind:
		v.bits = math.Float64bits(d.Float())
	case protoreflect.StringKind:
		v.text = []byte(d.String())
	case protoreflect.BytesKind:
		v.text = d.Bytes()
	}
	return v
}

// row appends the values of the current payload. When it fails, columns may be left longer
// than others.
func (d *Decoder) row(b *event.Batch) *rowjson.RowError {
	for i := range d.attrs {
		a := &d.attrs[i]
		c := &b.Cols[i]
		v := a.value
		switch {
		case v.set:
		case a.required:
			return &rowjson.RowError{Problem: rowjson.Missing, Attr: a.Name, Expected: a.Type.String(), Found: "no value of a required field"}
		case !a.parent.seen || a.presence:
			c.AppendNull()
			continue
		default:
			v = &a.def
		}
		if err := a.append(c, v); err != nil {
			err.Attr = a.Name
			return err
		}
	}
	return nil
}

// append appends a value to the column of the attribute.
func (a *attr) append(c *event.Column, v *value) *rowjson.RowError {
	switch a.kind {
	case protoreflect.StringKind:
		if !utf8.Valid(v.text) {
			return &rowjson.RowError{Problem: rowjson.BadUnicode, Expected: "UTF-8", Found: "invalid bytes in " + rowjson.Quoted(string(v.text))}
		}
		c.AppendText(unsafe.String(unsafe.SliceData(v.text), len(v.text))) // which copies it
	case protoreflect.BytesKind:
		c.Bytes = base64.StdEncoding.AppendEncode(c.Bytes, v.text)
		c.Ends = append(c.Ends, uint32(len(c.Bytes)))
	case protoreflect.FloatKind:
		return a.float(c, float64(math.Float32frombits(uint32(v.bits))))
	case protoreflect.DoubleKind:
		return a.float(c, math.Float64frombits(v.bits))
	case protoreflect.EnumKind:
		n := int64(int32(v.bits))
		if c.Type != event.String {
			c.AppendInt(n)
		} else if name, ok := a.enum[uint64(n)]; ok {
			c.AppendText(name)
		} else {
			c.Bytes = strconv.AppendInt(c.Bytes, n, 10)
			c.Ends = append(c.Ends, uint32(len(c.Bytes)))
		}
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return a.timestamp(c, v)
	case protoreflect.BoolKind:
		c.AppendBool(protowire.DecodeBool(v.bits))
	default:
		n, ok := a.integer(v.bits)
		if !ok {
			return &rowjson.RowError{Problem: rowjson.OutOfRange, Expected: "long", Found: strconv.FormatUint(v.bits, 10)}
		}
		if c.Type == event.Double {
			c.AppendFloat(float64(n))
		} else {
			c.AppendInt(n)
		}
	}
	return nil
}

// integer returns a whole number from its bits in the wire format; false if a long cannot
// hold it.
func (a *attr) integer(bits uint64) (n int64, ok bool) {
	switch a.kind {
	case protoreflect.Sint32Kind:
		return int64(int32(protowire.DecodeZigZag(bits & math.MaxUint32))), true
	case protoreflect.Sint64Kind:
		return protowire.DecodeZigZag(bits), true
	case protoreflect.Int32Kind, protoreflect.Sfixed32Kind:
		return int64(int32(bits)), true
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return int64(uint32(bits)), true
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return int64(bits), bits <= math.MaxInt64
	}
	return int64(bits), true
}

func (a *attr) float(c *event.Column, x float64) *rowjson.RowError {
	if !a.notFinite && (math.IsNaN(x) || math.IsInf(x, 0)) {
		return &rowjson.RowError{Problem: rowjson.OutOfRange, Expected: "a finite number", Found: strconv.FormatFloat(x, 'g', -1, 64)}
	}
	c.AppendFloat(x)
	return nil
}

// Bounds of a google.protobuf.Timestamp: the years 1 to 9999.
const (
	secondsMin = -62135596800
	secondsMax = 253402300799
)

// timestamp appends a google.protobuf.Timestamp in ms.
func (a *attr) timestamp(c *event.Column, seconds *value) *rowjson.RowError {
	s, nanos := int64(0), int64(0)
	if seconds.set {
		s = int64(seconds.bits)
	}
	if a.nanos.set {
		nanos = int64(int32(a.nanos.bits))
	}
	if s < secondsMin || s > secondsMax || nanos < 0 || nanos > 999_999_999 {
		return &rowjson.RowError{
			Problem: rowjson.OutOfRange, Expected: "a Timestamp of the years 1 to 9999",
			Found: strconv.FormatInt(s, 10) + " s and " + strconv.FormatInt(nanos, 10) + " ns",
		}
	}
	c.AppendInt(s*1000 + nanos/1_000_000)
	return nil
}
