package wordmap

import (
	"testing"

	"pgregory.net/rapid"
)

// Keys have the same values as in a map, whatever came and went before.
func TestMapIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, want := New[int32](), map[uint64]int32{}
		m.seed = rapid.Uint64().Draw(t, "seed")
		for range rapid.IntRange(0, 300).Draw(t, "steps") {
			key := rapid.Uint64Range(0, 60).Draw(t, "key") << rapid.IntRange(0, 58).Draw(t, "shift")
			switch value := rapid.Int32Range(-20, 1000).Draw(t, "value"); {
			case value > 0:
				*m.At(key) = value
				want[key] = value
			case value > -10:
				if v := m.Present(key); v != nil {
					*v++
					want[key]++
				}
			default:
				m.Remove(key)
				delete(want, key)
			}
			m.Prefetch([]uint64{key})
			if got := m.Get(key); got != want[key] {
				t.Fatalf("%x: %d, want %d", key, got, want[key])
			}
		}
		if m.Len() != len(want) {
			t.Fatalf("%d keys, want %d", m.Len(), len(want))
		}
		for key, value := range want {
			if got := m.Get(key); got != value {
				t.Fatalf("%x: %d, want %d", key, got, value)
			}
			m.Remove(key)
			if m.Present(key) != nil {
				t.Fatalf("%x is still there", key)
			}
		}
		m.Reset()
		if m.Len() != 0 || m.Get(1) != 0 {
			t.Fatal("keys after Reset")
		}
	})
}
