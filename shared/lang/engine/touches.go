package engine

// The parts of a memory that are states of their own. The key of an instance stands
// with the first of its memories.
const (
	windows = iota
	aggregates
	partitionKeys
	parts
)

// touches lists the memories of a query of which a part may have changed. When it is
// frozen, a new round begins. A memory that was listed in the round before is told
// then as it is: by and by, or just before it changes.
type touches struct {
	part   int
	round  uint32    // begins with 1
	list   []*memory // those of this round, each once
	frozen []*memory // those of the round before that may not be told yet
	tell   func(*memory)

	// Keys of entries that went away with their memories, each with its length: in this
	// round, and in the round before.
	gone, frozenGone []byte
}

// touch notes that the memory is about to change.
func (s *memory) touch() {
	if q := s.q; s.rounds[windows] != q.touched[windows].round || s.rounds[aggregates] != q.touched[aggregates].round {
		s.list()
	}
}

func (s *memory) list() {
	for part := range s.q.touched {
		s.q.touched[part].touch(s)
	}
}

func (t *touches) touch(s *memory) {
	if s.rounds[t.part] != t.round {
		t.melt(s)
		s.rounds[t.part], s.listed[t.part] = t.round, int32(len(t.list))
		t.list = append(t.list, s)
	}
}

// melt tells a memory that is frozen.
func (t *touches) melt(s *memory) {
	if round := &s.rounds[t.part]; t.tell != nil && *round == t.round-1 {
		*round, s.shown[t.part] = 0, true
		t.tell(s)
	}
}

// drain empties the list. Nothing is frozen.
func (t *touches) drain(visit func(*memory), gone func(key []byte)) {
	eachKey(t.gone, gone)
	t.gone = t.gone[:0]
	for _, s := range t.list {
		s.rounds[t.part], s.shown[t.part] = 0, true
		visit(s)
	}
	clear(t.list)
	t.list = t.list[:0]
}

// freeze freezes what is listed. Nothing was frozen.
func (t *touches) freeze(tell func(*memory)) {
	t.frozen, t.list = t.list, t.frozen[:0]
	t.frozenGone, t.gone = t.gone, t.frozenGone[:0]
	t.tell = tell
	t.round++
}

// thaw has one more memory told, or one more key that has gone; false if there is none.
func (t *touches) thaw(gone func(key []byte)) bool {
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

// remove takes a memory away that ends. If any of its entries were shown, entries calls
// its argument with the keys of all that there are or were.
func (t *touches) remove(s *memory, entries func(visit func(key []byte))) {
	t.melt(s)
	if s.rounds[t.part] == t.round {
		at, last := s.listed[t.part], len(t.list)-1
		other := t.list[last]
		t.list[at], other.listed[t.part] = other, at
		t.list[last] = nil
		t.list = t.list[:last]
	}
	s.rounds[t.part] = 0
	if s.shown[t.part] {
		entries(func(key []byte) {
			start := len(t.gone)
			t.gone = lengthBefore(append(t.gone, key...), start)
		})
	}
}
