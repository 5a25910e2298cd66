package pattern

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// The state has an entry for each partial match that differs from a new one, and one that says
// whether the only attempt, or the wait at the start, has started. Lists, buckets, deadlines and
// the order of expiry are derived from the entries.
//
//	"m" number    flags, lo, hi, arrivals, times, counts, sides with deadlines, events
//	"f"           1, once it has started

const (
	keyMatch = 'm'
	keyBegun = 'f'
)

func matchKey(dst []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(dst, keyMatch), number)
}

// Number returns the number of a match from the key of its entry; false if the key is not of a
// match.
func Number(key []byte) (uint64, bool) {
	if len(key) != 9 || key[0] != keyMatch {
		return 0, false
	}
	return binary.BigEndian.Uint64(key[1:]), true
}

// Changed implements state.Source.
func (x *Matcher) Changed(visit func(key []byte)) {
	if !x.tracked {
		x.tracked = true
		x.stored(func(m *Match) { m.shown = true })
		x.changed = false
		x.Keys(visit)
		return
	}
	var key [9]byte
	for _, m := range x.dirty {
		m.dirty, m.shown = 0, true
		visit(matchKey(key[:0], m.number))
	}
	clear(x.dirty)
	x.dirty = x.dirty[:0]
	for _, number := range x.gone {
		visit(matchKey(key[:0], number))
	}
	x.gone = x.gone[:0]
	if x.changed {
		x.changed = false
		visit([]byte{keyBegun})
	}
}

// Keys implements state.Source.
func (x *Matcher) Keys(visit func(key []byte)) {
	var key [9]byte
	for _, n := range x.all[x.head:] {
		if n.match > 0 {
			visit(matchKey(key[:0], n.number))
		}
	}
	if x.spent {
		visit([]byte{keyBegun})
	}
}

// Append implements state.Source.
func (x *Matcher) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyBegun {
		return append(dst, 1), x.spent
	}
	number, ok := Number(key)
	if !ok {
		return dst, false
	}
	m := x.find(number)
	if m == nil {
		return dst, false
	}
	dst = window.WriteFields(dst, func(f *window.Fields) { x.fields(m, f) })
	for i := range m.ends {
		e := m.slot(i)
		dst = append(binary.AppendUvarint(dst, uint64(len(e))), e...)
	}
	return dst, true
}

// fields lists the numbers of a match, without its events. Its nodes exist only after the arrivals
// are read.
func (x *Matcher) fields(m *Match, f *window.Fields) {
	p := x.mc.Spec
	f.Bool(&m.hasFirst)
	f.Bool(&m.spoiled)
	f.Count(&m.lo)
	f.Count(&m.hi)
	f.Require(m.lo <= m.hi && m.hi < len(p.Steps), "it waits at the steps %d to %d of %d", m.lo, m.hi, len(p.Steps))
	if f.Failed() {
		return
	}
	for s := m.lo; s <= m.hi; s++ {
		arrival := m.arrival(s)
		f.Uint(&arrival)
		m.arrive(s, arrival)
	}
	f.Int(&m.last)
	if m.hasFirst {
		f.Int(&m.first)
	}
	for s := range m.counts {
		if p.Steps[s].Count && s <= m.hi {
			n := int(m.counts[s])
			f.Count(&n)
			m.counts[s] = uint32(n)
		}
	}
	for side, i := range p.Steps[m.hi].Items {
		n := uint64(m.sides[side])
		f.Uint(&n)
		f.Require(n <= uint64(violated), "a side of %d", n)
		m.sides[side] = status(n)
		if p.Items[i].For != NoLimit && m.sides[side] == open {
			f.Int(&m.due[side])
			f.Uint(&m.dueSeq[side])
		}
	}
}

// arrival returns the number that orders a match at a step; 0 if the match does not wait there.
func (m *Match) arrival(step int) uint64 {
	for _, n := range m.nodes {
		if m.x.mc.Items[n.item].step == step {
			return n.arrival
		}
	}
	return 0
}

// arrive records, while a match is loaded, that it waits at a step. It uses a node for the step's
// first item, which Ready replaces.
func (m *Match) arrive(step int, arrival uint64) {
	if arrival > 0 && m.arrival(step) == 0 {
		m.nodes = append(m.nodes, &node{m: m, item: m.x.mc.Steps[step].Items[0], arrival: arrival})
	}
}

// Reset implements state.Source.
func (x *Matcher) Reset() {
	x.Close()
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
		m.nodes = nil
		return fmt.Errorf("pattern: match %d: %w", number, err)
	}
	x.remember(m)
	x.mc.count(1, false)
	m.shown = true
	return nil
}

func (x *Matcher) read(m *Match, value []byte) error {
	rest, err := window.ReadSomeFields(value, func(f *window.Fields) { x.fields(m, f) })
	if err != nil {
		return err
	}
	for i := range x.mc.Items {
		item := &x.mc.Items[i]
		for n := range item.Heads + item.Tails {
			size, length := binary.Uvarint(rest)
			if length <= 0 || size > uint64(len(rest)-length) {
				return errors.New("an event is cut off")
			}
			e := rest[length : length+int(size)]
			rest = rest[length+int(size):]
			if size > 0 {
				if err := checkEvent(e, item); err != nil {
					return err
				}
			}
			m.setSlot(item.slot+n, e)
		}
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes are left over", len(rest))
	}
	return x.check(m)
}

