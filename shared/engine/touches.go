package engine

// The parts of a memory that are states of their own.
const (
	windows = iota
	aggregates
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
}

// touch notes that the memory is about to change.
func (s *memory) touch() {
	if q := s.q; s.rounds[windows] != q.touched[windows].round || s.rounds[aggregates] != q.touched[aggregates].round {
		s.list()
	}
}

func (s *memory) list() {
	for part := range s.rounds {
		if t := &s.q.touched[part]; s.rounds[part] != t.round {
			t.add(s)
		}
	}
}

func (t *touches) add(s *memory) {
	t.melt(s)
	s.rounds[t.part] = t.round
	t.list = append(t.list, s)
}

// melt tells a memory that is frozen.
func (t *touches) melt(s *memory) {
	if round := &s.rounds[t.part]; t.tell != nil && *round == t.round-1 {
		*round = 0
		t.tell(s)
	}
}

// drain empties the list. Nothing is frozen.
func (t *touches) drain(visit func(*memory)) {
	for _, s := range t.list {
		s.rounds[t.part] = 0
		visit(s)
	}
	clear(t.list)
	t.list = t.list[:0]
}

// freeze freezes what is listed. Nothing was frozen.
func (t *touches) freeze(tell func(*memory)) {
	t.frozen, t.list = t.list, t.frozen[:0]
	t.tell = tell
	t.round++
}

// thaw has one more memory told; false if there is none.
func (t *touches) thaw() bool {
	last := len(t.frozen) - 1
	if last < 0 {
		t.tell = nil
		return false
	}
	s := t.frozen[last]
	t.frozen[last] = nil
	t.frozen = t.frozen[:last]
	t.melt(s)
	return true
}
