package aggregate

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/function"
)

func init() {
	Register(Spec{
		Name:    "unionSet",
		Version: "1.0.0",
		Usage:   "unionSet(set object)",
		Doc:     "a set of all values in the sets, in order; createSet(x) makes a set",
		Result: func(args []event.Type) (event.Type, error) {
			if len(args) != 1 {
				return 0, fmt.Errorf("it takes one argument, found %d", len(args))
			}
			if args[0] != event.Object {
				return 0, fmt.Errorf("expected a set (object), found %s: write createSet(…) around it", args[0])
			}
			return event.Object, nil
		},
		New: func([]event.Type) Aggregate { return &union{} },
	})
}

// union is a set of the elements of all sets of a group, each with its count. Its state is
// the state of a set of texts: the elements' JSON.
type union struct {
	distinctTexts
	json function.Context
	arg  [1]Value
	list []string
	sets []setText
}

// setText is the JSON of a group's set, made when it is asked for.
type setText struct {
	text  string
	fresh bool
}

func (a *union) Add(slot int, args []Value)    { a.each(slot, args, a.distinctTexts.Add) }
func (a *union) Remove(slot int, args []Value) { a.each(slot, args, a.distinctTexts.Remove) }

func (a *union) each(slot int, args []Value, do func(slot int, args []Value)) {
	a.sets = grow(a.sets, slot)
	if args[0].Null {
		return
	}
	function.Elements(&a.json, args[0].Text, func(element string) {
		a.arg[0] = Value{Text: element}
		before := a.group(slot).live
		do(slot, a.arg[:])
		if a.texts[slot].live != before {
			a.sets[slot].fresh = false
		}
	})
}

func (a *union) Result(slot int, out *Value) {
	g := a.group(slot)
	a.sets = grow(a.sets, slot)
	s := &a.sets[slot]
	if !s.fresh {
		a.list = a.list[:0]
		for _, c := range g.known {
			if c.count > 0 {
				a.list = append(a.list, c.text)
			}
		}
		s.text, s.fresh = string(function.AppendSet(nil, a.list)), true
	}
	out.Text, out.Null = s.text, false
}

func (a *union) Clear(slot int) {
	a.sets = grow(a.sets, slot)
	a.sets[slot] = setText{}
	a.distinctTexts.Clear(slot)
}

func (a *union) LoadState(slot int, src []byte) error {
	a.Clear(slot)
	if err := a.distinctTexts.LoadState(slot, src); err != nil {
		return fmt.Errorf("unionSet: %w", err)
	}
	return nil
}

// LoadSegment implements Segmented.
func (a *union) LoadSegment(slot int, name, src []byte) error {
	a.sets = grow(a.sets, slot)
	a.sets[slot] = setText{}
	if err := a.distinctTexts.LoadSegment(slot, name, src); err != nil {
		return fmt.Errorf("unionSet: %w", err)
	}
	return nil
}
