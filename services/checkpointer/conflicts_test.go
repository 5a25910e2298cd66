package checkpointer

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
)

// The answer to a deploy warns of streams of other apps that have the same subject and
// another definition. The app is deployed anyway.
func TestDeployWarnsOfConflicts(t *testing.T) {
	r := newRig(t)
	for _, c := range []struct {
		text string
		want []string // in the warnings, one each
	}{
		{"@app:name('first') define stream S (k string, n int); from S select k insert into O;", nil},
		{"@app:name('same') define stream S (n int, k string); from S select k insert into O;", nil},
		{"@app:name('elsewhere') @source(subject='other.x') define stream S (k string); from S select k insert into O;", nil},
		{
			"@app:name('narrow') define stream S (k string); from S select k insert into O;",
			[]string{"of app first (subject events.S) get the same events by different definitions: only the second has n;", "of app same"},
		},
		{
			"@app:name('wild') @source(subject='other.>') define stream W (k long, x bool); from W select k insert into O;",
			[]string{"of app elsewhere (subject other.x) get the same events by different definitions: k is long in the first and string in the second, only the first has x;"},
		},
		{"@app:name('results') @source(subject='out.first.O.0') define stream R (k long); from R select k insert into P;", nil},
		{"@app:name('results2') @source(subject='out.first.O.*') define stream R (k bool); from R select k insert into P;", nil},
		// The same text again is accepted, with the same conflict.
		{"@app:name('first') define stream S (k string, n int); from S select k insert into O;", []string{"of app narrow"}},
	} {
		d, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: c.text})
		must(t, err)
		if d.Name == "" || d.Generation == 0 || len(d.Warnings) != len(c.want) {
			t.Fatalf("%s: %+v", c.text, d)
		}
		for i, want := range c.want {
			if !strings.Contains(d.Warnings[i], want) {
				t.Errorf("%s: %q, want %q", c.text, d.Warnings[i], want)
			}
		}
	}
}
