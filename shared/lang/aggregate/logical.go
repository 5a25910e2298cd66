package aggregate

import (
	"encoding/binary"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	for _, name := range []string{"and", "or"} {
		Register(Spec{
			Name:    name,
			Version: "1.0.0",
			Usage:   name + "(condition bool)",
			Doc:     map[string]string{"and": "whether a condition is true and none is false", "or": "whether a condition is true"}[name] + "; nulls are ignored",
			Result: func(args []event.Type) (event.Type, error) {
				if len(args) != 1 {
					return 0, fmt.Errorf("it takes one argument, found %d", len(args))
				}
				if args[0] != event.Bool {
					return 0, fmt.Errorf("expected a condition (bool), found %s", args[0])
				}
				return event.Bool, nil
			},
			New: func([]event.Type) Aggregate { return &logical{all: name == "and", name: name} },
		})
	}
}

// logical is and or or. Nulls are ignored; of no value both are false.
type logical struct {
	all    bool
	name   string
	groups []verdicts
}

// verdicts counts the conditions of one group that are true, and those that are false.
type verdicts struct{ yes, no int64 }

func (a *logical) change(slot int, v *Value, by int64) {
	a.groups = grow(a.groups, slot)
	switch g := &a.groups[slot]; {
	case v.Null:
	case v.Int != 0:
		g.yes += by
	default:
		g.no += by
	}
}

func (a *logical) Add(slot int, args []Value)    { a.change(slot, &args[0], 1) }
func (a *logical) Remove(slot int, args []Value) { a.change(slot, &args[0], -1) }

func (a *logical) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	g := a.groups[slot]
	out.Int, out.Null = 0, false
	if g.yes > 0 && (!a.all || g.no <= 0) {
		out.Int = 1
	}
}

func (a *logical) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	a.groups[slot] = verdicts{}
}

// Empty implements Aggregate.
func (a *logical) Empty(slot int) bool {
	a.groups = grow(a.groups, slot)
	return a.groups[slot] == verdicts{}
}

// AppendState writes the two counts.
func (a *logical) AppendState(dst []byte, slot int) []byte {
	if a.Empty(slot) {
		return dst
	}
	g := a.groups[slot]
	return binary.AppendVarint(binary.AppendVarint(dst, g.yes), g.no)
}

func (a *logical) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	if len(src) == 0 {
		return nil
	}
	r := readState(src)
	g := verdicts{r.Varint(), r.Varint()}
	if g == (verdicts{}) {
		r.Fail("counts of 0 that are written")
	}
	if err := r.end(a.name); err != nil {
		return err
	}
	a.groups[slot] = g
	return nil
}
