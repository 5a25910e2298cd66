package cli

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Deploying or removing an app prints that app, not all others again.
func TestChangesOfAppsAreNamed(t *testing.T) {
	plan := func(name, attribute string) *siddhiql.Plan {
		p, err := siddhiql.Compile("@app:name('" + name + "') define stream S (" + attribute + " int); from S select " + attribute + " insert into O;")
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	var out strings.Builder
	g := &greeter{out: &out, known: map[string]string{}}
	for _, step := range []struct {
		apps []*siddhiql.Plan
		want string // the apps that are printed
	}{
		{[]*siddhiql.Plan{plan("A", "x")}, "app A"},
		{[]*siddhiql.Plan{plan("A", "x"), plan("B", "x")}, "app B"},
		{[]*siddhiql.Plan{plan("A", "x"), plan("B", "x")}, ""},
		{[]*siddhiql.Plan{plan("A", "y"), plan("B", "x")}, "app A"},
		{[]*siddhiql.Plan{plan("B", "x")}, "app A takes no events any more"},
	} {
		out.Reset()
		g.changes(step.apps)
		var named []string
		for line := range strings.Lines(out.String()) {
			if strings.HasPrefix(line, "app ") {
				named = append(named, strings.TrimSpace(line))
			}
		}
		if got := strings.Join(named, ", "); got != step.want {
			t.Errorf("named %q, want %q", got, step.want)
		}
	}
}
