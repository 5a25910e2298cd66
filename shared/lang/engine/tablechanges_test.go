package engine_test

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

const publishedApp = `@app:name('published')
define stream S (op int, k string, other string, v int);
@PrimaryKey('k') @sink(publish='true') define table T (k string, v int);
from S[op == 0] select k, v insert into T;
from S[op == 1] select k, v update or insert into T set T.v = T.v + v on T.k == k;
from S[op == 2] select k delete T on T.k == k;
from S[op == 3] select k, other update T set T.k = other on T.k == k;
from S[op == 4] select v delete T on T.v < v;
from S[op == 5] select k, v update T set T.v = v on T.k != k;
from S[op == 6] select v update T set T.k = str:concat(T.k, 'x') on T.v > v;
from S[op == 7]#window.length(2) select k delete T for all events on T.k == k;
`

// The results of a published table, put and deleted by key, are the rows of the table after each
// event.
func TestChangesAddUpToTheTable(t *testing.T) {
	plan, err := siddhiql.Compile(publishedApp)
	if err != nil {
		t.Fatal(err)
	}
	keys := []string{"a", "b", "c", "ax", "bx"}
	rapid.Check(t, func(t *rapid.T) {
		e, err := engine.New(plan)
		if err != nil {
			t.Fatal(err)
		}
		folded := map[string]string{}
		now := int64(1000)
		for range rapid.IntRange(1, 40).Draw(t, "chunks") {
			b := event.NewBatch(plan.Streams[0].Schema)
			for range rapid.IntRange(1, 4).Draw(t, "events") {
				b.TS = append(b.TS, now)
				b.Cols[0].AppendInt(int64(rapid.IntRange(0, 7).Draw(t, "op")))
				b.Cols[1].AppendText(rapid.SampledFrom(keys).Draw(t, "k"))
				b.Cols[2].AppendText(rapid.SampledFrom(keys).Draw(t, "other"))
				b.Cols[3].AppendInt(int64(rapid.IntRange(-3, 3).Draw(t, "v")))
			}
			e.Send(plan.Streams[0], b, 0, b.Len(), now)
			for _, o := range e.Outputs() {
				if target := plan.Queries[o.Query].Target; target.Name != "T" || target.Sink.Off {
					t.Fatalf("output for %s", target.Name)
				}
				rows, kinds := e.Rows(int(o.Query))
				for i := int(o.From); i < int(o.To); i++ {
					k := strings.Clone(rows.Cols[0].Text(i)) // the memory is used again
					if kinds[i] == window.Expired {
						delete(folded, k)
					} else {
						folded[k] = fmt.Sprintf(`{"k":%q,"v":%d}`, k, rows.Cols[1].Ints[i])
					}
				}
			}
			e.ResetOutputs()
			if rows := rowsOfT(e); !maps.Equal(folded, rows) {
				t.Fatalf("the results add up to %v, and the table has %v", folded, rows)
			}
			now++
		}
	})
}

func rowsOfT(e *engine.Engine) map[string]string {
	rows := map[string]string{}
	for _, c := range e.Components() {
		if c.ID == "table/T" {
			c.Source.(state.Lister).Items(func(i state.Item) {
				rows[strings.Trim(fmt.Sprint(i.Key), `"`)] = string(i.Value)
			})
		}
	}
	return rows
}

// Rows of a table that came before its @sink are in no results, so an upgrade does not add one to
// a table with state, and does not empty a table that has one.
func TestUpgradesKeepTheChangesWhole(t *testing.T) {
	app := func(table string) *siddhiql.Plan {
		plan, err := siddhiql.Compile("@app:name('a') define stream S (k string, v int); " + table + " @info(name='q') from S select k, v insert into T;")
		if err != nil {
			t.Fatal(err)
		}
		return plan
	}
	plain, sink := app("@PrimaryKey('k') define table T (k string, v int);"), app("@PrimaryKey('k') @sink(kv='B', key='{k}') define table T (k string, v int);")
	keyed := app("@PrimaryKey('k', 'v') @sink(kv='B', key='{k}.{v}') define table T (k string, v int);")
	other, err := siddhiql.Compile("@app:name('a') define stream S (k string, v int); from S select k insert into O;")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		old, next *siddhiql.Plan
		drop      []string
		backfill  []uint64
		want      string
	}{
		{"a sink is added", plain, sink, nil, nil, "table T has rows that came before its @sink"},
		{"a sink is added to an emptied table", plain, keyed, []string{"table/T"}, nil, ""},
		{"the sink stays", sink, sink, nil, nil, ""},
		{"the sink goes", sink, plain, nil, nil, ""},
		{"the table is emptied", sink, keyed, []string{"table/T"}, nil, "table T starts empty, and its results would still have the rows"},
		{"a table with a sink is built from the log", other, sink, nil, []uint64{1}, "table/T cannot be built from the log: a backfill makes no results"},
		{"a table with a sink is added", other, sink, nil, nil, ""},
	} {
		m, err := engine.Migrate(c.old, c.next, engine.MigrateOptions{Components: c.drop, Backfill: c.backfill})
		if err == nil {
			err = m.Err()
		}
		if (err != nil) != (c.want != "") || err != nil && (!errors.Is(err, engine.ErrRefused) || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.what, err, c.want)
		}
	}
}
