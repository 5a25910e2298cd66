package aggregate

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	for name, last := range map[string]bool{"first": false, "last": true} {
		which := "oldest"
		if last {
			which = "newest"
		}
		Register(Spec{
			Name:    name,
			Version: "1.0.0",
			AnyText: true,
			Usage:   name + "(x)",
			Doc:     "the value of the " + which + " event; nulls are ignored",
			Result: func(args []event.Type) (event.Type, error) {
				if len(args) != 1 {
					return 0, fmt.Errorf("it takes one argument, found %d", len(args))
				}
				return args[0], nil
			},
			NewWith: func(c Config) Aggregate {
				return &sequence{name: name, last: last, keeps: c.Leaves, class: c.Args[0].Type.Class()}
			},
		})
	}
}

// sequence is first or last. If rows leave, it keeps the values of a group in order of
// arrival, by number; else only the one that counts.
type sequence struct {
	segments[Value]
	name   string
	last   bool
	keeps  bool
	class  event.Class
	orders []order
}

// order is what a group knows beside its values.
type order struct {
	next  int64             // the number of the next value
	where map[Value][]int64 // numbers by value, once one has left that was not the oldest
}

func (a *sequence) Add(slot int, args []Value) {
	a.groups, a.orders = grow(a.groups, slot), grow(a.orders, slot)
	v := a.plain(&args[0])
	if v.Null {
		return
	}
	o := &a.orders[slot]
	if _, some := a.end(slot, true); !a.keeps && some {
		if a.last {
			a.replace(slot, v)
		}
		return
	}
	v.Text = strings.Clone(v.Text)
	n, exists := find(a.groups[slot], o.next)
	if it := (item[Value]{o.next, v}); exists {
		a.put(slot, n, len(a.groups[slot][n].items), it)
	} else {
		a.addSegment(slot, n, it)
	}
	if o.where != nil {
		o.where[v] = append(o.where[v], o.next)
	}
	o.next++
}

// plain returns a value whose other fields are 0, and whose NaN is one.
func (a *sequence) plain(v *Value) Value {
	switch {
	case v.Null:
		return Value{Null: true}
	case a.class == event.Texts:
		return Value{Text: v.Text}
	case a.class == event.Reals:
		return Value{Int: realKey(v.Real)} // which can be compared
	}
	return Value{Int: v.Int}
}

func (a *sequence) replace(slot int, v Value) {
	it := &a.groups[slot][0].items[0]
	if it.value != v {
		v.Text = strings.Clone(v.Text)
		it.value = v
		a.touch(slot, 0)
	}
}

// Remove removes the oldest of the values that are alike.
func (a *sequence) Remove(slot int, args []Value) {
	a.groups, a.orders = grow(a.groups, slot), grow(a.orders, slot)
	v := a.plain(&args[0])
	oldest, ok := a.end(slot, false)
	if v.Null || !ok || !a.keeps {
		return
	}
	o := &a.orders[slot]
	number := oldest.key
	if oldest.value != v || o.where != nil {
		if o.where == nil {
			o.where = a.index(slot)
		}
		list := o.where[v]
		if len(list) == 0 {
			return
		}
		if number = list[0]; len(list) == 1 {
			delete(o.where, v)
		} else {
			o.where[v] = list[1:]
		}
	}
	n, _ := find(a.groups[slot], number)
	i, _ := search(a.groups[slot][n].items, number)
	a.drop(slot, n, i)
	if newest, some := a.end(slot, true); some {
		o.next = newest.key + 1 // as after a restart
	} else {
		*o = order{}
	}
}

// index finds the numbers of all values of a slot.
func (a *sequence) index(slot int) map[Value][]int64 {
	where := map[Value][]int64{}
	for n := range a.groups[slot] {
		for _, it := range a.groups[slot][n].items {
			where[it.value] = append(where[it.value], it.key)
		}
	}
	return where
}

// end returns the oldest or the newest value.
func (a *sequence) end(slot int, newest bool) (item[Value], bool) {
	group := a.groups[slot]
	if len(group) == 0 || len(group[0].items) == 0 {
		return item[Value]{}, false
	}
	if newest {
		items := group[len(group)-1].items
		return items[len(items)-1], true
	}
	return group[0].items[0], true
}

