package pattern

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// Reset implements state.Source.
func (x *Matcher) Reset() {
	x.drain()
	x.loaded = nil
	x.entries.spent, x.entries.changed = false, false
	x.deadlines.reset()
}

// Put implements state.Source.
func (x *Matcher) Put(key, value []byte) error {
	if len(key) == 1 && key[0] == keyBegun {
		if len(value) != 1 || value[0] != 1 || x.entries.spent {
			return fmt.Errorf("pattern: the entry %q is there twice, or not 1", key)
		}
		x.entries.spent = true
		return nil
	}
	number, ok := Number(key)
	if !ok {
		return fmt.Errorf("pattern: key %q is none of a pattern", key)
	}
	m := x.alloc()
	m.number = number
	if err := x.mc.entry(m).read(value); err != nil {
		x.mc.clear(m)
		x.mc.recycle(m)
		return fmt.Errorf("pattern: match %d: %w", number, err)
	}
	for s, arrival := range x.mc.arrived {
		if arrival > 0 {
			x.loaded = append(x.loaded, loadedWait{arrival, m.id, uint16(s)})
		}
	}
	x.entries.add(x.mc, m)
	m.set(shown, true)
	return nil
}

// loadedWait is a step where a loaded match waits.
type loadedWait struct {
	arrival uint64
	match   uint32
	step    uint16
}

// Ready implements state.Source.
func (x *Matcher) Ready() error {
	slices.SortFunc(x.entries.all, func(a, b numbered) int { return cmp.Compare(a.number(), b.number()) })
	for i, n := range x.entries.all {
		if i > 0 && n.number() == x.entries.all[i-1].number() {
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
	x.entries.tracked = true
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
				x.waiting.add(mc, m, item, w.arrival)
			}
		}
	}
	return nil
}

// await adds the loaded matches to the queues of deadlines and expiry.
func (x *Matcher) await() {
	mc := x.mc
	var due, first []moment
	x.entries.each(x.mc, func(m *match) {
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
		x.entries.each(x.mc, func(m *match) {
			if x.unfinished(m, 0) {
				in++
			}
		})
	}
	switch {
	case in > 1: // zero is also valid: the group may be over, or start with the next event
		return fmt.Errorf("pattern: %d matches are in the first group, expected one at most", in)
	case len(x.entries.all) > 0 && !x.entries.spent && (!mc.restarted || mc.timed):
		return errors.New("pattern: there are matches, but it has not started")
	case in == 0:
		x.start()
	}
	return nil
}
