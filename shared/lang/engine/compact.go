package engine

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

// A group's slot is an index everywhere, so one group in a high slot holds the memory of all slots
// below. Once few of many groups are left, they move to the lowest slots. Their aggregators move by
// their stored state, as they do when a task restarts.

// stateBytesMax is how many bytes of state may be moved for each slot. If groups have more, it is tried
// again only after as many groups as there are slots were forgotten: the work for a group stays bounded.
const stateBytesMax = 64

// compactSlots is the smallest number of slots that makes it worth moving the groups. It is a variable
// for tests.
var compactSlots = 1 << 14

// compact moves the groups of a memory to the lowest slots, if they are few of many. It runs after
// sweep, which has forgotten the groups without rows. Frozen groups keep their slots until the next time.
func (s *memory) compact() {
	g := s.groups
	slots, live := len(g.keys), len(g.keys)-len(g.free)
	if slots < compactSlots || 16*live >= slots || g.frozen.tell != nil || g.forgotten < g.compactAfter {
		return
	}
	if !s.smallState(stateBytesMax * slots) {
		g.compactAfter = g.forgotten + slots
		return
	}
	old := s.aggs
	s.aggs, s.segmented = nil, nil
	for i := range old {
		s.keepAggregate(s.q.newAggregate(&s.q.plan.Aggs[i]))
	}
	for from, to := range g.compact(live) {
		for i := range old {
			if err := moveState(s.aggs[i], to, old[i], int(from)); err != nil {
				panic(fmt.Sprintf("engine: query %s: aggregator %s does not read the state that it has written: %v", s.q.plan.Name, s.q.plan.Aggs[i].Name, err))
			}
		}
	}
	for _, a := range s.segmented {
		if a != nil && g.round > 0 {
			a.ChangedSegments(func(int, []byte) {}) // keepSegments has just saved those that have changed
		}
	}
	if x := &s.q.sel; shrink.Far(len(g.keys), len(x.seen)) {
		x.seen, x.place = nil, nil
	}
}

// smallState reports whether the aggregators have at most so many bytes of state.
func (s *memory) smallState(most int) bool {
	for slot := range s.groups.keys {
		if s.groups.keys[slot].kind == noKey {
			continue
		}
		for _, a := range s.aggs {
			if eachState(a, slot, func(_, state []byte) { most -= len(state) }); most < 0 {
				return false
			}
		}
	}
	return true
}

// compact gives the groups the lowest slots, and returns the new slot of each former one.
func (g *groups) compact(live int) map[int32]int {
	moved := make(map[int32]int, live)
	old := *g
	*g = groups{
		attrs: old.attrs, signed: old.signed, single: old.single, null: -1, scratch: old.scratch,
		round: old.round, dropped: old.dropped,
	}
	g.room(live)
	if old.texts != nil {
		g.texts = map[string]int32{}
	}
	for s := range old.keys {
		if old.keys[s].kind == noKey {
			continue
		}
		slot := g.add(old.keys[s])
		g.slots[slot] = old.slots[s]
		moved[int32(s)] = slot
	}
	g.idle = 0
	for _, s := range old.touched {
		g.touched = append(g.touched, int32(moved[s]))
	}
	for _, s := range old.altered { // the keys of forgotten groups are in dropped
		if slot, ok := moved[s]; ok {
			g.altered = append(g.altered, int32(slot))
		}
	}
	return moved
}

// moveState moves the state of a slot to another aggregator of the same kind.
func moveState(to aggregate.Aggregate, slot int, from aggregate.Aggregate, old int) (err error) {
	next, segmented := to.(aggregate.Segmented)
	eachState(from, old, func(name, state []byte) {
		switch {
		case err != nil:
		case segmented:
			err = next.LoadSegment(slot, name, state)
		default:
			err = to.LoadState(slot, state)
		}
	})
	if err == nil && segmented {
		err = next.CheckSegments(slot)
	}
	return err
}

// eachState calls visit with the state of a slot: with each segment, if the aggregator has segments.
func eachState(a aggregate.Aggregate, slot int, visit func(name, state []byte)) {
	segmented, ok := a.(aggregate.Segmented)
	if !ok {
		visit(nil, a.AppendState(nil, slot))
		return
	}
	segment := func(name []byte) {
		state, _ := segmented.AppendSegment(nil, slot, name)
		visit(name, state)
	}
	segment(nil)
	segmented.Segments(slot, segment)
}
