package ratelimit

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// item is something that a limiter remembers, such as the last row of a group. Each is an
// entry of the state.
type item struct {
	key    string // of the group
	number uint64 // its place among the others
	count  uint64
	at     int64 // ms
	row    int32 // in the table's rows; none: it has no row
	kind   window.Kind

	prev, next *item
	dirty      bool // it is in table.dirty
	shown      bool // its entry was shown, so its end is a change

	rows  span  // of a group in a picture
	group *item // of a row in a picture
	peer  link  // its neighbours in the group
	same  *item // the next row that has the same hash
	hash  uint64
}

type (
	span struct{ first, last *item }
	link struct{ prev, next *item }
)

const none = -1

// table is a list of items, in the order of their numbers. Items are found by their keys,
// or, if numbered, only by their numbers.
type table struct {
	numbered bool
	prefix   byte // the first byte of the keys of its entries

	span
	byKey    map[string]*item
	byNumber map[uint64]*item
	size     int
	free     []*item

	batch, spare *event.Batch
	withRow      int // items that have a row

	tracked bool // changes are asked for
	dirty   []*item
	gone    []byte // keys of items that ended, each with its length
	scratch []byte
}

const (
	keyGroup = 'g'
	keyRow   = 'r'
)

func newTable(schema *event.Schema, prefix byte) table {
	t := table{prefix: prefix, numbered: prefix == keyRow, batch: event.NewBatch(schema), spare: event.NewBatch(schema)}
	t.clear()
	return t
}

func (t *table) clear() {
	t.span, t.size, t.free = span{}, 0, nil
	t.byKey, t.byNumber = map[string]*item{}, map[uint64]*item{}
	t.batch.Reset()
	t.withRow, t.tracked, t.dirty, t.gone = 0, false, nil, nil
}

// add appends an item.
func (t *table) add(key []byte) *item {
	var x *item
	if n := len(t.free); n > 0 {
		x, t.free = t.free[n-1], t.free[:n-1]
	} else {
		x = &item{}
	}
	*x = item{row: none, prev: t.last}
	if t.last != nil {
		x.number = t.last.number + 1
	}
	t.link(x)
	if x.key = string(key); !t.numbered {
		t.byKey[x.key] = x
	}
	t.changed(x)
	return x
}

func (t *table) link(x *item) {
	if t.last == nil {
		t.first = x
	} else {
		t.last.next = x
	}
	t.last = x
	t.size++
	if t.numbered {
		t.byNumber[x.number] = x
	}
}

// remove ends an item.
func (t *table) remove(x *item) {
	if x.prev == nil {
		t.first = x.next
	} else {
		x.prev.next = x.next
	}
	if x.next == nil {
		t.last = x.prev
	} else {
		x.next.prev = x.prev
	}
	if t.size--; t.size == 0 {
		t.batch.Reset()
	}
	if t.numbered {
		delete(t.byNumber, x.number)
	} else {
		delete(t.byKey, x.key)
	}
	if x.row != none {
		t.withRow--
	}
	if x.shown {
		t.scratch = t.appendKey(t.scratch[:0], x)
		t.gone = append(binary.AppendUvarint(t.gone, uint64(len(t.scratch))), t.scratch...)
	}
	if x.dirty {
		x.shown = false
		x.number = ended
		return // the list of changes refers to it
	}
	t.free = append(t.free, x)
}

// ended is the number of an item that was removed.
const ended = 1<<64 - 1

func (t *table) changed(x *item) {
	if t.tracked && !x.dirty {
		x.dirty = true
		t.dirty = append(t.dirty, x)
	}
}

// set replaces the row of an item.
func (t *table) set(x *item, b *event.Batch, i int, kind window.Kind) {
	if x.row == none {
		t.withRow++
	}
	t.batch.AppendRow(b, i)
	x.row, x.kind = int32(t.batch.Len()-1), kind
	t.changed(x)
	const few = 64
	if t.batch.Len() > 2*t.withRow+few {
		t.compact()
	}
}

// compact drops rows that no item has.
func (t *table) compact() {
	t.spare.Reset()
	for x := t.first; x != nil; x = x.next {
		if x.row != none {
			t.spare.AppendRow(t.batch, int(x.row))
			x.row = int32(t.spare.Len() - 1)
		}
	}
	t.batch, t.spare = t.spare, t.batch
	t.spare.Reset()
}

