package siddhiql

import (
	"fmt"
	"strings"
)

// Automaton draws the pattern of a query as text: its steps, and what moves a match from one
// to the next. It is "" if the query reads no pattern.
func (q *Query) Automaton() string {
	if q.Pattern == nil {
		return ""
	}
	a := &automaton{q: q, p: q.Pattern}
	for s := range a.p.Steps {
		fmt.Fprintf(&a.text, "%3d  %s\n", s+1, a.p.Steps[s].Text)
		a.step(s)
	}
	if a.p.Sequence {
		a.anywhere("any other event of "+strings.Join(a.streams(), ", "), "the match ends")
	}
	if a.p.Within >= 0 {
		then := "the match ends"
		if len(a.p.Groups) > 0 && a.p.Groups[0].Last == len(a.p.Steps)-1 {
			then += a.again(0)
		}
		a.anywhere("an event more than "+durationText(a.p.Within)+" after the first", then)
	}
	return a.text.String()
}

type automaton struct {
	q    *Query
	p    *Pattern
	text strings.Builder
}

func (a *automaton) arrow(what, then string) { fmt.Fprintf(&a.text, "       %s → %s\n", what, then) }

// anywhere is an arrow that leaves every step.
func (a *automaton) anywhere(what, then string) { fmt.Fprintf(&a.text, "any  %s → %s\n", what, then) }

// step writes what can happen to a match that waits at a step.
func (a *automaton) step(s int) {
	step := &a.p.Steps[s]
	switch {
	case step.Count:
		a.count(s)
	case len(step.Items) == 2 && !step.Or:
		if what := a.awaited(step); what != "" {
			a.arrow(what, a.next(s))
		}
	default:
		for _, i := range step.Items {
			a.arrow(a.item(i), a.next(s))
		}
	}
	for side, i := range step.Items {
		if item := &a.p.Items[i]; item.Absent {
			a.arrow(streamText(item.Stream), a.violated(s, side))
		}
	}
}

// count writes how many events a step collects.
func (a *automaton) count(s int) {
	step := &a.p.Steps[s]
	name := streamText(a.p.Items[step.Items[0]].Stream)
	last := s == len(a.p.Steps)-1
	switch {
	case step.Min == step.Max || last:
		a.arrow(times(step.Min)+" "+name, a.next(s))
	case step.Max == countOpen:
		a.arrow(name, "collected, until a later step has an event")
	default:
		a.arrow(name, fmt.Sprintf("collected, up to %d, until a later step has an event", step.Max))
	}
	switch {
	case step.Min == step.Max || last:
	case step.Min == 0:
		a.arrow("at once", "also "+a.next(s))
	default:
		a.arrow(times(step.Min)+" "+name, "also "+a.next(s))
	}
}

func times(n int) string { return fmt.Sprintf("%d ×", n) }

// awaited is what both sides of an `and` need.
func (a *automaton) awaited(step *Step) string {
	var parts []string
	for _, i := range step.Items {
		if item := &a.p.Items[i]; !item.Absent || item.For >= 0 {
			parts = append(parts, a.item(i))
		}
	}
	return strings.Join(parts, " and ")
}

// item is what an item waits for.
func (a *automaton) item(i int) string {
	item := &a.p.Items[i]
	if item.Absent {
		return durationText(item.For) + " without " + streamText(item.Stream)
	}
	return streamText(item.Stream)
}

// next is where a match goes when a step is done.
func (a *automaton) next(s int) string {
	to := fmt.Sprintf("step %d", s+2)
	if s == len(a.p.Steps)-1 {
		to = "a row"
		if a.q.Target != nil {
			to += " into " + streamText(a.q.Target)
		}
	}
	for _, g := range a.p.Groups {
		switch {
		case g.Last != s:
		case a.lazy(g):
			to += fmt.Sprintf("; once a later step has an event, the next match starts at step %d", g.First+1)
		default:
			to += fmt.Sprintf("; the next match starts at step %d", g.First+1)
		}
	}
	return to
}

// lazy reports whether all steps of a group may be empty.
func (a *automaton) lazy(g Every) bool {
	for _, step := range a.p.Steps[g.First : g.Last+1] {
		if !step.Count || step.Min > 0 {
			return false
		}
	}
	return true
}

// violated is what happens when an event comes that must not come.
func (a *automaton) violated(s, side int) string {
	step := &a.p.Steps[s]
	first := s == 0 && !a.p.Sequence
	item := &a.p.Items[step.Items[side]]
	switch {
	case first && item.For >= 0:
		return "the wait starts again"
	case first && len(a.p.Groups) > 0 && a.p.Groups[0].First == 0:
		return "the next " + a.item(step.Items[1-side]) + " ends the match without a row"
	case step.Or && len(step.Items) == 2 && !a.p.Sequence:
		return "only " + a.item(step.Items[1-side]) + " counts"
	}
	return "the match ends" + a.again(s)
}

// again says that the group of a step starts again with a match that ends there.
func (a *automaton) again(s int) string {
	for _, g := range a.p.Groups {
		if g.First <= s && s <= g.Last && !a.p.Sequence {
			return fmt.Sprintf("; the next match starts at step %d", g.First+1)
		}
	}
	return ""
}

func (a *automaton) streams() (names []string) {
	for _, s := range a.p.reads() {
		names = append(names, streamText(s))
	}
	return names
}
