package shrink

import "testing"

func TestRoomIsGivenBackWhenFarLessIsUsed(t *testing.T) {
	for _, test := range []struct {
		name       string
		used, room int
		given      bool
	}{
		{"small", 0, roomMin, false},
		{"large and used", roomMin, 2 * roomMin, false},
		{"just enough used", 2 * roomMin / ratio, 2 * roomMin, false},
		{"nearly unused", 2*roomMin/ratio - 1, 2 * roomMin, true},
		{"unused", 0, 2 * roomMin, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := make([]int, test.used, test.room)
			for i := range s {
				s[i] = i
			}
			if got := cap(Reset(s)) < test.room; got != test.given {
				t.Errorf("Reset gives memory back: %v", got)
			}
			small := Slice(s)
			if got := cap(small) < test.room; got != test.given {
				t.Errorf("Slice gives memory back: %v", got)
			}
			if len(small) != test.used || test.used > 0 && small[test.used-1] != test.used-1 {
				t.Errorf("Slice has %d elements, want %d", len(small), test.used)
			}
		})
	}
}

// A slice that is filled and emptied in turns keeps its memory: the large uses are what it is for.
func TestResetKeepsWhatTheLastUseNeeded(t *testing.T) {
	s := make([]int, 4*roomMin)
	if s = Reset(s); cap(s) != 4*roomMin {
		t.Errorf("capacity %d after a use of all", cap(s))
	}
	if s = Reset(append(s, 1)); cap(s) != 0 {
		t.Errorf("capacity %d after a use of one element", cap(s))
	}
}

func TestMapKeepsItsEntries(t *testing.T) {
	var m Map[int, int]
	const entries = 4 * roomMin
	for i := range entries {
		m.Put(i, -i)
	}
	for i := range entries - 10 {
		m.Delete(i)
	}
	if m.most >= entries || len(m.M) != 10 {
		t.Errorf("%d entries, with memory for %d", len(m.M), m.most)
	}
	for i := entries - 10; i < entries; i++ {
		if m.M[i] != -i {
			t.Errorf("key %d has %d", i, m.M[i])
		}
	}
}
