package aggregate

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	for name, most := range map[string]bool{"min": false, "max": true} {
		Register(Spec{
			Name:    name,
			Version: "1.0.0",
			Usage:   name + "(number)",
			Doc:     "the " + name + "imum; nulls are ignored",
			Result:  oneNumber(func(arg event.Type) event.Type { return arg }),
			New: func(args []event.Type) Aggregate {
				return &extreme{most: most, class: args[0].Class()}
			},
		})
	}
}

// extreme is min or max. It keeps every value of a group with its count, so that it is
// right in any order of removal.
type extreme struct {
	multiset
	most   bool
	class  event.Class
	called string // if not min or max
}

func (a *extreme) key(v *Value) int64 {
	if a.class == event.Reals {
		return realKey(v.Real)
	}
	return v.Int
}

func (a *extreme) Add(slot int, args []Value) {
	if v := &args[0]; !v.Null {
		a.add(slot, a.key(v))
	}
}

func (a *extreme) Remove(slot int, args []Value) {
	if v := &args[0]; !v.Null {
		a.remove(slot, a.key(v))
	}
}

func (a *extreme) Result(slot int, out *Value) {
	key, most, ok := a.ends(slot)
	if a.most {
		key = most
	}
	out.Null = !ok
	if a.class == event.Reals {
		out.Real = keyReal(key)
	} else {
		out.Int = key
	}
}

// AppendState writes the number of values, and each in order with its count.
func (a *extreme) AppendState(dst []byte, slot int) []byte {
	a.groups = grow(a.groups, slot)
	if _, _, ok := a.ends(slot); !ok {
		return dst
	}
	return a.appendAll(dst, slot)
}

func (a *extreme) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	items, err := a.read(src)
	if err == nil {
		a.fill(slot, items)
	}
	return err
}

// read reads a group or a segment of it.
func (a *extreme) read(src []byte) ([]item[int64], error) {
	if len(src) == 0 {
		return nil, nil
	}
	r := readState(src)
	items := a.numbers(r, a.class == event.Reals)
	if len(items) == 0 {
		r.Fail("no values, but that is written")
	}
	return items, r.end(a.name())
}

func (a *extreme) name() string {
	if a.called != "" {
		return a.called
	}
	if a.most {
		return "max"
	}
	return "min"
}

// AppendSegment implements Segmented. Each segment is written as if it were a group.
func (a *extreme) AppendSegment(dst []byte, slot int, name []byte) ([]byte, bool) {
	a.groups = grow(a.groups, slot)
	items := a.nameless(slot)
	if len(name) > 0 {
		items = a.named(slot, name)
	}
	if len(items) == 0 {
		return dst, len(name) == 0
	}
	return appendSome(dst, items), true
}

// LoadSegment implements Segmented.
func (a *extreme) LoadSegment(slot int, name, src []byte) error {
	items, err := a.read(src)
	if err != nil {
		return err
	}
	if err := a.load(slot, name, items); err != nil {
		return fmt.Errorf("state of %s: %w", a.name(), err)
	}
	return nil
}

// Empty implements Aggregate.
func (a *extreme) Empty(slot int) bool {
	_, _, some := a.ends(slot)
	return !some
}
