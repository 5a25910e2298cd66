package engine

import (
	"testing"

	"pgregory.net/rapid"
)

// A table of words is a map, whatever is put in and forgotten.
func TestWordTableIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var table wordTable
		keys := []groupKey{}
		slots := map[uint64]int32{}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			word := rapid.Uint64Range(0, 60).Draw(t, "word") << rapid.SampledFrom([]int{0, 40, 58}).Draw(t, "shift")
			got, ok := table.get(word)
			want, known := slots[word]
			if ok != known || ok && got != want {
				t.Fatalf("word %d: got %d %t, want %d %t", word, got, ok, want, known)
			}
			switch {
			case !ok:
				slots[word] = int32(len(keys))
				table.put(word, int32(len(keys)))
				keys = append(keys, groupKey{kind: wordKey, word: word})
			case rapid.IntRange(0, 9).Draw(t, "forget") == 0:
				for i := range keys {
					if keys[i].kind == wordKey && rapid.Bool().Draw(t, "this") {
						delete(slots, keys[i].word)
						keys[i] = groupKey{}
					}
				}
				table.rebuild(keys)
			}
		}
	})
}

func TestDedupForgetsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const span = 100
		d := newDedup(span)
		last := map[string]int64{}
		now := int64(0)
		for range rapid.IntRange(1, 500).Draw(t, "steps") {
			now += int64(rapid.IntRange(0, 30).Draw(t, "passes"))
			id := rapid.StringMatching(`[a-c]{1,2}`).Draw(t, "id")
			d.forget(now)
			at, known := last[id]
			want := known && at > now-span
			if got := d.seen(id, now); got != want {
				t.Fatalf("id %q at %d, last at %d: seen is %t, want %t", id, now, at, got, want)
			}
			if !want {
				last[id] = now
			}
		}
	})
}
