// Package pattern matches patterns and sequences: it keeps partial matches, moves them from step to
// step as events arrive and deadlines pass, and exposes them as state. It is a pure data structure.
// Package engine compiles the filters and turns matches into rows.
//
//	event ──► expire (within) ──► steps, from the last to the first ──► next step ──► row
//	                                         │ filter: own part, key, rest
//	deadline (not … for) ────────────────────┘
//
// A partial match waits at one step, and also at earlier count steps that may still collect
// events. Start with matcher.go.
package pattern

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// Spec is a compiled pattern. It is read-only after Complete.
type Spec struct {
	Sequence bool
	Within   int64 // ms from the first event of a match; NoLimit: none
	Steps    []Step
	Items    []Item // of all steps, in order
	Groups   []Group

	slots     int
	byStream  [][]int // by stream: its items, in the order of evaluation
	groupEnd  []int   // by step: the group that ends there, or -1
	inGroup   []int   // by step: the group that contains it, or -1
	counted   bool    // some step is a count
	waits     bool    // some item has a `for`
	timed     bool    // the first match waits for a deadline
	restarted bool    // the first step is in a group
}

// NoLimit stands for no maximum, no `within` and no `for`.
const NoLimit = -1

// Step is one step: an item, or two joined by and/or.
type Step struct {
	Items    []int
	Or       bool
	Count    bool
	Min, Max int // of a count; Max is NoLimit without a maximum
}

// Item is one event that a step waits for, or that must be absent.
type Item struct {
	Stream int // the caller's number for the stream
	Absent bool
	For    int64 // ms, of an absent item; NoLimit: until its partner's event
	Schema *event.Schema
	Used   []int // attributes that are read later, in order
	// Heads and Tails are how many events are kept: the first ones and the last ones. A step that
	// is not a count keeps at most one event, as a head.
	Heads, Tails int
	// Own, Keyed and Rest say which parts the filter has: conditions on the event alone,
	// equalities with earlier events, and all others.
	Own, Keyed, Rest bool
	// Feeds are the items whose equalities read nothing of the match but the item's event, so that
	// the event alone says where a match will wait after it. They are only needed for speed.
	Feeds []int

	step, side, slot int
}

// Use makes matches keep an attribute of the item's events.
func (i *Item) Use(attr int) {
	if at, there := slices.BinarySearch(i.Used, attr); !there {
		i.Used = slices.Insert(i.Used, at, attr)
	}
}

// Group is an `every`: the steps First to Last.
type Group struct {
	First, Last int
	lazy        bool // all its steps may be empty
}

// Complete sets the derived fields. Call it once.
func (p *Spec) Complete(streams int) {
	p.byStream = make([][]int, streams)
	for s := range p.Steps {
		for side, i := range p.Steps[s].Items {
			item := &p.Items[i]
			item.step, item.side, item.slot = s, side, p.slots
			p.waits = p.waits || item.For != NoLimit
			p.slots += item.Heads + item.Tails
		}
		p.counted = p.counted || p.Steps[s].Count
		p.groupEnd, p.inGroup = append(p.groupEnd, -1), append(p.inGroup, -1)
	}
	for g := range p.Groups {
		group := &p.Groups[g]
		p.groupEnd[group.Last] = g
		group.lazy = true
		for s := group.First; s <= group.Last; s++ {
			p.inGroup[s] = g
			group.lazy = group.lazy && p.mayBeEmpty(s)
		}
		p.restarted = p.restarted || group.First == 0
	}
	for s := len(p.Steps) - 1; s >= 0; s-- {
		items := slices.Clone(p.Steps[s].Items)
		slices.SortStableFunc(items, func(a, b int) int { return p.before(a) - p.before(b) })
		for _, i := range items {
			p.byStream[p.Items[i].Stream] = append(p.byStream[p.Items[i].Stream], i)
		}
	}
	for s := range p.Steps {
		p.timed = p.timed || slices.ContainsFunc(p.Steps[s].Items, func(i int) bool { return p.Items[i].For != NoLimit })
		if !p.mayBeEmpty(s) {
			break
		}
	}
}

// before orders the items of a step: absent items go first.
func (p *Spec) before(item int) int {
	if p.Items[item].Absent {
		return 0
	}
	return 1
}

func (p *Spec) mayBeEmpty(step int) bool { return p.Steps[step].Count && p.Steps[step].Min == 0 }

// Timed reports whether the first match starts with a deadline.
func (p *Spec) Timed() bool { return p.timed }

// Event is a row of one of the pattern's streams.
type Event struct {
	B  *event.Batch
	I  int
	TS int64
}

// Evaluator evaluates the filters of items. Functions for a part are only called for items that
// have the part.
type Evaluator interface {
	// Own tests the conditions on the event alone.
	Own(item int, e *Event) bool
	// Key appends the event's side of the equalities; false if a value is null or NaN.
	Key(item int, e *Event, dst []byte) ([]byte, bool)
	// Held appends the match's side of the equalities.
	Held(item int, m Match, dst []byte) ([]byte, bool)
	// Fed appends what Held will append for Item.Feeds[n] of a match that has the event at an item.
	Fed(item, n int, e *Event, dst []byte) ([]byte, bool)
	// Rest tests the other conditions.
	Rest(item int, e *Event, m Match) bool
}

// Owner is the component that owns a Matcher.
type Owner interface {
	// Changing is called before the matcher changes.
	Changing()
	// Matched is called with each finished match; its time is m.Time(). The match is valid
	// during the call.
	Matched(m Match)
}
