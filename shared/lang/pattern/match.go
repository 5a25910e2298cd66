package pattern

// status is the state of one item of the step where a match waits.
type status uint8

const (
	open     status = iota
	taken           // its event came
	passed          // the time of a `not … for` passed without the event
	violated        // an event came that must be absent, but the partner can still end the step
)

// match is a partial match. It waits at the steps lo to hi; all but the last are count steps that
// can collect more events. Matches are in slabs and hold no pointers, so a million of them cost the
// garbage collector nothing, and an event reads few cache lines.
type match struct {
	number uint64 // 0: it equals a new match, and is not stored
	first  int64  // ts of the first event of the first step, or the time when its wait ended
	last   int64  // ts of the newest event or deadline
	id     uint32 // among all matches of the machine
	owner  uint32 // its stepper's position in Machine.steppers
	place  uint32 // its position in entries.all, if it is stored
	dirty  uint32 // its position in entries.dirty, from 1; 0: unchanged
	gen    uint32 // changes whenever its expiry does, also when another match takes its memory
	events block  // what it collected: see slots.go
	size   uint32 // of what it collected
	nodes  ref    // the first of its nodes, in order of steps
	lo, hi uint16
	sides  [2]status
	flags  matchFlags
	own    node // its first node; a match rarely has more
}

type matchFlags uint8

const (
	hasFirst matchFlags = 1 << iota
	spoiled             // an event that must be absent came at the first step: the partner ends the match without a row
	shown               // its entry was shown, so its end is a deletion
)

func (m *match) is(f matchFlags) bool { return m.flags&f != 0 }

func (m *match) set(f matchFlags, on bool) {
	if m.flags &^= f; on {
		m.flags |= f
	}
}

// deadlines are the deadlines of a match at step hi, by side. Only patterns with a `not … for` have
// them.
type deadlines struct {
	due [2]int64
	seq [2]uint64 // orders them among timers of the same ms; 0: there is none
	gen [2]uint32 // changes with the deadline
}

// slab is memory for some matches. Counts, deadlines and ticks only exist if the pattern needs them.
type slab struct {
	matches   [matchesPerSlab]match
	counts    []uint32 // by match and step: number of events collected
	deadlines []deadlines
	moved     []uint64 // by match of a sequence: the tick when it last took an event or arrived
}

const matchesPerSlab = 128

// match returns the match with an id.
func (mc *Machine) match(id uint32) *match {
	return &mc.slabs[id/matchesPerSlab].matches[id%matchesPerSlab]
}

// counts returns how many events a match collected, by step; nil if no step is a count.
func (mc *Machine) counts(m *match) []uint32 {
	if !mc.counted {
		return nil
	}
	at := int(m.id%matchesPerSlab) * len(mc.Steps)
	return mc.slabs[m.id/matchesPerSlab].counts[at : at+len(mc.Steps)]
}

// deadlines returns the deadlines of a match of a pattern that has some.
func (mc *Machine) deadlines(id uint32) *deadlines {
	return &mc.slabs[id/matchesPerSlab].deadlines[id%matchesPerSlab]
}

func (mc *Machine) setMoved(m *match) {
	if mc.Sequence {
		mc.slabs[m.id/matchesPerSlab].moved[m.id%matchesPerSlab] = mc.tick
	}
}

// hasMoved reports whether a match of a sequence took the current event, or arrived with it.
func (mc *Machine) hasMoved(m *match) bool {
	return mc.slabs[m.id/matchesPerSlab].moved[m.id%matchesPerSlab] == mc.tick
}

// alloc returns an empty match.
func (x *stepper) alloc() *match {
	mc := x.mc
	if mc.free == 0 {
		mc.grow()
	}
	m := mc.match(mc.free - 1)
	mc.free = m.place
	m.owner, m.place = mc.register(x), 0
	mc.setMoved(m)
	return m
}

// grow allocates a slab of matches.
func (mc *Machine) grow() {
	s := &slab{}
	first := uint32(len(mc.slabs) * matchesPerSlab)
	mc.slabs = append(mc.slabs, s)
	if mc.counted {
		s.counts = make([]uint32, matchesPerSlab*len(mc.Steps))
	}
	if mc.waits {
		s.deadlines = make([]deadlines, matchesPerSlab)
	}
	if mc.Sequence {
		s.moved = make([]uint64, matchesPerSlab)
	}
	for i := len(s.matches) - 1; i >= 0; i-- { // the first one is used first
		m := &s.matches[i]
		m.id = first + uint32(i)
		mc.recycle(m)
	}
}

// recycle makes a match free. The free ones form a list by their places.
func (mc *Machine) recycle(m *match) {
	m.place, mc.free = mc.free, m.id+1
}

// register returns the position of a stepper in Machine.steppers.
func (mc *Machine) register(x *stepper) uint32 {
	if x.registered {
		return x.id
	}
	x.registered = true
	if last := len(mc.freeSteppers) - 1; last >= 0 {
		x.id = mc.freeSteppers[last]
		mc.freeSteppers = mc.freeSteppers[:last]
		mc.steppers[x.id] = x
		return x.id
	}
	x.id = uint32(len(mc.steppers))
	mc.steppers = append(mc.steppers, x)
	return x.id
}

// unregister forgets a stepper without matches.
func (mc *Machine) unregister(x *stepper) {
	if x.registered {
		x.registered = false
		mc.steppers[x.id] = nil
		mc.freeSteppers = append(mc.freeSteppers, x.id)
	}
}

// clear resets a match that waits nowhere.
func (mc *Machine) clear(m *match) {
	if m.events != 0 {
		mc.memory.release(m.events)
	}
	*m = match{id: m.id, gen: m.gen}
	clear(mc.counts(m))
	if mc.waits {
		d := mc.deadlines(m.id)
		*d = deadlines{gen: d.gen}
	}
}

// Match is a partial match as the matcher's users see it. It is valid during the call that passes
// it.
type Match struct {
	mc *Machine
	*match
}

// Number is the match's number in the state.
func (m Match) Number() uint64 { return m.number }

// Time returns the ts of its newest event, or of the newest deadline that passed.
func (m Match) Time() int64 { return m.last }

// Has reports whether the match has collected an event of an item.
func (m Match) Has(item int) bool {
	x := &m.mc.Items[item]
	counts := m.mc.counts(m.match)
	return m.mc.event(m.match, x, false, 0) != nil || counts != nil && counts[x.step] > 0
}
