package state_test

import (
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"github.com/eventflux/eventflux/shared/state"
)

// registryOf makes components from lines such as "b: a c", which is b of type T
// with what it depends on.
func registryOf(t *testing.T, lines ...string) *state.Registry {
	t.Helper()
	var r state.Registry
	for _, line := range lines {
		id, on, _ := strings.Cut(line, ":")
		info := state.Info{ID: id, Type: "type of " + id[:1], Version: semver.New(1, 0, 0, "", ""), DependsOn: strings.Fields(on)}
		if err := r.Add(state.NewComponent(info, newBook())); err != nil {
			t.Fatal(err)
		}
	}
	return &r
}

func ids(holders []state.Holder) string {
	var list []string
	for _, h := range holders {
		list = append(list, h.Info().ID)
	}
	return strings.Join(list, " ")
}

func TestOrderOfComponents(t *testing.T) {
	tests := []struct{ name, lines, want string }{
		{"none", "", ""},
		{"independent ones stay", "c,a,b", "a b c"},
		{"a chain", "a:b,b:c,c", "c b a"},
		{"a diamond beside another", "top:left right,left:base,right:base,base,alone", "alone base left right top"},
		{"a cycle", "a,b:c,c:d,d:b", "components depend on each other: b -> c -> d -> b"},
		{"itself", "a:a", "components depend on each other: a -> a"},
		{"not there", "a:ghost", `component "a" depends on "ghost", which does not exist`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := registryOf(t, strings.FieldsFunc(test.lines, func(c rune) bool { return c == ',' })...)
			list, err := r.Ordered()
			if err != nil {
				if !strings.HasSuffix(err.Error(), test.want) {
					t.Errorf("got %v, want %s", err, test.want)
				}
				return
			}
			if got := ids(list); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestFindComponents(t *testing.T) {
	r := registryOf(t, "b2", "b1", "a")
	if got := ids(r.List()); got != "a b1 b2" {
		t.Errorf("list is %s", got)
	}
	if got := ids(r.ByType("type of b")); got != "b1 b2" {
		t.Errorf("by type: %s", got)
	}
	if h, ok := r.ByID("b1"); !ok || h.Info().ID != "b1" {
		t.Error("b1 is not found by its id")
	}
	if _, ok := r.ByID("c"); ok {
		t.Error("c is found")
	}
	a, _ := r.ByID("a")
	if err := r.Add(a); err == nil || !strings.Contains(err.Error(), `"a"`) {
		t.Errorf("added twice: %v", err)
	}
}
