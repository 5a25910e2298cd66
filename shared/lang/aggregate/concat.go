package aggregate

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

func init() {
	Register(Spec{
		Name:    "str:groupConcat",
		Version: "1.0.0",
		AnyText: true,
		Usage:   "str:groupConcat(s string[, separator string[, distinct bool[, order string]]])",
		Doc:     "the texts in order of arrival, with a comma or the separator between them; equal ones once if distinct; sorted with 'ASC' or 'DESC'; nulls are ignored",
		Result:  concatResult,
		Check:   checkConcat,
		NewWith: func(c Config) Aggregate { return newConcat(c.Args) },
	})
}

func concatResult(args []event.Type) (event.Type, error) {
	if len(args) == 0 || len(args) > 4 {
		return 0, fmt.Errorf("it takes one to four arguments, found %d", len(args))
	}
	for i, want := range []event.Type{event.String, event.String, event.Bool, event.String}[:len(args)] {
		if args[i] != want {
			return 0, fmt.Errorf("argument %d: expected a %s, found %s", i+1, want, args[i])
		}
	}
	return event.String, nil
}

func checkConcat(args []Arg) error {
	for i := 1; i < len(args); i++ {
		if args[i].Const == nil {
			return fmt.Errorf("argument %d is computed, but a constant is needed", i+1)
		}
	}
	if len(args) == 4 && args[3].Const.Text != ascending && args[3].Const.Text != descending {
		return errors.New("argument 4: expected 'ASC' or 'DESC'")
	}
	return nil
}

const (
	ascending  = "ASC"
	descending = "DESC"
)

// concat joins the texts of a group. It keeps all of them in order of arrival.
type concat struct {
	sequence
	separator string
	distinct  bool
	order     string
	list      []string
	joined    []joinedText
}

// joinedText is a group's result, made when it is asked for.
type joinedText struct {
	text  string
	fresh bool
}

func newConcat(args []Arg) *concat {
	a := &concat{sequence: sequence{name: "str:groupConcat", keeps: true, class: event.Texts}, separator: ","}
	if len(args) > 1 {
		a.separator = args[1].Const.Text
	}
	if len(args) > 2 {
		a.distinct = args[2].Const.Int != 0
	}
	if len(args) > 3 {
		a.order = args[3].Const.Text
	}
	return a
}

func (a *concat) Add(slot int, args []Value) {
	a.stale(slot)
	a.sequence.Add(slot, args)
}

func (a *concat) Remove(slot int, args []Value) {
	a.stale(slot)
	a.sequence.Remove(slot, args)
}

func (a *concat) stale(slot int) {
	a.joined = grow(a.joined, slot)
	a.joined[slot] = joinedText{}
}

// Result is a text, and an empty one for an empty group.
func (a *concat) Result(slot int, out *Value) {
	a.joined, a.groups = grow(a.joined, slot), grow(a.groups, slot)
	j := &a.joined[slot]
	if !j.fresh {
		*j = joinedText{a.join(slot), true}
	}
	*out = Value{Text: j.text}
}

func (a *concat) join(slot int) string {
	a.list = a.list[:0]
	seen := map[string]bool{}
	for _, p := range a.groups[slot] {
		for _, it := range p.items {
			if a.distinct {
				if seen[it.value.Text] {
					continue
				}
				seen[it.value.Text] = true
			}
			a.list = append(a.list, it.value.Text)
		}
	}
	if a.order != "" {
		slices.SortFunc(a.list, event.CompareTexts)
	}
	if a.order == descending {
		slices.Reverse(a.list)
	}
	return strings.Join(a.list, a.separator)
}

// Clear implements Aggregate.
func (a *concat) Clear(slot int) {
	a.stale(slot)
	a.sequence.Clear(slot)
}

// LoadState implements Aggregate.
func (a *concat) LoadState(slot int, src []byte) error {
	a.stale(slot)
	return a.sequence.LoadState(slot, src)
}

// LoadSegment implements Segmented.
func (a *concat) LoadSegment(slot int, name, src []byte) error {
	a.stale(slot)
	return a.sequence.LoadSegment(slot, name, src)
}
