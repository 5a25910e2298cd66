package engine_test

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

const cookbook = "../../../docs/cookbook.md"

// Every recipe of docs/cookbook.md yields the results on that page. A recipe has an app
// (sql), its input (events) and its results. A second app is the one after the line `upgrade`
// of the input.
func TestCookbook(t *testing.T) {
	page, err := os.ReadFile(cookbook)
	if err != nil {
		t.Fatal(err)
	}
	blocks := strings.Split(string(page), "```")
	var apps []string
	var events string
	recipes := 0
	for i := 1; i < len(blocks); i += 2 {
		kind, text, _ := strings.Cut(blocks[i], "\n")
		switch kind {
		case "sql":
			apps = append(apps, text)
		case "events":
			events = text
		case "results":
			recipes++
			if got := recipe(t, apps, events); got != text {
				t.Errorf("recipe %d yields\n%swant\n%s", recipes, got, text)
				blocks[i] = kind + "\n" + got
			}
			apps = nil
		}
	}
	if recipes < 13 {
		t.Errorf("%d recipes", recipes)
	}
	if *rewritePage {
		if err := os.WriteFile(cookbook, []byte(strings.Join(blocks, "```")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// recipe runs apps over lines `ms Stream [values]`, and `ms put Table [values]` or `ms delete
// Table [values]` for a table that a KV bucket fills; a line of a time alone lets it pass.
func recipe(t *testing.T, apps []string, events string) string {
	t.Helper()
	plan := compileText(t, apps[0])
	e, err := engine.New(plan)
	if err != nil {
		t.Fatal(err)
	}
	var results strings.Builder
	for line := range strings.Lines(events) {
		at, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		now, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		name, values, _ := strings.Cut(strings.TrimSpace(rest), " ")
		switch name {
		case "":
			e.Advance(now)
		case "put", "delete":
			e.Advance(now)
			to, row, _ := strings.Cut(values, " ")
			fill(t, e, plan.Stream(to).Table, name, row)
		case "upgrade":
			e.Advance(now)
			plan = changed(t, e, apps[1])
		default:
			s := plan.Stream(name)
			b := event.NewBatch(s.Schema)
			if err := rowjson.NewDecoder(s.Schema).Values(b, []byte(values), now); err != nil {
				t.Fatalf("%q: %v", line, err)
			}
			e.Send(s, b, 0, 1, now)
		}
		published(e, &results)
	}
	return results.String()
}

// fill changes a row of a table that a KV bucket fills, after a load without rows.
func fill(t *testing.T, e *engine.Engine, to *siddhiql.Table, op, values string) {
	t.Helper()
	row, records := event.NewBatch(to.Schema), event.NewBatch(to.Bucket.Records)
	add := func(r siddhiql.Record) {
		for a := range to.Schema.Attrs {
			if row.Len() == 0 {
				records.Cols[a].AppendNull()
			} else {
				records.Cols[a].AppendFrom(&row.Cols[a], 0)
			}
		}
		to.Bucket.AppendRecord(records, r, e.Clock())
	}
	if state := e.Buckets()[0]; state.Load == 0 {
		add(siddhiql.Record{Op: siddhiql.LoadBegins, Created: 1, Load: 1})
		add(siddhiql.Record{Op: siddhiql.LoadCommits, Created: 1, Load: 1})
	}
	if err := rowjson.NewDecoder(to.Schema).Values(row, []byte(values), e.Clock()); err != nil {
		t.Fatalf("%q: %v", values, err)
	}
	r := siddhiql.Record{Op: siddhiql.RowPut, Created: 1, Load: 1, Revision: e.Buckets()[0].Revision + 1}
	if op == "delete" {
		r.Op = siddhiql.RowDeleted
	}
	add(r)
	e.Fill(to, records, 0, records.Len())
}

func changed(t *testing.T, e *engine.Engine, text string) *siddhiql.Plan {
	t.Helper()
	next := compileText(t, text)
	m, err := engine.Migrate(e.Plan(), next, engine.MigrateOptions{})
	if err == nil {
		err = e.Upgrade(next, m, nil)
	}
	if err != nil {
		t.Fatal(err)
	}
	return next
}

// published writes the rows that the app publishes, and forgets them.
func published(e *engine.Engine, w *strings.Builder) {
	for _, o := range e.Outputs() {
		target := e.Plan().Queries[o.Query].Target
		if target.Sink.Off || target.Block >= 0 {
			continue
		}
		b, _ := e.Rows(int(o.Query))
		for i := o.From; i < o.To; i++ {
			fmt.Fprintf(w, "%d %s %s\n", o.Clock, target.Name, rowjson.AppendArray(nil, b, int(i)))
		}
	}
	e.ResetOutputs()
}
