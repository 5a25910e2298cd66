package state_test

import (
	"maps"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
)

// Merge is what maps do.
func TestMergeIsWhatMapsDo(t *testing.T) {
	keys := rapid.SampledFrom([]string{"", "a", "b", "ba", "c", "d", "\xff"})
	rapid.Check(t, func(t *rapid.T) {
		plain := map[string]string{}
		deltas := make([][]state.Change, rapid.IntRange(0, 6).Draw(t, "deltas"))
		var base []state.Entry
		for _, key := range slices.Sorted(slices.Values(rapid.SliceOfDistinct(keys, rapid.ID[string]).Draw(t, "base"))) {
			base = append(base, state.Entry{Key: []byte(key), Value: []byte("base")})
			plain[key] = "base"
		}
		for i := range deltas {
			for _, key := range slices.Sorted(slices.Values(rapid.SliceOfDistinct(keys, rapid.ID[string]).Draw(t, "keys"))) {
				value := rapid.StringN(0, 2, -1).Draw(t, "value")
				deleted := rapid.Bool().Draw(t, "deleted")
				deltas[i] = append(deltas[i], state.Change{Key: []byte(key), Value: []byte(value), Deleted: deleted})
				if plain[key] = value; deleted {
					delete(plain, key)
				}
			}
		}
		check := func(got []state.Entry) {
			keys := slices.Sorted(maps.Keys(plain))
			if len(got) != len(keys) {
				t.Fatalf("got %q, want %q", got, plain)
			}
			for i, key := range keys {
				if string(got[i].Key) != key || string(got[i].Value) != plain[key] {
					t.Fatalf("got %q, want %q", got, plain)
				}
			}
		}
		check(state.Merge(base, deltas...))
		split := rapid.IntRange(0, len(deltas)).Draw(t, "split")
		check(state.Merge(base, state.MergeChanges(deltas[:split]...), state.MergeChanges(deltas[split:]...)))
		check(state.Merge(state.Merge(base, deltas[:split]...), deltas[split:]...))
	})
}
