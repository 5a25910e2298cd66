package engine

import "github.com/eventflux/eventflux/shared/lang/shrink"

// The parts of a memory that are states of their own. A change of an instance's key is
// listed under the first of its memories.
const (
	windows      = iota // of a join the left ones; of a pattern what it has matched so far
	rightWindows        // of a join
	rates               // what waits for the output rate
	aggregates
	partitionKeys
	partCount
)

// touchedInstances lists the memories of a query with a part that may have changed. Freezing it
// starts a new round. The memories of the previous round are then reported as they are:
// gradually, or just before they change.
type touchedInstances struct {
	part   int
	round  uint32    // starts with 1
	list   []*memory // those of this round, each once
	frozen []*memory // those of the previous round that may not be reported yet
	tell   func(*memory)

	// Keys of entries that went away with their memories, each with its length: in this
	// round, and in the previous one.
	gone, frozenGone []byte
}

// touch records that the memory is about to change.
func (s *memory) touch() {
	q := s.q
	if s.rounds[windows] != q.touched[windows].round || s.rounds[aggregates] != q.touched[aggregates].round ||
		s.more != nil && (s.rounds[rightWindows] != q.touched[rightWindows].round || s.rounds[rates] != q.touched[rates].round) {
		s.list()
	}
}

func (s *memory) list() {
	for part := range s.q.touched {
		if s.more == nil && (part == rightWindows || part == rates) {
			continue
		}
		s.q.touched[part].touch(s)
	}
}

func (t *touchedInstances) touch(s *memory) {
	if s.rounds[t.part] != t.round {
		t.melt(s)
		s.rounds[t.part], s.listed[t.part] = t.round, int32(len(t.list))
		t.list = append(t.list, s)
	}
}

// melt reports a memory if it is frozen.
func (t *touchedInstances) melt(s *memory) {
	if round := &s.rounds[t.part]; t.tell != nil && *round == t.round-1 {
		*round, s.shown[t.part] = 0, true
		t.tell(s)
	}
}

// drain empties the list. Nothing may be frozen.
func (t *touchedInstances) drain(visit func(*memory), gone func(key []byte)) {
	eachKey(t.gone, gone)
	t.gone = shrink.Reset(t.gone)
	for _, s := range t.list {
		s.rounds[t.part], s.shown[t.part] = 0, true
		visit(s)
	}
	clear(t.list)
	t.list = shrink.Reset(t.list)
}

// freeze freezes the listed memories. Nothing may be frozen before.
func (t *touchedInstances) freeze(tell func(*memory)) {
	t.frozen, t.list = t.list, shrink.Reset(t.frozen)
	t.frozenGone, t.gone = t.gone, shrink.Reset(t.frozenGone)
	t.tell = tell
	t.round++
}

// thaw reports one more memory, or one more key that has gone; false if there is none.
func (t *touchedInstances) thaw(gone func(key []byte)) bool {
	if len(t.frozenGone) > 0 {
		var key []byte
		key, t.frozenGone = firstKey(t.frozenGone)
		gone(key)
		return true
	}
	last := len(t.frozen) - 1
	if last < 0 {
		t.tell, t.frozenGone = nil, nil
		return false
	}
	s := t.frozen[last]
	t.frozen[last] = nil
	t.frozen = t.frozen[:last]
	t.melt(s)
	return true
}

// remove removes a memory that ends. If any of its entries were shown, entries calls its
// argument with the keys of all its present and past entries.
func (t *touchedInstances) remove(s *memory, entries func(visit func(key []byte))) {
	t.melt(s)
	if s.rounds[t.part] == t.round {
		at, last := s.listed[t.part], len(t.list)-1
		other := t.list[last]
		t.list[at], other.listed[t.part] = other, at
		t.list[last] = nil
		t.list = shrink.Slice(t.list[:last])
	}
	s.rounds[t.part] = 0
	if s.shown[t.part] {
		entries(func(key []byte) {
			start := len(t.gone)
			t.gone = lengthBefore(append(t.gone, key...), start)
		})
	}
}