// check refuses a match that no sequence of events can produce.
func (x *Matcher) check(m *Match) error {
	p := x.mc.Spec
	for s := range p.Steps {
		step := &p.Steps[s]
		n := 0
		if step.Count {
			n = int(m.counts[s])
		}
		switch {
		case !step.Count:
			if s < m.hi && s >= m.lo {
				return fmt.Errorf("it waits at step %d and at later ones, but that step takes one event", s)
			}
		case s > m.hi && n > 0, step.Max != NoLimit && n > step.Max, s < m.hi && n < step.Min,
			s == m.hi && n >= step.Min && !p.Sequence, s >= m.lo && s < m.hi && n == step.Max:
			return fmt.Errorf("it has %d events of step %d", n, s)
		}
	}
	for i := range p.Items {
		if err := x.checkItem(m, &p.Items[i]); err != nil {
			return err
		}
	}
	for s := m.lo; s <= m.hi; s++ {
		if m.arrival(s) == 0 && (!p.Sequence || s == m.lo || s == m.hi) {
			return fmt.Errorf("it does not wait at step %d", s)
		}
	}
	for _, n := range m.nodes {
		if n.arrival > x.mc.env.Seq() {
			return fmt.Errorf("its arrival number is %d of %d", n.arrival, x.mc.env.Seq())
		}
	}
	if m.number == 0 || m.number > x.mc.env.Seq() {
		return fmt.Errorf("its number is %d of %d", m.number, x.mc.env.Seq())
	}
	return x.checkSides(m)
}

// checkItem compares the stored events of an item with the counts of the match.
func (x *Matcher) checkItem(m *Match, item *Item) error {
	p := x.mc.Spec
	step := &p.Steps[item.step]
	for n := range item.Heads + item.Tails {
		there := len(m.slot(item.slot+n)) > 0
		have := 0
		switch {
		case step.Count:
			have = int(m.counts[item.step])
		case item.step == m.hi && m.sides[item.side] == taken:
			have = 1
		case item.step < m.hi && len(step.Items) == 2:
			continue // the other side may have been enough
		case item.step < m.hi:
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
func (x *Matcher) checkSides(m *Match) error {
	p := x.mc.Spec
	step := &p.Steps[m.hi]
	opened := 0
	for side, i := range step.Items {
		item := &p.Items[i]
		timed := item.Absent && item.For != NoLimit
		switch m.sides[side] {
		case open:
			opened++
			if timed && (m.dueSeq[side] == 0 || m.dueSeq[side] > x.mc.env.Seq()) {
				return fmt.Errorf("the number of its deadline is %d", m.dueSeq[side])
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
	if m.spoiled && (m.hi > 0 || !x.mc.restarted || opened < 2) {
		return errors.New("it is spoiled where it cannot be")
	}
	return nil
}

// Ready implements state.Source.
func (x *Matcher) Ready() error {
	slices.SortFunc(x.all, func(a, b numbered) int { return cmp.Compare(a.number, b.number) })
	var nodes []*node
	for i, n := range x.all {
		if i > 0 && n.number == x.all[i-1].number {
			return fmt.Errorf("pattern: match %d is there twice", n.number)
		}
		x.mc.places[n.match-1] = uint32(i)
	}
	x.stored(func(m *Match) {
		nodes = append(nodes, m.nodes...)
		m.nodes = m.few[:0]
	})
	if err := x.relist(nodes); err != nil {
		return err
	}
	x.await()
	x.tracked = true
	return x.startLoaded()
}

// relist puts the loaded matches into the lists that they wait in, in order of arrival.
func (x *Matcher) relist(nodes []*node) error {
	mc := x.mc
	slices.SortFunc(nodes, func(a, b *node) int { return cmp.Compare(a.arrival, b.arrival) })
	for i, n := range nodes {
		if i > 0 && n.arrival == nodes[i-1].arrival {
			return fmt.Errorf("pattern: matches %d and %d have the same arrival number", nodes[i-1].m.number, n.m.number)
		}
		s := mc.Items[n.item].step
		for side, item := range mc.Steps[s].Items {
			if s < n.m.hi || n.m.sides[side] == open {
				x.wait(n.m, item, n.arrival)
			}
		}
	}
	x.stored(func(m *Match) {
		slices.SortStableFunc(m.nodes, func(a, b *node) int { return cmp.Compare(a.item, b.item) })
	})
	return nil
}

// await adds the loaded matches to the queues of deadlines and expiry.
func (x *Matcher) await() {
	var due, first []moment
	x.stored(func(m *Match) {
		for side := range m.dueSeq {
			if seq := m.dueSeq[side]; seq > 0 {
				due = append(due, moment{at: m.due[side], seq: seq, wish: m.wish(wishSide + side)})
			}
		}
		if m.hasFirst && x.mc.Within != NoLimit {
			first = append(first, moment{at: m.first, seq: m.number, wish: m.wish(wishExpiry)})
		}
	})
	order := func(a, b moment) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.seq, b.seq), cmp.Compare(a.wish, b.wish))
	}
	slices.SortFunc(due, order)
	slices.SortFunc(first, order)
	for _, t := range due {
		x.mc.want(&x.deadlines, t.wish, t.at, t.seq)
	}
	for _, t := range first {
		x.mc.want(&x.mc.expiry, t.wish, t.at, t.seq)
	}
}

// startLoaded adds the match that is not stored, if the loaded ones leave room for it.
func (x *Matcher) startLoaded() error {
	mc := x.mc
	in := 0
	if mc.restarted {
		x.stored(func(m *Match) {
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

// Bytes implements state.Source.
func (x *Matcher) Bytes() int64 {
	const perMatch, some = 470, 256
	n, asked := int64(0), int64(0)
	for i := 0; i < len(x.all); i += len(x.all)/some + 1 {
		if id := x.all[i].match; id > 0 {
			m := x.mc.match(id - 1)
			n += int64(cap(m.events)) + 4*int64(len(m.ends)+len(m.counts))
			asked++
		}
	}
	return (n/max(asked, 1) + perMatch) * int64(x.Stored())
}
