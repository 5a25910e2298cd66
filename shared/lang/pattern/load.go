package pattern

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// Reset implements state.Source.
func (x *Matcher) Reset() {
	x.drain()
	x.loaded = nil
	x.spent, x.changed = false, false
	x.deadlines.reset()
}

// Put implements state.Source.
func (x *Matcher) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyBegun {
		if len(value) != 1 || value[0] != 1 || x.spent {
			return fmt.Errorf("pattern: the entry %q is there twice, or not 1", key)
		}
		x.spent = true
		return nil
	}
	number, ok := Number(key)
	if !ok {
		return fmt.Errorf("pattern: key %q is none of a pattern", key)
	}
	m := x.alloc()
	m.number = number
	if err := x.read(m, value); err != nil {
		x.mc.clear(m)
		x.mc.recycle(m)
		return fmt.Errorf("pattern: match %d: %w", number, err)
	}
	for s, arrival := range x.mc.arrived {
		if arrival > 0 {
			x.loaded = append(x.loaded, loadedWait{arrival, m.id, uint16(s)})
		}
	}
	x.remember(m)
	x.mc.count(1)
	m.set(shown, true)
	return nil
}

// loadedWait is a step where a loaded match waits.
type loadedWait struct {
	arrival uint64
	match   uint32
	step    uint16
}

func (x *Matcher) read(m *match, value []byte) error {
	mc := x.mc
	arrivals := mc.arrivals(m)
	slots, err := window.ReadSomeFields(value, func(f *window.Fields) { x.fields(m, arrivals, f) })
	if err != nil {
		return err
	}
	r, end := wire.New(slots), 0 // after the last slot that is not empty
	for i := range mc.Items {
		item := &mc.Items[i]
		for range item.Heads + item.Tails {
			e := r.Sized()
			if r.Failed() {
				return fmt.Errorf("an event: %w", r.Err())
			}
			if len(e) > 0 {
				end = r.Offset()
				if err := checkEvent(e, item); err != nil {
					return err
				}
			}
		}
	}
	if err := r.End(); err != nil {
		return err
	}
	mc.collect(m, slots[:end])
	return x.check(m, arrivals)
}

// check refuses a match that no sequence of events can produce.
func (x *Matcher) check(m *match, arrivals []uint64) error {
	p := x.mc.Spec
	lo, hi, counts := int(m.lo), int(m.hi), x.mc.counts(m)
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
		if err := x.checkItem(m, &p.Items[i]); err != nil {
			return err
		}
	}
	for s := lo; s <= hi; s++ {
		if arrivals[s] == 0 && (!p.Sequence || s == lo || s == hi) {
			return fmt.Errorf("it does not wait at step %d", s)
		}
	}
	for _, arrival := range arrivals {
		if arrival > x.mc.env.Seq() {
			return fmt.Errorf("its arrival number is %d of %d", arrival, x.mc.env.Seq())
		}
	}
	if m.number == 0 || m.number > x.mc.env.Seq() {
		return fmt.Errorf("its number is %d of %d", m.number, x.mc.env.Seq())
	}
	return x.checkSides(m)
}

// checkItem compares the stored events of an item with the counts of the match.
func (x *Matcher) checkItem(m *match, item *Item) error {
	p := x.mc.Spec
	step := &p.Steps[item.step]
	for n := range item.Heads + item.Tails {
		there := len(x.mc.slot(m, item.slot+n)) > 0
		have := 0
		switch {
		case step.Count:
			have = int(x.mc.counts(m)[item.step])
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
func (x *Matcher) checkSides(m *match) error {
	p := x.mc.Spec
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
			if seq := x.mc.deadlines(m.id).seq[side]; seq == 0 || seq > x.mc.env.Seq() {
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
	if m.is(spoiled) && (m.hi > 0 || !x.mc.restarted || opened < 2) {
		return errors.New("it is spoiled where it cannot be")
	}
	return nil
}

// Ready implements state.Source.
func (x *Matcher) Ready() error {
	slices.SortFunc(x.all, func(a, b numbered) int { return cmp.Compare(a.number(), b.number()) })
	for i, n := range x.all {
		if i > 0 && n.number() == x.all[i-1].number() {
			return fmt.Errorf("pattern: match %d is there twice", n.number())
		}
		x.mc.match(n.match - 1).place = uint32(i)
	}
	loaded := x.loaded
	x.loaded = nil
	if err := x.relist(loaded); err != nil {
		return err
	}
	x.await()
	x.tracked = true
	return x.startLoaded()
}

// relist puts the loaded matches into the lists that they wait in, in order of arrival.
func (x *Matcher) relist(loaded []loadedWait) error {
	mc := x.mc
	slices.SortFunc(loaded, func(a, b loadedWait) int { return cmp.Compare(a.arrival, b.arrival) })
	for i, w := range loaded {
		m, s := mc.match(w.match), int(w.step)
		if i > 0 && w.arrival == loaded[i-1].arrival {
			return fmt.Errorf("pattern: matches %d and %d have the same arrival number", mc.match(loaded[i-1].match).number, m.number)
		}
		for side, item := range mc.Steps[s].Items {
			if s < int(m.hi) || m.sides[side] == open {
				x.wait(m, item, w.arrival)
			}
		}
	}
	return nil
}

// await adds the loaded matches to the queues of deadlines and expiry.
func (x *Matcher) await() {
	mc := x.mc
	var due, first []moment
	x.each(func(m *match) {
		if m.is(hasFirst) && mc.Within != NoLimit {
			m.gen++
			first = append(first, moment{m.first, m.number, subject(m.id), m.gen})
		}
		if !mc.waits {
			return
		}
		d := mc.deadlines(m.id)
		for side, seq := range d.seq {
			if seq > 0 {
				d.gen[side]++
				due = append(due, moment{d.due[side], seq, sideOf(m, side), d.gen[side]})
			}
		}
	})
	order := func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq), cmp.Compare(a.subject, b.subject))
	}
	slices.SortFunc(due, order)
	slices.SortFunc(first, order)
	for _, t := range due {
		x.deadlines.push(t)
	}
	for _, t := range first {
		mc.expiry.push(t)
	}
}

// startLoaded adds the match that is not stored, if the loaded ones leave room for it.
func (x *Matcher) startLoaded() error {
	mc := x.mc
	in := 0
	if mc.restarted {
		x.each(func(m *match) {
			if x.unfinished(m, 0) {
				in++
			}
		})
	}
	switch {
	case in > 1: // zero is also valid: the group may be over, or start with the next event
		return fmt.Errorf("pattern: %d matches are in the first group, expected one at most", in)
	case len(x.all) > 0 && !x.spent && (!mc.restarted || mc.timed):
		return errors.New("pattern: there are matches, but it has not started")
	case in == 0:
		x.start()
	}
	return nil
}
