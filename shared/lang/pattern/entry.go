package pattern

import (
	"errors"
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// entry is the entry of a match in the state: the match itself, and the numbers that order it at the
// steps where it waits.
type entry struct {
	mc       *Machine
	match    *match
	arrivals []uint64 // by step; valid until the machine makes another entry
}

func (mc *Machine) entry(m *match) entry { return entry{mc, m, mc.arrivals(m)} }

// append appends the value of the entry.
func (e entry) append(dst []byte) []byte {
	return e.mc.appendSlots(window.WriteFields(dst, e.fields), e.match)
}

// fields lists the numbers of the match, without its events.
func (e entry) fields(f *window.Fields) {
	mc, m := e.mc, e.match
	began, broken := m.is(hasFirst), m.is(spoiled)
	f.Bool(&began)
	f.Bool(&broken)
	m.set(hasFirst, began)
	m.set(spoiled, broken)
	lo, hi := int(m.lo), int(m.hi)
	f.Count(&lo)
	f.Count(&hi)
	f.Require(lo <= hi && hi < len(mc.Steps), "it waits at the steps %d to %d of %d", lo, hi, len(mc.Steps))
	if f.Failed() {
		return
	}
	m.lo, m.hi = uint16(lo), uint16(hi)
	for s := lo; s <= hi; s++ {
		f.Uint(&e.arrivals[s])
	}
	f.Int(&m.last)
	if began {
		f.Int(&m.first)
	}
	counts := mc.counts(m)
	for s := range counts {
		if mc.Steps[s].Count && s <= hi {
			n := int(counts[s])
			f.Count(&n)
			f.Require(n <= math.MaxUint32, "it has %d events of step %d", n, s)
			counts[s] = uint32(n)
		}
	}
	for side, i := range mc.Steps[hi].Items {
		n := uint64(m.sides[side])
		f.Uint(&n)
		f.Require(n <= uint64(violated), "a side of %d", n)
		m.sides[side] = status(n)
		if mc.Items[i].For != NoLimit && m.sides[side] == open {
			d := mc.deadlines(m.id)
			f.Int(&d.due[side])
			f.Uint(&d.seq[side])
		}
	}
}

// arrivals returns the numbers that order a match, by step; 0 where it does not wait. They are valid
// until the next call.
func (mc *Machine) arrivals(m *match) []uint64 {
	if mc.arrived == nil {
		mc.arrived = make([]uint64, len(mc.Steps))
	}
	clear(mc.arrived)
	for r := m.nodes; r != none; {
		n := mc.node(r)
		mc.arrived[mc.Items[n.item].step] = n.arrival
		r = n.sibling
	}
	return mc.arrived
}

// read sets the match to the value of an entry, unless no sequence of events can produce it.
func (e entry) read(value []byte) error {
	slots, err := window.ReadSomeFields(value, e.fields)
	if err != nil {
		return err
	}
	r, end := wire.New(slots), 0 // after the last slot that is not empty
	for i := range e.mc.Items {
		item := &e.mc.Items[i]
		for range item.Heads + item.Tails {
			kept := r.Sized()
			if r.Failed() {
				return fmt.Errorf("an event: %w", r.Err())
			}
			if len(kept) > 0 {
				end = r.Offset()
				if err := checkEvent(kept, item); err != nil {
					return err
				}
			}
		}
	}
	if err := r.End(); err != nil {
		return err
	}
	e.mc.collect(e.match, slots[:end])
	return e.check()
}

// check returns an error for a match that no sequence of events can produce.
func (e entry) check() error {
	p, m := e.mc.Spec, e.match
	lo, hi, counts := int(m.lo), int(m.hi), e.mc.counts(m)
	for s := range p.Steps {
		step := &p.Steps[s]
		n := 0
		if step.Count {
			n = int(counts[s])
		}
		switch {
		case !step.Count:
			if s < hi && s >= lo {
				return fmt.Errorf("it waits at step %d and at later ones, but that step takes one event", s)
			}
		case s > hi && n > 0, step.Max != NoLimit && n > step.Max, s < hi && n < step.Min,
			s == hi && n >= step.Min && !p.Sequence, s >= lo && s < hi && n == step.Max:
			return fmt.Errorf("it has %d events of step %d", n, s)
		}
	}
	for i := range p.Items {
		if err := e.checkItem(&p.Items[i]); err != nil {
			return err
		}
	}
	for s := lo; s <= hi; s++ {
		if e.arrivals[s] == 0 && (!p.Sequence || s == lo || s == hi) {
			return fmt.Errorf("it does not wait at step %d", s)
		}
	}
	for _, arrival := range e.arrivals {
		if arrival > e.mc.env.Seq() {
			return fmt.Errorf("its arrival number is %d of %d", arrival, e.mc.env.Seq())
		}
	}
	if m.number == 0 || m.number > e.mc.env.Seq() {
		return fmt.Errorf("its number is %d of %d", m.number, e.mc.env.Seq())
	}
	return e.checkSides()
}

// checkItem compares the stored events of an item with the counts of the match.
func (e entry) checkItem(item *Item) error {
	p, m := e.mc.Spec, e.match
	step := &p.Steps[item.step]
	for n := range item.Heads + item.Tails {
		there := len(e.mc.slot(m, item.slot+n)) > 0
		have := 0
		switch {
		case step.Count:
			have = int(e.mc.counts(m)[item.step])
		case item.step == int(m.hi) && m.sides[item.side] == taken:
			have = 1
		case item.step < int(m.hi) && len(step.Items) == 2:
			continue // the other side may have been enough
		case item.step < int(m.hi):
			have = 1
		}
		at := n
		if n >= item.Heads {
			at -= item.Heads
		}
		if there != (at < have) {
			return fmt.Errorf("event %d of step %d is missing, or too much", at, item.step)
		}
	}
	return nil
}

// checkSides refuses sides that the step cannot have, or that would have ended it.
func (e entry) checkSides() error {
	p, m := e.mc.Spec, e.match
	step := &p.Steps[m.hi]
	opened := 0
	for side, i := range step.Items {
		item := &p.Items[i]
		timed := item.Absent && item.For != NoLimit
		switch m.sides[side] {
		case open:
			opened++
			if !timed {
				break
			}
			if seq := e.mc.deadlines(m.id).seq[side]; seq == 0 || seq > e.mc.env.Seq() {
				return fmt.Errorf("the number of its deadline is %d", seq)
			}
		case taken:
			if item.Absent || step.Or || len(step.Items) == 1 {
				return fmt.Errorf("side %d has an event, but waits", side)
			}
		case passed:
			if !timed || step.Or || len(step.Items) == 1 {
				return fmt.Errorf("the time of side %d has passed, but it waits", side)
			}
		case violated:
			if !timed || !step.Or {
				return fmt.Errorf("side %d is violated, but waits", side)
			}
		}
	}
	if opened == 0 {
		return errors.New("it waits for nothing")
	}
	if m.is(spoiled) && (m.hi > 0 || !e.mc.restarted || opened < 2) {
		return errors.New("it is spoiled where it cannot be")
	}
	return nil
}