// removeAll ends all items.
func (t *table) removeAll() {
	for t.first != nil {
		t.remove(t.first)
	}
}

func (t *table) appendKey(dst []byte, x *item) []byte {
	dst = append(dst, t.prefix)
	if t.numbered {
		return binary.BigEndian.AppendUint64(dst, x.number)
	}
	return append(dst, x.key...)
}

// visitChanged calls visit with the keys of the items that have changed or ended since the
// last call; the first call has all items.
func (t *table) visitChanged(visit func(key []byte)) {
	show := func(x *item) {
		x.dirty, x.shown = false, true
		t.scratch = t.appendKey(t.scratch[:0], x)
		visit(t.scratch)
	}
	for r := wire.New(t.gone); r.Len() > 0; {
		visit(r.Sized())
	}
	t.gone = t.gone[:0]
	if !t.tracked {
		t.tracked = true
		for x := t.first; x != nil; x = x.next {
			show(x)
		}
		return
	}
	for i, x := range t.dirty {
		t.dirty[i] = nil
		if x.number == ended {
			x.dirty = false
			t.free = append(t.free, x)
			continue
		}
		show(x)
	}
	t.dirty = t.dirty[:0]
}

func (t *table) visitKeys(visit func(key []byte)) {
	for x := t.first; x != nil; x = x.next {
		t.scratch = t.appendKey(t.scratch[:0], x)
		visit(t.scratch)
	}
}

func (t *table) find(key []byte) *item {
	switch {
	case len(key) == 0 || key[0] != t.prefix:
		return nil
	case !t.numbered:
		return t.byKey[string(key[1:])]
	case len(key) != 9:
		return nil
	}
	return t.byNumber[binary.BigEndian.Uint64(key[1:])]
}

// append writes an item: its key if entries have numbers, else its number; its count and
// time, and its row if it has one.
func (t *table) append(dst []byte, x *item) []byte {
	if t.numbered {
		dst = binary.AppendUvarint(dst, uint64(len(x.key)))
		dst = append(dst, x.key...)
	} else {
		dst = binary.AppendUvarint(dst, x.number)
	}
	dst = binary.AppendUvarint(dst, x.count)
	dst = binary.AppendVarint(dst, x.at)
	if x.row != none {
		dst = appendRow(dst, t.batch, int(x.row), x.kind)
	}
	return dst
}

const numberMax = 1 << 62

// put reads an item. Items may come in any order; sort puts them into the right one.
func (t *table) put(key, value []byte) error {
	x := &item{row: none, shown: true}
	r := wire.New(value)
	if t.numbered {
		if len(key) != 9 {
			return fmt.Errorf("key %q of a row", key)
		}
		x.number = binary.BigEndian.Uint64(key[1:])
		x.key = string(r.Sized())
	} else {
		x.key = string(key[1:])
		x.number = r.Uvarint()
	}
	x.count, x.at = r.Uvarint(), r.Varint()
	if x.number > numberMax || x.count > numberMax {
		r.Fail("its numbers are too large")
	}
	row := r.Len() > 0
	if row {
		x.kind = readRow(t.batch, &r)
	}
	if err := r.End(); err != nil {
		return fmt.Errorf("entry %q: %w", key, err)
	}
	if row {
		x.row = int32(t.batch.Len() - 1)
		t.withRow++
	}
	if t.find(key) != nil {
		return fmt.Errorf("entry %q is there twice", key)
	}
	if t.numbered {
		t.byNumber[x.number] = x
	} else {
		t.byKey[x.key] = x
	}
	t.size++
	return nil
}

// sort puts the items that were put into the order of their numbers, which must differ.
func (t *table) sort() error {
	all := make([]*item, 0, t.size)
	for _, x := range t.byKey {
		all = append(all, x)
	}
	for _, x := range t.byNumber {
		all = append(all, x)
	}
	sortItems(all)
	t.span, t.size, t.tracked = span{}, 0, true
	for i, x := range all {
		if i > 0 && x.number == all[i-1].number {
			return fmt.Errorf("entries %q and %q have the same place %d", all[i-1].key, x.key, x.number)
		}
		x.prev = t.last
		t.link(x)
	}
	return nil
}

// bytes estimates the memory of the items.
func (t *table) bytes() int64 {
	const perItem = 160 // with its place in the maps
	return int64(t.size)*perItem + int64(t.batch.Bytes())
}