func (a *sequence) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	it, ok := a.end(slot, a.last)
	*out = it.value
	out.Null = !ok
	if a.class == event.Reals {
		out.Int, out.Real = 0, keyReal(it.value.Int)
	}
}

func (a *sequence) Clear(slot int) {
	a.orders = grow(a.orders, slot)
	a.orders[slot] = order{}
	a.segments.Clear(slot)
}

// Empty implements Aggregate.
func (a *sequence) Empty(slot int) bool {
	a.groups = grow(a.groups, slot)
	_, some := a.end(slot, false)
	return !some
}

// AppendState writes the number of values, and each with its number.
func (a *sequence) AppendState(dst []byte, slot int) []byte {
	if a.Empty(slot) {
		return dst
	}
	dst = binary.AppendUvarint(dst, uint64(a.has(slot)))
	before, first := int64(0), true
	for _, p := range a.groups[slot] {
		for _, it := range p.items {
			dst = a.appendItem(dst, it, before, first)
			before, first = it.key, false
		}
	}
	return dst
}

func (a *sequence) appendItem(dst []byte, it item[Value], before int64, first bool) []byte {
	dst = appendKey(dst, it.key, before, first)
	if a.class != event.Texts {
		return binary.AppendVarint(dst, it.value.Int)
	}
	dst = binary.AppendUvarint(dst, uint64(len(it.value.Text)))
	return append(dst, it.value.Text...)
}

// read reads a group or a segment of it.
func (a *sequence) read(src []byte) ([]item[Value], error) {
	if len(src) == 0 {
		return nil, nil
	}
	r := readState(src)
	items := make([]item[Value], r.Count(2))
	before := int64(0)
	for i := range items {
		key := r.key(before, i == 0)
		if !r.Failed() && key < 0 {
			r.Fail("the number %d of a value", key)
		}
		items[i] = item[Value]{key, a.readValue(r)}
		if r.Failed() {
			return nil, r.end(a.name)
		}
		before = key
	}
	if len(items) == 0 {
		r.Fail("no values, but that is written")
	}
	return items, r.end(a.name)
}

func (a *sequence) readValue(r *stateBytes) Value {
	if a.class == event.Texts {
		text := string(r.Bytes(r.Count(1)))
		if !utf8.ValidString(text) {
			r.Fail("text %q is no UTF-8", text)
		}
		return Value{Text: text}
	}
	v := Value{Int: r.Varint()}
	if a.class == event.Reals && realKey(keyReal(v.Int)) != v.Int {
		r.Fail("no double has the key %d", v.Int)
	}
	return v
}

func (a *sequence) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	items, err := a.read(src)
	if err == nil {
		a.fill(slot, items)
		a.number(slot)
	}
	return err
}

// number sets the number of the next value of a slot that was loaded.
func (a *sequence) number(slot int) {
	a.groups, a.orders = grow(a.groups, slot), grow(a.orders, slot)
	a.orders[slot] = order{}
	if it, ok := a.end(slot, true); ok {
		a.orders[slot].next = it.key + 1
	}
}

// AppendSegment implements Segmented. Each segment is written as if it were a group.
func (a *sequence) AppendSegment(dst []byte, slot int, name []byte) ([]byte, bool) {
	a.groups = grow(a.groups, slot)
	items := a.nameless(slot)
	if len(name) > 0 {
		items = a.named(slot, name)
	}
	if len(items) == 0 {
		return dst, len(name) == 0
	}
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	for i, it := range items {
		before := int64(0)
		if i > 0 {
			before = items[i-1].key
		}
		dst = a.appendItem(dst, it, before, i == 0)
	}
	return dst, true
}

// LoadSegment implements Segmented.
func (a *sequence) LoadSegment(slot int, name, src []byte) error {
	items, err := a.read(src)
	if err != nil {
		return err
	}
	if err := a.load(slot, name, items); err != nil {
		return fmt.Errorf("state of %s: %w", a.name, err)
	}
	a.number(slot)
	return nil
}
