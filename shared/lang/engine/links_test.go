package engine

import (
	"slices"
	"testing"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

func TestLinksState(t *testing.T) {
	statetest.Run(t,
		func() state.Source { return newLinks() },
		func(t *rapid.T, s state.Source) {
			subject := rapid.SampledFrom([]string{"out.a.S.0", "out.a.S.1", "out.b:c.S.0"}).Draw(t, "subject")
			at := result.Position{Generation: 1, Seq: rapid.Uint64Range(1, 20).Draw(t, "seq"), Ordinal: rapid.Uint64Range(0, 3).Draw(t, "ordinal")}
			s.(*linkTracker).seen(result.ID(subject, at))
		})
}

// The memory of an id belongs to the decoder, which uses it again for the next frame.
func TestLinksKeepNothingOfAnID(t *testing.T) {
	l := newLinks()
	var buf []byte
	seen := func(id string) bool {
		buf = append(buf[:0], id...)
		seen, ok := l.seen(unsafe.String(unsafe.SliceData(buf), len(buf)))
		if !ok {
			t.Fatalf("%s is no id of a result", id)
		}
		return seen
	}
	buf = make([]byte, 0, 64)
	for _, step := range []struct {
		id   string
		seen bool
	}{
		{"out.a.S.0:1:17.0", false},
		{"out.a.S.0:1:18.0", false}, // assigns to a key that is there
		{"out.b.S.0:1:99.0", false},
		{"out.a.S.0:1:18.0", true},
		{"out.b.S.0:1:98.0", true},
		{"out.a.S.0:1:19.0", false},
	} {
		if got := seen(step.id); got != step.seen {
			t.Errorf("%s: seen %v", step.id, got)
		}
	}
	var changed []string
	l.Changed(func(key []byte) { changed = append(changed, string(key)) })
	if want := []string{"out.a.S.0", "out.b.S.0"}; !slices.Equal(changed, want) {
		t.Errorf("changed: %q, want %q", changed, want)
	}
}

// A result counts once, although the log that had it was trimmed and its id forgotten.
func TestLinksForgetNothing(t *testing.T) {
	l := newLinks()
	for _, step := range []struct {
		id       string
		seen, ok bool
	}{
		{"out.a.S.0:1:17.2", false, true},
		{"out.a.S.0:1:17.2", true, true},
		{"out.a.S.0:1:17.1", true, true},
		{"out.a.S.1:1:17.1", false, true},
		{"out.a.S.0:1:18.0", false, true},
		{"out.a.S.0:2:1.0", false, true},
		{"out.a.S.0:1:99.0", true, true},
		{"my own id", false, false},
	} {
		if seen, ok := l.seen(step.id); seen != step.seen || ok != step.ok {
			t.Errorf("%s: seen %v, ok %v", step.id, seen, ok)
		}
	}
}
