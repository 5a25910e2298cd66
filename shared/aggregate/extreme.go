package aggregate

import "eventflux/shared/event"

func init() {
	for name, most := range map[string]bool{"min": false, "max": true} {
		Register(Spec{
			Name:    name,
			Version: "1.0.0",
			Usage:   name + "(number)",
			Result:  oneNumber(func(arg event.Type) event.Type { return arg }),
			New: func(args []event.Type) Aggregate {
				return &extreme{most: most, class: args[0].Class()}
			},
		})
	}
}

// extreme is min or max. It keeps every value of a group with its count, so that
// it is right however values leave: first in, first out or in any other order.
type extreme struct {
	most   bool
	class  event.Class
	groups []multiset
}

func (a *extreme) key(v *Value) int64 {
	if a.class == event.Reals {
		return realKey(v.Real)
	}
	return v.Int
}

func (a *extreme) Add(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	a.groups[slot].add(a.key(v))
}

func (a *extreme) Remove(slot int, args []Value) {
	v := &args[0]
	if v.Null {
		return
	}
	a.groups = grow(a.groups, slot)
	a.groups[slot].remove(a.key(v))
}

func (a *extreme) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	key, most, ok := a.groups[slot].ends()
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

func (a *extreme) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot].clear()
}

func (a *extreme) AppendState(dst []byte, slot int) []byte {
	a.groups = grow(a.groups, slot)
	return a.groups[slot].appendState(dst)
}

func (a *extreme) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	name := "min"
	if a.most {
		name = "max"
	}
	set, err := loadMultiset(src, name, a.class == event.Reals)
	if err != nil {
		return err
	}
	a.groups[slot] = set
	return nil
}
