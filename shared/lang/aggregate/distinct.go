package aggregate

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	Register(Spec{
		Name:    "distinctCount",
		Version: "1.0.0",
		Usage:   "distinctCount(x), x a number or a string",
		Doc:     "the number of different values; null is one of them",
		Result:  distinctResult,
		New: func(args []event.Type) Aggregate {
			if class := args[0].Class(); class != event.Texts {
				return &distinct{class: class}
			}
			return &distinctTexts{}
		},
	})
}

func distinctResult(args []event.Type) (event.Type, error) {
	if len(args) != 1 {
		return 0, fmt.Errorf("it takes one argument, found %d", len(args))
	}
	if !args[0].Numeric() && args[0] != event.String {
		return 0, fmt.Errorf("expected a number or a string, found %s", args[0])
	}
	return event.Long, nil
}

// distinct counts different numbers; null is one of them.
type distinct struct {
	multiset
	class  event.Class
	counts []counts
}

// counts are the numbers of one group.
type counts struct {
	nulls int64
	live  int64 // values that are present
}

func (c counts) result(out *Value) {
	out.Int, out.Null = c.live, false
	if c.nulls > 0 {
		out.Int++
	}
}

func (a *distinct) Add(slot int, args []Value) {
	v := &args[0]
	a.counts = grow(a.counts, slot)
	if v.Null {
		a.counts[slot].nulls++
	} else if a.add(slot, a.key(v)) {
		a.counts[slot].live++
	}
}

func (a *distinct) Remove(slot int, args []Value) {
	v := &args[0]
	a.counts = grow(a.counts, slot)
	switch c := &a.counts[slot]; {
	case v.Null:
		c.nulls = max(0, c.nulls-1)
	case a.remove(slot, a.key(v)):
		c.live--
	}
}

func (a *distinct) key(v *Value) int64 {
	if a.class == event.Reals {
		return realKey(v.Real)
	}
	return v.Int
}

func (a *distinct) Result(slot int, out *Value) {
	a.counts = grow(a.counts, slot)
	a.counts[slot].result(out)
}

func (a *distinct) Clear(slot int) {
	a.counts = grow(a.counts, slot)
	a.counts[slot] = counts{}
	a.multiset.Clear(slot)
}

// AppendState writes the number of nulls, the number of different values, and each value in
// order with its count.
func (a *distinct) AppendState(dst []byte, slot int) []byte {
	a.counts, a.groups = grow(a.counts, slot), grow(a.groups, slot)
	if a.counts[slot] == (counts{}) {
		return dst
	}
	return a.appendAll(binary.AppendUvarint(dst, uint64(a.counts[slot].nulls)), slot)
}

func (a *distinct) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	nulls, items, err := a.read(src, true)
	if err == nil {
		a.counts[slot] = counts{nulls, int64(len(items))}
		a.fill(slot, items)
	}
	return err
}

// read reads a group or a segment of it. If the segment has no name, its nulls come first.
func (a *distinct) read(src []byte, nameless bool) (nulls int64, items []item[int64], err error) {
	r := readState(src)
	if nameless {
		if len(src) == 0 {
			return 0, nil, nil
		}
		nulls = r.nulls()
	}
	items = a.numbers(r, a.class == event.Reals)
	if nulls == 0 && len(items) == 0 {
		r.Fail("0 nulls and 0 values")
	}
	return nulls, items, r.end("distinctCount")
}

// nulls reads a number of nulls.
func (r *stateBytes) nulls() int64 {
	n := r.Uvarint()
	if !r.Failed() && n > 1<<62 {
		r.Fail("%d nulls", n)
	}
	return int64(n)
}

// AppendSegment implements Segmented.
func (a *distinct) AppendSegment(dst []byte, slot int, name []byte) ([]byte, bool) {
	a.counts, a.groups = grow(a.counts, slot), grow(a.groups, slot)
	if len(name) > 0 {
		items := a.named(slot, name)
		if len(items) == 0 {
			return dst, false
		}
		return appendSome(dst, items), true
	}
	nulls, items := a.counts[slot].nulls, a.nameless(slot)
	if nulls == 0 && len(items) == 0 {
		return dst, true
	}
	return appendSome(binary.AppendUvarint(dst, uint64(nulls)), items), true
}

// LoadSegment implements Segmented.
func (a *distinct) LoadSegment(slot int, name, src []byte) error {
	nulls, items, err := a.read(src, len(name) == 0)
	if err != nil {
		return err
	}
	if err := a.load(slot, name, items); err != nil {
		return fmt.Errorf("state of distinctCount: %w", err)
	}
	a.counts = grow(a.counts, slot)
	a.counts[slot].nulls += nulls
	a.counts[slot].live += int64(len(items))
	return nil
}

// Empty implements Aggregate.
func (a *distinct) Empty(slot int) bool {
	a.counts = grow(a.counts, slot)
	return a.counts[slot] == (counts{})
}
