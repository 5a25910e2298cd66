package pattern

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"unsafe"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// An event in a match is its ts and the attributes that are read later. Each attribute is a byte
// that says whether it is null, and the value.

const (
	isNull  = 0
	isValue = 1
)

func appendEvent(dst []byte, item *Item, e *Event) []byte {
	dst = binary.AppendVarint(dst, e.TS)
	for _, a := range item.Used {
		c := &e.B.Cols[a]
		if c.IsNull(e.I) {
			dst = append(dst, isNull)
			continue
		}
		dst = append(dst, isValue)
		switch c.Type.Class() {
		case event.Reals:
			dst = binary.LittleEndian.AppendUint64(dst, math.Float64bits(c.Floats[e.I]))
		case event.Texts:
			text := c.Text(e.I)
			dst = append(binary.AppendUvarint(dst, uint64(len(text))), text...)
		default:
			dst = binary.AppendVarint(dst, c.Ints[e.I])
		}
	}
	return dst
}

// checkEvent returns an error unless src is what appendEvent writes.
func checkEvent(src []byte, item *Item) error {
	_, n := binary.Varint(src)
	if n <= 0 {
		return errors.New("an event has no time")
	}
	src = src[n:]
	for _, a := range item.Used {
		size := valueSize(src, item.Schema.Attrs[a].Holds())
		if size < 0 {
			return fmt.Errorf("attribute %q of an event is cut off", item.Schema.Attrs[a].Name)
		}
		src = src[size:]
	}
	if len(src) > 0 {
		return fmt.Errorf("%d bytes are left over after an event", len(src))
	}
	return nil
}

// valueSize returns the length of the value at the start of src, including its first byte; -1 if
// there is no valid value.
func valueSize(src []byte, t event.Type) int {
	switch {
	case len(src) == 0 || src[0] > isValue:
		return -1
	case src[0] == isNull:
		return 1
	}
	src = src[1:]
	switch t.Class() {
	case event.Reals:
		if len(src) < 8 {
			return -1
		}
		return 1 + 8
	case event.Texts:
		size, n := binary.Uvarint(src)
		if n <= 0 || size > uint64(len(src)-n) {
			return -1
		}
		return 1 + n + int(size)
	default:
		v, n := binary.Varint(src)
		if n <= 0 || t == event.Bool && v != 0 && v != 1 {
			return -1
		}
		return 1 + n
	}
}

// appendValue appends the value at the start of src to a column, and returns the rest of src.
func appendValue(src []byte, t event.Type, c *event.Column) []byte {
	size := valueSize(src, t)
	if c == nil {
		return src[size:]
	}
	if src[0] == isNull {
		c.AppendNull()
		return src[size:]
	}
	switch v := src[1:size]; t.Class() {
	case event.Reals:
		c.AppendFloat(math.Float64frombits(binary.LittleEndian.Uint64(v)))
	case event.Texts:
		_, n := binary.Uvarint(v)
		c.AppendText(unsafe.String(unsafe.SliceData(v[n:]), len(v)-n))
	default:
		n, _ := binary.Varint(v)
		c.AppendInt(n)
	}
	return src[size:]
}

// Ref is a value of a match: attribute Attr of event N of an item or, with Last, of event N
// before the last.
type Ref struct {
	Item int
	Last bool
	N    int
	Attr int // of the item's stream, or Present or Time
}

// Values of an event that are not attributes: Present is 1 if there is an event, else null; Time is
// its ts.
const (
	Present = -1
	Time    = -2
)

// Row reads several values of a match into columns.
type Row struct {
	spec  *Spec
	reads []read
}

// read lists the values to read from one event.
type read struct {
	item    *Item
	last    bool
	n       int
	columns [][]int // by attribute of Item.Used: where its value goes
	present []int
	time    []int
}

// NewRow returns a Row for refs: the value of refs[i] goes to column first+i of a batch.
func (p *Spec) NewRow(refs []Ref, first int) *Row {
	r := &Row{spec: p}
	for i, ref := range refs {
		at := r.read(ref)
		switch ref.Attr {
		case Present:
			at.present = append(at.present, first+i)
		case Time:
			at.time = append(at.time, first+i)
		default:
			for u, a := range at.item.Used {
				if a == ref.Attr {
					at.columns[u] = append(at.columns[u], first+i)
				}
			}
		}
	}
	return r
}

func (r *Row) read(ref Ref) *read {
	item := &r.spec.Items[ref.Item]
	for i := range r.reads {
		if x := &r.reads[i]; x.item == item && x.last == ref.Last && x.n == ref.N {
			return x
		}
	}
	r.reads = append(r.reads, read{item: item, last: ref.Last, n: ref.N, columns: make([][]int, len(item.Used))})
	return &r.reads[len(r.reads)-1]
}

// Append appends the values of a match to the columns of b.
func (r *Row) Append(m Match, b *event.Batch) {
	for i := range r.reads {
		x := &r.reads[i]
		x.append(m.mc.event(m.match, x.item, x.last, x.n), b)
	}
}

func (x *read) append(src []byte, b *event.Batch) {
	if len(src) == 0 {
		for _, columns := range x.columns {
			for _, c := range columns {
				b.Cols[c].AppendNull()
			}
		}
		for _, c := range x.present {
			b.Cols[c].AppendNull()
		}
		for _, c := range x.time {
			b.Cols[c].AppendNull()
		}
		return
	}
	ts, n := binary.Varint(src)
	src = src[n:]
	for _, c := range x.present {
		b.Cols[c].AppendInt(1)
	}
	for _, c := range x.time {
		b.Cols[c].AppendInt(ts)
	}
	for u, columns := range x.columns {
		t := x.item.Schema.Attrs[x.item.Used[u]].Holds()
		rest := src
		if len(columns) == 0 {
			src = appendValue(src, t, nil)
		}
		for _, c := range columns {
			src = appendValue(rest, t, &b.Cols[c])
		}
	}
}
