package aggregate

import (
	"fmt"
	"strings"

	"eventflux/shared/event"
)

func init() {
	Register(Spec{
		Name:  "distinctCount",
		Usage: "distinctCount(x), x a number or a string",
		Result: func(args []event.Type) (event.Type, error) {
			if len(args) != 1 {
				return 0, fmt.Errorf("it takes one argument, found %d", len(args))
			}
			if !args[0].Numeric() && args[0] != event.String {
				return 0, fmt.Errorf("expected a number or a string, found %s", args[0])
			}
			return event.Long, nil
		},
		New: func(args []event.Type) Aggregate { return &distinct{class: args[0].Class()} },
	})
}

// distinct counts different values, null being one.
type distinct struct {
	class  event.Class
	groups []values
}

// values are the values of one group with how often each is there. Texts are
// counted by reference, so that counting up a known one stores no new key.
type values struct {
	nulls int64
	keys  map[int64]int64
	texts map[string]*int64
}

func (a *distinct) Add(slot int, v *Value) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	switch {
	case v.Null:
		g.nulls++
	case a.class == event.Texts:
		g.addText(v.Text)
	default:
		if g.keys == nil {
			g.keys = map[int64]int64{}
		}
		g.keys[a.key(v)]++
	}
}

func (g *values) addText(text string) {
	if n := g.texts[text]; n != nil {
		*n++
		return
	}
	if g.texts == nil {
		g.texts = map[string]*int64{}
	}
	one := int64(1)
	g.texts[strings.Clone(text)] = &one
}

func (a *distinct) Remove(slot int, v *Value) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	switch {
	case v.Null:
		if g.nulls > 0 {
			g.nulls--
		}
	case a.class == event.Texts:
		if n := g.texts[v.Text]; n != nil {
			if *n--; *n == 0 {
				delete(g.texts, v.Text)
			}
		}
	default:
		key := a.key(v)
		if n := g.keys[key]; n > 1 {
			g.keys[key] = n - 1
		} else {
			delete(g.keys, key)
		}
	}
}

func (a *distinct) key(v *Value) int64 {
	if a.class == event.Reals {
		return realKey(v.Real)
	}
	return v.Int
}

func (a *distinct) Result(slot int, out *Value) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	out.Int, out.Null = int64(len(g.keys)+len(g.texts)), false
	if g.nulls > 0 {
		out.Int++
	}
}

func (a *distinct) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	g.nulls = 0
	clear(g.keys)
	clear(g.texts)
}
