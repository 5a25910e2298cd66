package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

// A query may have so many aggregators that their names do not fit into the type of a
// component. Its state is kept as any other one.
func TestManyAggregators(t *testing.T) {
	text := func(n int, last string) string {
		var app strings.Builder
		app.WriteString("@app:name('a') define stream S (k string, v int); from S select k")
		for i := range n - 1 {
			fmt.Fprintf(&app, ", distinctCount(v + %[1]d) as c%[1]d", i)
		}
		fmt.Fprintf(&app, ", %s(v) as last group by k insert into Out;", last)
		return app.String()
	}
	types := map[string]bool{}
	for _, app := range []string{text(12, "distinctCount"), text(13, "distinctCount"), text(13, "sum"), text(14, "sum"), text(200, "avg")} {
		k := newKeyed(t, app)
		k.send("x", 7)
		registry := engine.Registry(k.Components())
		copied := newKeyed(t, app)
		into := engine.Registry(copied.Components())
		for _, holder := range registry.List() {
			info := holder.Info()
			if strings.HasSuffix(info.ID, "/aggregate") {
				if types[info.Type] || len(info.Type) > state.NameBytesMax {
					t.Errorf("type %s is too long, or belongs to other aggregators", info.Type)
				}
				types[info.Type] = true
			}
			data, err := state.SerializeState(holder)
			if err != nil {
				t.Fatal(err)
			}
			other, _ := into.ByID(info.ID)
			if err := state.DeserializeState(other, data); err != nil {
				t.Fatal(err)
			}
		}
		if got, want := copied.send("x", 9), k.send("x", 9); got != want {
			t.Errorf("the copy gives\n%s\nwant\n%s", got, want)
		}
	}
}

// An app that compiles has components: names that are too long for them are refused.
func TestLongNames(t *testing.T) {
	long := strings.Repeat("n", 300)
	for _, app := range []string{
		"@app:name('a') define stream %[1]s (v int); from %[1]s#length(3) select sum(v) as s insert into Out;",
		"@app:name('a') define stream S (v int); @info(name='%s') from S#length(3) select sum(v) as s insert into Out;",
		"@app:name('a') define stream S (v int); from S#length(3) select v insert into %s; from S select v insert into Out;",
		"@app:name('a') define stream S (k string, v int); partition with (k of S) begin from S select k, v insert into #%[1]s; from #%[1]s#length(2) select k, sum(v) as s insert into Out; end;",
	} {
		plan, err := siddhiql.Compile(fmt.Sprintf(app, long))
		if err != nil {
			continue
		}
		e, err := engine.New(plan)
		if err != nil {
			t.Fatal(err)
		}
		engine.Registry(e.Components())
	}
}
