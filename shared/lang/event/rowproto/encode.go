package rowproto

import (
	"math"
	"strings"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Append appends row i of b, a batch of the target's schema, to dst as a message. Fields are in
// the order of their numbers, so equal rows are equal bytes. A null leaves its field out, and a
// message all of whose attributes are null is left out.
func (t *Target) Append(dst []byte, b *event.Batch, i int) []byte {
	dst, _ = t.root.append(dst, b, i)
	return dst
}

// append appends the fields of a message; set reports whether any attribute is not null.
func (m *outMessage) append(dst []byte, b *event.Batch, i int) (_ []byte, set bool) {
	for _, f := range m.fields {
		if f.inside != nil {
			before := len(dst)
			dst = protowire.AppendTag(dst, f.num, protowire.BytesType)
			start := len(dst)
			var some bool
			if dst, some = f.inside.append(dst, b, i); !some {
				dst = dst[:before]
				continue
			}
			dst, set = insertLength(dst, start), true
			continue
		}
		if c := &b.Cols[f.attr]; !c.IsNull(i) {
			dst, set = f.append(dst, c, i), true
		}
	}
	return dst, set
}

// insertLength writes the length of what follows start before it.
func insertLength(dst []byte, start int) []byte {
	n := len(dst) - start
	size := protowire.SizeVarint(uint64(n))
	for range size {
		dst = append(dst, 0)
	}
	copy(dst[start+size:], dst[start:start+n])
	protowire.AppendVarint(dst[:start], uint64(n))
	return dst
}

// append appends the field with the value in row i of c, which is not null. A field without
// presence is left out if it is zero.
func (f *outField) append(dst []byte, c *event.Column, i int) []byte {
	num := f.num
	if f.stamp {
		return appendStamp(dst, num, c.Ints[i])
	}
	switch c.Type {
	case event.String:
		text := strings.ToValidUTF8(c.Text(i), "\ufffd")
		if text == "" && !f.presence {
			return dst
		}
		return protowire.AppendString(protowire.AppendTag(dst, num, protowire.BytesType), text)
	case event.Float, event.Double:
		return f.appendReal(dst, c.Floats[i])
	}
	v := c.Ints[i]
	if f.kind == protoreflect.DoubleKind {
		return f.appendReal(dst, float64(v))
	}
	if v == 0 && !f.presence {
		return dst
	}
	switch f.kind {
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), protowire.EncodeZigZag(v))
	case protoreflect.Sfixed32Kind:
		return protowire.AppendFixed32(protowire.AppendTag(dst, num, protowire.Fixed32Type), uint32(v))
	case protoreflect.Sfixed64Kind:
		return protowire.AppendFixed64(protowire.AppendTag(dst, num, protowire.Fixed64Type), uint64(v))
	}
	return protowire.AppendVarint(protowire.AppendTag(dst, num, protowire.VarintType), uint64(v))
}

func (f *outField) appendReal(dst []byte, v float64) []byte {
	bits := math.Float64bits(v)
	switch {
	case bits == 0 && !f.presence:
		return dst
	case f.kind == protoreflect.FloatKind:
		return protowire.AppendFixed32(protowire.AppendTag(dst, f.num, protowire.Fixed32Type), math.Float32bits(float32(v)))
	}
	return protowire.AppendFixed64(protowire.AppendTag(dst, f.num, protowire.Fixed64Type), bits)
}

// appendStamp appends a google.protobuf.Timestamp.
func appendStamp(dst []byte, num protowire.Number, ms int64) []byte {
	seconds, rest := ms/1000, ms%1000
	if rest < 0 {
		seconds, rest = seconds-1, rest+1000
	}
	dst = protowire.AppendTag(dst, num, protowire.BytesType)
	start := len(dst)
	if seconds != 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 1, protowire.VarintType), uint64(seconds))
	}
	if rest != 0 {
		dst = protowire.AppendVarint(protowire.AppendTag(dst, 2, protowire.VarintType), uint64(rest*1_000_000))
	}
	return insertLength(dst, start)
}
