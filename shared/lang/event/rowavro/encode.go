package rowavro

import (
	"encoding/binary"
	"math"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Append appends row i of b, a batch of the target's schema, to dst as a record in Avro's binary
// encoding. Equal rows are equal bytes. A record that may be null is null if all of its attributes
// are.
func (t *Target) Append(dst []byte, b *event.Batch, i int) []byte {
	return t.root.append(append(dst, t.header...), b, i)
}

func (v *outValue) append(dst []byte, b *event.Batch, i int) []byte {
	if v.null != nil && v.isNull(b, i) {
		return append(dst, v.null...)
	}
	dst = append(dst, v.prefix...)
	if v.attr < 0 {
		for _, f := range v.inside {
			dst = f.append(dst, b, i)
		}
		return dst
	}
	c := &b.Cols[v.attr]
	switch v.kind {
	case boolean:
		return append(dst, byte(c.Ints[i]))
	case integer, long:
		return appendLong(dst, c.Ints[i])
	case float:
		return binary.LittleEndian.AppendUint32(dst, math.Float32bits(float32(c.Floats[i])))
	case double:
		if c.Type == event.Int {
			return binary.LittleEndian.AppendUint64(dst, math.Float64bits(float64(c.Ints[i])))
		}
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Floats[i]))
	default:
		text := strings.ToValidUTF8(c.Text(i), "\ufffd")
		return append(appendLong(dst, int64(len(text))), text...)
	}
}

// isNull reports whether all attributes of a value are null.
func (v *outValue) isNull(b *event.Batch, i int) bool {
	if v.attr >= 0 {
		return b.Cols[v.attr].IsNull(i)
	}
	for _, f := range v.inside {
		if !f.isNull(b, i) {
			return false
		}
	}
	return true
}

func appendLong(dst []byte, v int64) []byte {
	return binary.AppendUvarint(dst, uint64(v<<1)^uint64(v>>63))
}
