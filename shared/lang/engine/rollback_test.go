package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// A rollback says which components are not as before, and why.
func TestDifferences(t *testing.T) {
	const (
		smaller = "it was smaller, and has let rows go"
		counts  = "its window has lost rows"
		empty   = "it starts empty"
	)
	for _, c := range []struct {
		name, version, next string
		want                []string
	}{
		{
			"a window that was smaller", "from S#window.length(5) select k, sum(v) as n insert into Out;", "from S#window.length(3) select k, sum(v) as n insert into Out;",
			[]string{"q/window: " + smaller, "q/aggregate: " + counts},
		},
		{"a window that was larger", "from S#window.time(3 sec) select k, sum(v) as n insert into Out;", "from S#window.time(5 sec) select k, sum(v) as n insert into Out;", nil},
		{
			"an attribute that was not kept", "from S#window.length(5) select k, v insert expired events into Out;", "from S#window.length(5) select k, 1 as v insert expired events into Out;",
			[]string{"q/window: v was not kept, and is null in its rows"},
		},
		{
			"an aggregator that was gone", "from S select k, sum(v) as n, count() as m insert into Out;", "from S select k, sum(v) as n insert into Out;",
			[]string{"q/aggregate: an aggregator was gone, and starts from here"},
		},
		{
			"a query that was gone", "from S select k, sum(v) as n insert into Out;", "from S select k, 1 as n insert into Out;",
			[]string{"q/aggregate: " + empty},
		},
		{"another filter", "from S[v > 1]#window.length(5) select k, sum(v) as n insert into Out;", "from S[v > 2]#window.length(5) select k, sum(v) as n insert into Out;", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			var plans []*siddhiql.Plan
			for _, text := range []string{c.version, c.next} {
				plan, err := siddhiql.Compile("define stream S (k string, v int); @info(name='q') " + text)
				if err != nil {
					t.Fatal(err)
				}
				plans = append(plans, plan)
			}
			list, err := engine.Differences(plans[0], plans[1])
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range list {
				got = append(got, fmt.Sprintf("%s: %s", d.ID, d.Reason))
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}
