package checkpoint

import (
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state"
)

// named is a holder that only has an info.
type named struct {
	state.Holder
	info state.Info
}

func (n named) Info() state.Info { return n.info }

func TestUrgentFirst(t *testing.T) {
	holder := func(id string, depends ...string) state.Holder {
		return named{info: state.Info{ID: id, Type: "t", Version: semver.MustParse("1.0.0"), DependsOn: depends}}
	}
	ordered := []state.Holder{
		holder("small"), holder("clock"), holder("empty"), holder("window", "clock"), holder("groups", "window", "clock"),
	}
	urgentFirst(ordered, map[string]*Component{
		"small":  {Runs: []Run{{Entries: 7}, {Entries: 2}}},
		"clock":  {Runs: []Run{{Entries: 1}}},
		"window": {Runs: []Run{{Entries: 100}}},
		"groups": {Runs: []Run{{Entries: 5000}}},
	})
	var got []string
	for _, h := range ordered {
		got = append(got, h.Info().ID)
	}
	if want := "clock window groups small empty"; strings.Join(got, " ") != want {
		t.Errorf("%s, want %s", got, want)
	}
}
