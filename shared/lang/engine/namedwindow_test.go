package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// A named window keeps its rows through an upgrade: what leaves because the window has become
// smaller reaches its readers, joins find the rows, and what cannot go on is refused.
func TestNamedWindowsGoOnAfterAnUpgrade(t *testing.T) {
	const head = "@app:name('A') define stream S (k string, v int); define stream Q (k string); "
	const tail = " from S insert into N; @info(name='sum') from N select sum(v) as s insert all events into O; " +
		"@info(name='find') from Q join N on Q.k == N.k select N.v as v insert into P;"
	const old = head + "define window N (k string, v int) length(3);" + tail
	for _, c := range []struct{ next, outcomes, want string }{
		{old, "kept kept", "find 2,find 3"},
		{
			head + "define window N (k string, v int) length(2) output current events;" + tail,
			"adapted refused", "",
		},
		{
			head + "define window N (k string, v int) length(2);" + tail +
				"@info(name='more') from Q join N on N.k == Q.k select N.v + 1 as v insert into R;",
			"adapted kept", "sum 5,find 2,find 3,more 3,more 4",
		},
		{
			head + "define window M (v int) length(2); define window N (k string, v int) length(3);" + tail,
			"new kept kept", "find 2,find 3",
		},
		{head + "define window N (k string, v int) time(3 sec);" + tail, "refused refused", ""},
		{head + "from S insert into O2; @info(name='sum') from S select sum(v) as s insert all events into O;", "refused refused", ""},
		{head + "define window N (k string, v int) length(3);" + strings.Replace(tail, "from N select sum(v)", "from N[v > 1] select sum(v)", 1), "kept refused", ""},
	} {
		before, after := compileText(t, old), compileText(t, c.next)
		m, err := engine.Migrate(before, after, engine.MigrateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		var outcomes []string
		for _, s := range m.Steps {
			outcomes = append(outcomes, string(s.Outcome))
		}
		if got := strings.Join(outcomes, " "); got != c.outcomes {
			t.Errorf("%s\nthe outcomes are %s, want %s\n%s", c.next, got, c.outcomes, m)
		}
		if m.Err() != nil {
			continue
		}
		e, err := engine.New(before)
		if err != nil {
			t.Fatal(err)
		}
		for v, k := range []string{"a", "b", "b"} {
			sendText(e, "S", int64(v+1), k, int64(v+1))
		}
		e.ResetOutputs()
		if err := e.Upgrade(after, m, nil); err != nil {
			t.Fatal(err)
		}
		sendText(e, "Q", 10, "b")
		if got := shown(e); got != c.want {
			t.Errorf("%s\nafter the upgrade come %s, want %s", c.next, got, c.want)
		}
	}
}

func compileText(t *testing.T, text string) *siddhiql.Plan {
	t.Helper()
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// sendText sends one event with a text and perhaps a number.
func sendText(e *engine.Engine, stream string, now int64, k string, v ...int64) {
	s := e.Plan().Stream(stream)
	b := event.NewBatch(s.Schema)
	b.Cols[0].AppendText(k)
	if len(v) > 0 {
		b.Cols[1].AppendInt(v[0])
	}
	b.TS = append(b.TS, now)
	e.Send(s, b, 0, 1, now)
}

// shown writes the first number of each row of the queries with a name.
func shown(e *engine.Engine) string {
	var rows []string
	for _, o := range e.Outputs() {
		q := e.Plan().Queries[o.Query]
		if q.Name == "" {
			continue
		}
		b, _ := e.Rows(int(o.Query))
		for i := o.From; i < o.To; i++ {
			rows = append(rows, fmt.Sprint(q.Name, " ", b.Cols[0].Ints[i]))
		}
	}
	return strings.Join(rows, ",")
}
