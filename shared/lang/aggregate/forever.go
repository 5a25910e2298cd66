package aggregate

import (
	"encoding/binary"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	for name, most := range map[string]bool{"minForever": false, "maxForever": true} {
		Register(Spec{
			Name:    name,
			Version: "1.0.0",
			Usage:   name + "(number)",
			Doc:     "the " + name[:3] + "imum of all values that ever came, also after they left the window",
			Forever: true,
			Result:  oneNumber(func(arg event.Type) event.Type { return arg }),
			New: func(args []event.Type) Aggregate {
				return &forever{name: name, most: most, class: args[0].Class()}
			},
		})
	}
}

// forever is the smallest or the largest value that ever came.
type forever struct {
	name   string
	most   bool
	class  event.Class
	groups []extremeSoFar
}

type extremeSoFar struct {
	key  int64 // see realKey, for doubles
	some bool
}

func (a *forever) Add(slot int, args []Value) {
	a.groups = grow(a.groups, slot)
	v := &args[0]
	if v.Null {
		return
	}
	key := v.Int
	if a.class == event.Reals {
		key = realKey(v.Real)
	}
	if g := &a.groups[slot]; !g.some || a.most && key > g.key || !a.most && key < g.key {
		*g = extremeSoFar{key, true}
	}
}

// Remove does nothing: a value that leaves was there.
func (a *forever) Remove(slot int, _ []Value) { a.groups = grow(a.groups, slot) }

func (a *forever) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	g := a.groups[slot]
	out.Null = !g.some
	if a.class == event.Reals {
		out.Real = keyReal(g.key)
	} else {
		out.Int = g.key
	}
}

func (a *forever) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot] = extremeSoFar{}
}

// Empty implements Aggregate.
func (a *forever) Empty(slot int) bool {
	a.groups = grow(a.groups, slot)
	return !a.groups[slot].some
}

// AppendState writes the value's key.
func (a *forever) AppendState(dst []byte, slot int) []byte {
	if a.Empty(slot) {
		return dst
	}
	return binary.AppendVarint(dst, a.groups[slot].key)
}

func (a *forever) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	key := r.Varint()
	if a.class == event.Reals && realKey(keyReal(key)) != key {
		r.Fail("no double has the key %d", key)
	}
	if err := r.end(a.name); err != nil {
		return err
	}
	a.groups[slot] = extremeSoFar{key, true}
	return nil
}
