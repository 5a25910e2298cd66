package engine

import (
	"testing"

	"pgregory.net/rapid"

	"eventflux/shared/place"
	"eventflux/shared/state"
	"eventflux/shared/state/statetest"
)

func TestLinksState(t *testing.T) {
	statetest.Run(t,
		func() state.Source { return newLinks() },
		func(t *rapid.T, s state.Source) {
			subject := rapid.SampledFrom([]string{"out.a.S.0", "out.a.S.1", "out.b:c.S.0"}).Draw(t, "subject")
			at := place.Place{Generation: 1, Seq: rapid.Uint64Range(1, 20).Draw(t, "seq"), Ordinal: rapid.Uint64Range(0, 3).Draw(t, "ordinal")}
			s.(*links).seen(place.ID(subject, at))
		})
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
