package join

import (
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// The index lists the rows of each hash in order, whatever came and went before.
func TestIndexListsRowsInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x, want := New(), map[uint64][]uint64{}
		before := func(a, b uint64) bool { return a < b }
		for range rapid.IntRange(0, 200).Draw(t, "steps") {
			hash := rapid.Uint64Range(0, 20).Draw(t, "hash")
			id := rapid.Uint64Range(0, 9).Draw(t, "id")
			at, listed := slices.BinarySearch(want[hash], id)
			if rapid.Bool().Draw(t, "add") {
				if listed {
					continue
				}
				x.Add(hash, id, before)
				want[hash] = slices.Insert(want[hash], at, id)
				continue
			}
			if x.Remove(hash, id) != listed {
				t.Fatalf("removing row %d of hash %d: want %v", id, hash, listed)
			}
			if listed {
				want[hash] = slices.Delete(want[hash], at, at+1)
			}
		}
		hashes := 0
		for hash, ids := range want {
			var got []uint64
			for at, ok := x.First(hash); ok; at, ok = x.Next(at) {
				got = append(got, x.At(at))
			}
			if !slices.Equal(got, ids) {
				t.Fatalf("hash %d: rows %v, want %v", hash, got, ids)
			}
			if len(ids) > 0 {
				hashes++
			}
		}
		if x.Len() != hashes {
			t.Fatalf("%d hashes, want %d", x.Len(), hashes)
		}
	})
}
