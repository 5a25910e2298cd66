package state_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
)

// The digest stands in checkpoints: it must never change for the same entries.
func TestDigestsAreForEver(t *testing.T) {
	entries := []state.Entry{{[]byte("a"), []byte("1")}, {[]byte("b"), nil}, {nil, []byte("x")}}
	for n, want := range []string{
		"38723a2e5e8a17aa7950dc008209944e", "660ef345fe6681886c704b34fb2038c9",
		"90c6331ec10c57632bad5659f9ef376c", "f583fe6b5d304f40f77e6ffab33803ac",
	} {
		if got := state.DigestOf(entries[:n]).String(); got != want {
			t.Errorf("digest of %d entries is %s, want %s", n, got, want)
		}
	}
}

func TestDigestTellsStatesApart(t *testing.T) {
	states := map[string][]state.Entry{
		"none":            nil,
		"empty entry":     {{}},
		"a":               {{[]byte("a"), nil}},
		"a as value":      {{nil, []byte("a")}},
		"ab, c":           {{[]byte("ab"), []byte("c")}},
		"a, bc":           {{[]byte("a"), []byte("bc")}},
		"two":             {{[]byte("a"), []byte("1")}, {[]byte("b"), []byte("2")}},
		"two, exchanged":  {{[]byte("a"), []byte("2")}, {[]byte("b"), []byte("1")}},
		"the same twice":  {{[]byte("a"), []byte("1")}, {[]byte("a"), []byte("1")}},
		"the same thrice": {{[]byte("a"), []byte("1")}, {[]byte("a"), []byte("1")}, {[]byte("a"), []byte("1")}},
	}
	seen := map[state.Digest]string{{}: "no digest"}
	for name, entries := range states {
		d := state.DigestOf(entries)
		if other, taken := seen[d]; taken {
			t.Errorf("%s and %s have the digest %s", name, other, d)
		}
		seen[d] = name
	}
}

// Entries may come and go in any order.
func TestSumForgetsItsHistory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var entries []state.Entry
		for i := range rapid.IntRange(0, 20).Draw(t, "entries") {
			entries = append(entries, state.Entry{Key: fmt.Append(nil, i), Value: rapid.SliceOf(rapid.Byte()).Draw(t, "value")})
		}
		var s state.Sum
		for _, e := range entries {
			s.Add(e.Key, []byte("before"))
		}
		for _, e := range rapid.Permutation(entries).Draw(t, "order") {
			s.Add(e.Key, e.Value)
			s.Remove(e.Key, []byte("before"))
		}
		if got, want := s.Digest(), state.DigestOf(entries); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
	})
}

func TestDigestAsText(t *testing.T) {
	want := state.DigestOf([]state.Entry{{[]byte("a"), nil}})
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got state.Digest
	if err := json.Unmarshal(text, &got); err != nil || got != want || len(text) != 34 {
		t.Errorf("%s became %s, %v", text, got, err)
	}
	for _, wrong := range []string{`""`, `"zz"`, `"38723a2e5e8a17aa7950dc00820994"`, `"38723a2e5e8a17aa7950dc008209944g"`} {
		if err := json.Unmarshal([]byte(wrong), &got); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
}
