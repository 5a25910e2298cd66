package aggregate

import (
	"fmt"
	"maps"
	"strings"

	"eventflux/shared/event"
)

func init() {
	Register(Spec{
		Name:    "distinctCount",
		Version: "1.0.0",
		Usage:   "distinctCount(x), x a number or a string",
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

// values are the values of one group with how often each is there. A value that
// has gone is kept for a while with a count of 0: many come back with the next
// row, and need not be stored again then.
type values struct {
	nulls int64
	live  int64 // values with a count above 0
	keys  map[int64]int64
	texts map[string]*int64
}

// goneMax is how many values that have gone are kept, beyond as many as there are.
const goneMax = 64

func (a *distinct) Add(slot int, args []Value) {
	v := &args[0]
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	switch {
	case v.Null:
		g.nulls++
	case a.class == event.Texts:
		g.addText(v.Text)
	default:
		g.addKey(a.key(v))
	}
}

func (g *values) addText(text string) {
	n := g.texts[text]
	if n == nil {
		if g.texts == nil {
			g.texts = map[string]*int64{}
		}
		n = new(int64)
		g.texts[strings.Clone(text)] = n
	}
	if *n++; *n == 1 {
		g.live++
	}
}

func (g *values) addKey(key int64) {
	if g.keys == nil {
		g.keys = map[int64]int64{}
	}
	n := g.keys[key] + 1
	g.keys[key] = n
	if n == 1 {
		g.live++
	}
}

func (a *distinct) Remove(slot int, args []Value) {
	v := &args[0]
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	switch {
	case v.Null:
		if g.nulls > 0 {
			g.nulls--
		}
	case a.class == event.Texts:
		g.removeText(v.Text)
	default:
		g.removeKey(a.key(v))
	}
}

func (g *values) removeText(text string) {
	n := g.texts[text]
	if n == nil || *n == 0 {
		return
	}
	if *n--; *n > 0 {
		return
	}
	g.live--
	if int64(len(g.texts)) > 2*g.live+goneMax {
		maps.DeleteFunc(g.texts, func(_ string, n *int64) bool { return *n == 0 })
	}
}

func (g *values) removeKey(key int64) {
	n := g.keys[key]
	if n == 0 {
		return
	}
	g.keys[key] = n - 1
	if n > 1 {
		return
	}
	g.live--
	if int64(len(g.keys)) > 2*g.live+goneMax {
		maps.DeleteFunc(g.keys, func(_, n int64) bool { return n == 0 })
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
	out.Int, out.Null = g.live, false
	if g.nulls > 0 {
		out.Int++
	}
}

func (a *distinct) Clear(slot int) {
	a.groups = grow(a.groups, slot)
	g := &a.groups[slot]
	g.nulls, g.live = 0, 0
	clear(g.keys)
	clear(g.texts)
}
