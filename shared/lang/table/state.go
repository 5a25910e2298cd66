package table

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"sort"
	"strconv"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// The state of a table is an entry for each row. With a primary key, the key of the entry has
// its bytes in order; without, it has the number of the row, 8 bytes, big-endian. The value
// has all attributes. A table without a primary key has one more entry, the next row number.

// nextKey is the key of the entry with the next row number.
const nextKey = "f"

// Changed implements state.Source.
func (t *Table) Changed(visit func(key []byte)) {
	for _, slot := range t.changed {
		t.isNew.set(slot, false)
		if t.live.has(slot) {
			t.shown.set(slot, true)
			visit(t.keyAt(slot))
		}
	}
	for _, key := range t.gone {
		visit(key)
	}
	if t.counted && t.key == nil {
		visit([]byte(nextKey))
	}
	t.changed, t.gone, t.counted = t.changed[:0], nil, false
}

// Keys implements state.Source.
func (t *Table) Keys(visit func(key []byte)) {
	for _, slot := range t.Rows() {
		visit(t.keyAt(slot))
	}
	if t.key == nil && t.next > 0 {
		visit([]byte(nextKey))
	}
}

// Append implements state.Source.
func (t *Table) Append(dst, key []byte) ([]byte, bool) {
	if t.key == nil && string(key) == nextKey {
		return binary.AppendUvarint(dst, t.next), t.next > 0
	}
	slot, ok := t.Find(key)
	if !ok {
		return dst, false
	}
	for a := range t.cols {
		dst = t.appendValue(dst, slot, a)
	}
	return dst, true
}

// Number returns the number of a row of a table without a primary key.
func (t *Table) Number(slot int32) string { return strconv.FormatUint(t.ids[slot], 10) }

// Find returns the row of an entry.
func (t *Table) Find(key []byte) (slot int32, ok bool) {
	if t.key != nil {
		return t.byKey.get(key)
	}
	if len(key) != 8 {
		return 0, false
	}
	id, rows := binary.BigEndian.Uint64(key), t.Rows()
	i := sort.Search(len(rows), func(i int) bool { return t.ids[rows[i]] >= id })
	if i == len(rows) || t.ids[rows[i]] != id {
		return 0, false
	}
	return rows[i], true
}

// A value starts with one of these.
const (
	isNull = iota
	isThere
)

func (t *Table) appendValue(dst []byte, slot int32, attr int) []byte {
	v := t.Value(slot, attr)
	if v.Null {
		return append(dst, isNull)
	}
	dst = append(dst, isThere)
	switch t.class[attr] {
	case event.Reals:
		return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v.Real))
	case event.Texts:
		dst = binary.AppendUvarint(dst, uint64(len(v.Text)))
		return append(dst, v.Text...)
	default:
		return binary.AppendVarint(dst, v.Int)
	}
}

// readValue reads what appendValue wrote. A text shares the memory of src.
func (t *Table) readValue(r *wire.Reader, attr int) (v Value) {
	a := &t.schema.Attrs[attr]
	kind := r.Byte()
	if kind > isThere {
		r.Fail("attribute %s: unknown kind of value %d", a.Name, kind)
	}
	if v.Null = kind == isNull; v.Null {
		return v
	}
	switch t.class[attr] {
	case event.Reals:
		v.Real = r.Float()
	case event.Texts:
		v.Text = string(r.Sized())
	default:
		v.Int = r.Varint()
		if a.Type == event.Int && v.Int != int64(int32(v.Int)) || a.Type == event.Bool && v.Int&^1 != 0 {
			r.Fail("attribute %s: %d is no %s", a.Name, v.Int, a.Type)
		}
	}
	return v
}

// Reset implements state.Source.
func (t *Table) Reset() {
	*t = Table{
		schema: t.schema, key: t.key, class: t.class, indexes: t.indexes, cols: make([]column, len(t.class)),
		loading: true,
	}
	t.byKey = newRowsByKey(t)
	for i := range t.indexes {
		t.indexes[i].rows = map[string][]int32{}
	}
}

// Put implements state.Source.
func (t *Table) Put(key, value []byte) error {
	r := wire.New(value)
	if t.key == nil && string(key) == nextKey {
		next := r.Uvarint()
		if r.End() != nil || next == 0 || t.next > 0 {
			return errors.New("the next row number is none, or is there twice")
		}
		t.next = next
		return nil
	}
	row := make([]Value, len(t.cols))
	for a := range row {
		row[a] = t.readValue(&r, a)
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("a row: %w", err)
	}
	if t.key == nil {
		if len(key) != 8 {
			return fmt.Errorf("the key %q is no row number", key)
		}
		t.add(row, nil, binary.BigEndian.Uint64(key))
		return nil
	}
	own, ok := t.keyOf(row)
	if !ok || !bytes.Equal(own, key) {
		return errors.New("the primary key of a row is not that of its entry")
	}
	if _, taken := t.byKey.get(key); taken {
		return errors.New("two rows have the same primary key")
	}
	t.add(row, own, 0)
	return nil
}

// Ready implements state.Source. It builds the indexes.
func (t *Table) Ready() error {
	rows := t.Rows()
	t.loading = false
	if t.key == nil {
		for i, slot := range rows {
			if i > 0 && t.ids[slot] == t.ids[rows[i-1]] {
				return fmt.Errorf("two rows have the number %d", t.ids[slot])
			}
		}
		if n := len(rows); n > 0 && t.ids[rows[n-1]] >= t.next {
			return fmt.Errorf("a row has the number %d, and the next one gets %d", t.ids[rows[n-1]], t.next)
		}
	}
	for i := range t.indexes {
		x := &t.indexes[i]
		for _, slot := range rows {
			v := t.Value(slot, x.attr)
			if !v.Null {
				t.probe = appendKey(t.probe[:0], t.class[x.attr], &v)
				x.rows[string(t.probe)] = append(x.rows[string(t.probe)], slot)
			}
		}
	}
	for slot := range t.slots {
		t.shown.set(slot, true)
	}
	return nil
}

// rowBytes estimates what a row takes besides its values and texts.
const rowBytes = 64

// Bytes implements state.Source.
func (t *Table) Bytes() int64 {
	return int64(t.rows)*int64(rowBytes+len(t.cols)*12+len(t.indexes)*8) + t.bytes
}
