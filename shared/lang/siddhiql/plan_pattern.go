package siddhiql

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Pattern is the input of a query that reads a pattern or a sequence.
type Pattern struct {
	Sequence bool
	Within   int64 // ms; -1: none
	Steps    []Step
	Items    []PatternItem // of all steps, in the order written
	Groups   []Every       // in the order written
	Values   []Held        // by attribute of Query.In: what it is
}

// Step is one item of a pattern, or two joined by `and` or `or`.
type Step struct {
	Items    []int
	Or       bool
	Count    bool
	Min, Max int    // of a count; Max is -1 without a maximum
	Text     string // as written
}

// PatternItem is one event that a step wants, or that must not come.
type PatternItem struct {
	Name   string // "" without one
	Stream *Stream
	Absent bool
	For    int64  // of an absent item, ms; -1: until its partner comes
	Text   string // as written
	Own    []Expr // conditions over Stream alone
	Equal  []Equality
	Rest   []Expr // the other conditions, over Schema
	// Schema holds the attributes of Stream, and after them what the filter reads of earlier
	// events: Held.
	Schema *event.Schema
	Held   []Held
}

// Equality is `Own == Held` in a filter. Both are over the item's Schema: Own reads the event
// alone, and Held what does not change while a match waits.
type Equality struct{ Own, Held Expr }

// Every is an `every`: the steps First to Last.
type Every struct{ First, Last int }

// Held is a value of an event in a match: attribute Attr of event N of an item or, with Last,
// of event N before the last.
type Held struct {
	Item int
	Last bool
	N    int
	Attr int // of the item's stream, or HeldPresent or HeldTime
}

// Values of an event that are no attributes: HeldPresent is true if there is the event, else
// null; HeldTime is its timestamp.
const (
	HeldPresent = -1
	HeldTime    = -2
)

func (p *Pattern) reads() []*Stream {
	var list []*Stream
	for i := range p.Items {
		if s := p.Items[i].Stream; !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

func (p *Pattern) origin(a int) (*Stream, int, bool) {
	v := p.Values[a]
	if v.Attr < 0 {
		return nil, 0, false
	}
	return p.Items[v.Item].Stream, v.Attr, true
}
