// Package table keeps the rows of a `define table`: rows by primary key or in order of
// insertion, with hash indexes, as a state.Source with an entry for each row. It decides
// nothing about queries; package engine evaluates their conditions and says what to change.
package table

import (
	"bytes"
	"encoding/binary"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Version is the version of the entries.
const Version = "1.0.0"

// Table holds rows. Row numbers ("slots") identify rows until they are deleted; they are
// not state. It is not safe for concurrent use.
type Table struct {
	schema *event.Schema
	key    []int // attributes of the primary key; none: rows are in order of insertion
	class  []event.Class

	cols  []column
	slots int32 // how many there are
	live  bits
	ids   []uint64 // by slot, without a primary key: the row's number
	free  []int32
	rows  int
	next  uint64 // the number of the next row
	bytes int64  // of texts

	byKey   rowsByKey // by primary key
	indexes []index

	order    []int32 // slots in the order of rows; those that came since are in fresh
	fresh    []int32
	dead     []int32 // deleted slots, which order or fresh may still have
	shuffled bool    // rows have moved, so that order is wrong

	changed []int32  // slots
	isNew   bits     // by slot: it is in changed
	shown   bits     // by slot: Changed has shown the row's entry, or it was loaded
	gone    [][]byte // keys of entries that were shown and are no more
	counted bool     // the entry of next has changed
	loading bool

	scratch, probe, left, right []byte
}

// column holds the values of an attribute by slot.
type column struct {
	ints  []int64
	reals []float64
	texts []string
	nulls bits
}

// index finds the rows that have a value in an attribute.
type index struct {
	attr int
	rows map[string][]int32 // slots by key, in the order of rows
}

// New returns an empty table with the attributes of s. key are the attributes of its primary
// key, and indexed those that it finds rows by.
func New(s *event.Schema, key, indexed []int) *Table {
	t := &Table{schema: s, key: key}
	for _, a := range s.Attrs {
		t.class = append(t.class, a.Type.Class())
	}
	for _, a := range indexed {
		t.indexes = append(t.indexes, index{attr: a})
	}
	t.Reset()
	t.loading = false
	return t
}

// Len returns the number of rows.
func (t *Table) Len() int { return t.rows }

// Value returns an attribute of a row. A text is valid as long as the row has it.
func (t *Table) Value(slot int32, attr int) (v Value) {
	c := &t.cols[attr]
	if v.Null = c.nulls.has(slot); v.Null {
		return v
	}
	switch t.class[attr] {
	case event.Reals:
		v.Real = c.reals[slot]
	case event.Texts:
		v.Text = c.texts[slot]
	default:
		v.Int = c.ints[slot]
	}
	return v
}

// AppendTo appends an attribute of a row to a column of its type.
func (t *Table) AppendTo(dst *event.Column, slot int32, attr int) {
	c := &t.cols[attr]
	switch {
	case c.nulls.has(slot):
		dst.AppendNull()
	case t.class[attr] == event.Reals:
		dst.AppendFloat(c.reals[slot])
	case t.class[attr] == event.Texts:
		dst.AppendText(c.texts[slot])
	default:
		dst.AppendInt(c.ints[slot])
	}
}

// Refusal is why a table does not take a row; "" if it does.
type Refusal string

const (
	NullKey  Refusal = "its primary key has a null"
	TakenKey Refusal = "its primary key is taken"
)

// Insert adds a row, unless it has a null in its primary key, or the key of another row. Texts
// are copied.
func (t *Table) Insert(row []Value) Refusal {
	key, ok := t.keyOf(row)
	if !ok {
		return NullKey
	}
	if t.key != nil {
		if _, taken := t.byKey.get(key); taken {
			return TakenKey
		}
	}
	t.add(row, key, t.next)
	t.next++
	t.counted = true
	return ""
}

// add adds a row whose key is free.
func (t *Table) add(row []Value, key []byte, id uint64) {
	slot := t.slot()
	for a := range row {
		t.set(slot, a, &row[a])
	}
	t.live.set(slot, true)
	t.rows++
	if t.key != nil {
		t.byKey.put(key, slot)
	} else {
		t.ids[slot] = id
	}
	t.fresh = append(t.fresh, slot)
	if t.loading {
		return
	}
	for i := range t.indexes {
		t.enter(&t.indexes[i], slot)
	}
	t.touch(slot)
}

func (t *Table) slot() int32 {
	if n := len(t.free); n > 0 {
		slot := t.free[n-1]
		t.free = t.free[:n-1]
		return slot
	}
	slot := t.slots
	t.slots++
	for a := range t.cols {
		c := &t.cols[a]
		c.nulls.grow(slot)
		switch t.class[a] {
		case event.Reals:
			c.reals = append(c.reals, 0)
		case event.Texts:
			c.texts = append(c.texts, "")
		default:
			c.ints = append(c.ints, 0)
		}
	}
	t.live.grow(slot)
	t.isNew.grow(slot)
	t.shown.grow(slot)
	if t.key == nil {
		t.ids = append(t.ids, 0)
	}
	return slot
}

func (t *Table) set(slot int32, attr int, v *Value) {
	c := &t.cols[attr]
	c.nulls.set(slot, v.Null)
	switch t.class[attr] {
	case event.Reals:
		c.reals[slot] = v.Real
	case event.Texts:
		if c.texts[slot] == v.Text {
			return
		}
		t.bytes += int64(len(v.Text) - len(c.texts[slot]))
		c.texts[slot] = string(append([]byte(nil), v.Text...))
	default:
		c.ints[slot] = v.Int
	}
}

// Change is a new value of an attribute.
type Change struct {
	Attr  int
	Value Value
}

// moves reports whether a change gives a row another primary key.
func (t *Table) moves(slots []int32, changes [][]Change) bool {
	for i, slot := range slots {
		if t.Moves(slot, changes[i]) {
			return true
		}
	}
	return false
}

// Moves reports whether changes give a row another primary key.
func (t *Table) Moves(slot int32, changes []Change) bool {
	for n := range changes {
		if c := &changes[n]; slices.Contains(t.key, c.Attr) && !t.has(slot, c.Attr, &c.Value) {
			return true
		}
	}
	return false
}

// has reports whether an attribute of a row equals a value.
func (t *Table) has(slot int32, attr int, v *Value) bool {
	c := &t.cols[attr]
	if c.nulls.has(slot) || v.Null {
		return c.nulls.has(slot) && v.Null
	}
	switch t.class[attr] {
	case event.Reals:
		return c.reals[slot] == v.Real
	case event.Texts:
		return c.texts[slot] == v.Text
	default:
		return c.ints[slot] == v.Int
	}
}

// Update changes rows, each with its own changes. If a changed primary key has a null, belongs
// to a row that does not change, or occurs twice, nothing changes.
func (t *Table) Update(slots []int32, changes [][]Change) Refusal {
	if !t.moves(slots, changes) {
		for i, slot := range slots {
			t.change(slot, changes[i])
		}
		return ""
	}
	keys := make([]string, len(slots))
	leaving := map[string]bool{}
	for _, slot := range slots {
		leaving[string(t.keyAt(slot))] = true
	}
	taken := map[string]bool{}
	row := make([]Value, len(t.cols))
	for i, slot := range slots {
		for a := range row {
			row[a] = t.Value(slot, a)
		}
		for _, c := range changes[i] {
			row[c.Attr] = c.Value
		}
		key, ok := t.keyOf(row)
		if !ok {
			return NullKey
		}
		if _, there := t.byKey.get(key); taken[string(key)] || there && !leaving[string(key)] {
			return TakenKey
		}
		keys[i] = string(key)
		taken[keys[i]] = true
	}
	for _, slot := range slots {
		t.byKey.remove(t.vanish(slot))
		for i := range t.indexes { // the order of rows in them changes
			t.leave(&t.indexes[i], slot)
		}
	}
	for i, slot := range slots {
		for _, c := range changes[i] {
			t.set(slot, c.Attr, &c.Value)
		}
		t.byKey.put([]byte(keys[i]), slot)
		t.touch(slot)
	}
	for _, slot := range slots {
		for i := range t.indexes {
			t.enter(&t.indexes[i], slot)
		}
	}
	t.shuffled = true
	return ""
}

// vanish notes that the entry of a row goes, and returns its key.
func (t *Table) vanish(slot int32) []byte {
	key := t.keyAt(slot)
	if t.shown.has(slot) {
		t.shown.set(slot, false)
		t.gone = append(t.gone, bytes.Clone(key))
	}
	return key
}

// change changes a row whose key stays.
func (t *Table) change(slot int32, changes []Change) {
	for i := range changes {
		c := &changes[i]
		x := t.indexOf(c.Attr)
		if x != nil && t.has(slot, c.Attr, &c.Value) {
			x = nil
		}
		if x != nil {
			t.leave(x, slot)
		}
		t.set(slot, c.Attr, &c.Value)
		if x != nil {
			t.enter(x, slot)
		}
	}
	t.touch(slot)
}

// deadMax is how many deleted rows there may be beside as many others before their memory is
// used again.
const deadMax = 64

// Delete removes rows.
func (t *Table) Delete(slots []int32) {
	for _, slot := range slots {
		key := t.vanish(slot)
		if t.key != nil {
			t.byKey.remove(key)
		}
		for i := range t.indexes {
			t.leave(&t.indexes[i], slot)
		}
		for a := range t.cols {
			t.set(slot, a, &Value{})
		}
		t.live.set(slot, false)
		t.rows--
	}
	t.dead = append(t.dead, slots...)
	if len(t.dead) > t.rows+deadMax {
		t.Rows()
	}
}

// Rows returns all rows in their order: ascending by primary key, or as they were inserted.
// The slice is valid until the next change. It costs time for each row, and for sorting
// the rows that came since the last call.
func (t *Table) Rows() []int32 {
	gone := func(slot int32) bool { return !t.live.has(slot) }
	switch {
	case t.shuffled:
		t.order, t.fresh, t.shuffled = t.order[:0], t.fresh[:0], false
		for slot := range t.slots {
			if t.live.has(slot) {
				t.fresh = append(t.fresh, slot)
			}
		}
	case len(t.dead) > 0:
		t.order, t.fresh = slices.DeleteFunc(t.order, gone), slices.DeleteFunc(t.fresh, gone)
	}
	t.free = append(t.free, t.dead...)
	t.dead = t.dead[:0]
	if len(t.fresh) == 0 {
		return t.order
	}
	if t.key != nil || t.loading {
		slices.SortFunc(t.fresh, t.compare)
	}
	n := len(t.order)
	t.order = append(t.order, t.fresh...)
	if n > 0 && t.compare(t.order[n-1], t.order[n]) > 0 {
		merge(t.order, n, t.fresh, t.compare)
	}
	t.fresh = t.fresh[:0]
	return t.order
}

// merge merges the first n elements of list, which are in order, with later, which are, too.
func merge(list []int32, n int, later []int32, compare func(a, b int32) int) {
	for i, j := n-1, len(later)-1; j >= 0; {
		if i >= 0 && compare(list[i], later[j]) > 0 {
			list[i+j+1] = list[i]
			i--
		} else {
			list[i+j+1] = later[j]
			j--
		}
	}
}

// ByKey returns the row with the values of the primary key.
func (t *Table) ByKey(values []Value) (slot int32, ok bool) {
	t.probe = t.probe[:0]
	for i, a := range t.key {
		if values[i].Null {
			return 0, false
		}
		t.probe = appendKey(t.probe, t.class[a], &values[i])
	}
	return t.byKey.get(t.probe)
}

// ByIndex returns the rows with a value in an indexed attribute, in order. The slice is valid
// until the next change.
func (t *Table) ByIndex(attr int, v *Value) []int32 {
	if v.Null {
		return nil
	}
	t.probe = appendKey(t.probe[:0], t.class[attr], v)
	return t.indexOf(attr).rows[string(t.probe)]
}

// touch notes that the entry of a row has changed.
func (t *Table) touch(slot int32) {
	if !t.isNew.has(slot) {
		t.isNew.set(slot, true)
		t.changed = append(t.changed, slot)
	}
}

// keyOf returns the primary key of a row; false if it has a null. Without a primary key it
// is nil. It is valid until the next key.
func (t *Table) keyOf(row []Value) ([]byte, bool) {
	t.scratch = t.scratch[:0]
	for _, a := range t.key {
		if row[a].Null {
			return nil, false
		}
		t.scratch = appendKey(t.scratch, t.class[a], &row[a])
	}
	return t.scratch, true
}

// keyAt returns the key of the entry of a row. It is valid until the next key.
func (t *Table) keyAt(slot int32) []byte {
	t.scratch = t.scratch[:0]
	if t.key == nil {
		t.scratch = binary.BigEndian.AppendUint64(t.scratch, t.ids[slot])
		return t.scratch
	}
	for _, a := range t.key {
		v := t.Value(slot, a)
		t.scratch = appendKey(t.scratch, t.class[a], &v)
	}
	return t.scratch
}

func (t *Table) indexOf(attr int) *index {
	for i := range t.indexes {
		if t.indexes[i].attr == attr {
			return &t.indexes[i]
		}
	}
	return nil
}

// enter adds a row to an index, unless its value is null.
func (t *Table) enter(x *index, slot int32) {
	v := t.Value(slot, x.attr)
	if v.Null {
		return
	}
	t.probe = appendKey(t.probe[:0], t.class[x.attr], &v)
	rows := x.rows[string(t.probe)]
	at, _ := slices.BinarySearchFunc(rows, slot, t.compare)
	x.rows[string(t.probe)] = slices.Insert(rows, at, slot)
}

// leave removes a row from an index.
func (t *Table) leave(x *index, slot int32) {
	v := t.Value(slot, x.attr)
	if v.Null {
		return
	}
	t.probe = appendKey(t.probe[:0], t.class[x.attr], &v)
	rows := x.rows[string(t.probe)]
	at, found := slices.BinarySearchFunc(rows, slot, t.compare)
	if !found {
		return
	}
	if rows = slices.Delete(rows, at, at+1); len(rows) == 0 {
		delete(x.rows, string(t.probe))
		return
	}
	x.rows[string(t.probe)] = rows
}

// compare orders rows: by primary key, or by insertion.
func (t *Table) compare(a, b int32) int {
	if a == b {
		return 0
	}
	if t.key == nil {
		if t.ids[a] < t.ids[b] {
			return -1
		}
		return 1
	}
	for _, attr := range t.key {
		x, y := t.Value(a, attr), t.Value(b, attr)
		t.left = appendKey(t.left[:0], t.class[attr], &x)
		t.right = appendKey(t.right[:0], t.class[attr], &y)
		if n := bytes.Compare(t.left, t.right); n != 0 {
			return n
		}
	}
	return 0
}
