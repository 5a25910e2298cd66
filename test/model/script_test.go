package model

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"

	"github.com/cockroachdb/datadriven"
)

// TestScripts runs the cases of testdata/semantics. Each case confirms one fact of the language. It
// has the app, and then one input per line:
//
//	> 1000 S a,1 | b,2    at 1000 ms two events arrive on S as one chunk
//	> 1000 S@990 a,1      an event whose own timestamp is 990
//	> 1020                time passes
//
// The expected output has one line per row: clock, chunk number, query, kind, own timestamp,
// values.
func TestScripts(t *testing.T) {
	eachScript(t, func(plan *siddhiql.Plan, steps []Step) []Row {
		m := New(plan)
		var rows []Row
		for _, s := range steps {
			m.apply(s)
			rows = append(rows, m.Rows()...)
		}
		return rows
	})
}

func eachScript(t *testing.T, run func(*siddhiql.Plan, []Step) []Row) {
	t.Helper()
	datadriven.Walk(t, "testdata/semantics", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			plan, steps := readScript(t, d)
			return printRows(plan, run(plan, steps))
		})
	})
}

func (m *Model) apply(s Step) {
	if s.Stream == "" {
		m.Advance(s.Now)
		return
	}
	m.Send(s.Stream, s.Events, s.Now)
}

func readScript(t *testing.T, d *datadriven.TestData) (*siddhiql.Plan, []Step) {
	t.Helper()
	app, script, _ := strings.Cut(d.Input+"\n", "\n>")
	plan, err := siddhiql.Compile(app)
	if err != nil {
		d.Fatalf(t, "compile: %v", err)
	}
	var steps []Step
	for _, line := range strings.Split(script, "\n>") {
		if line = strings.TrimSpace(line); line != "" {
			steps = append(steps, readStep(t, d, plan, line))
		}
	}
	return plan, steps
}

func readStep(t *testing.T, d *datadriven.TestData, plan *siddhiql.Plan, line string) Step {
	t.Helper()
	fields := strings.SplitN(line, " ", 3)
	now := number(t, fields[0])
	if len(fields) == 1 {
		return Step{Now: now}
	}
	name, own, stamped := strings.Cut(fields[1], "@")
	stream := plan.Stream(name)
	if stream == nil {
		d.Fatalf(t, "no stream %q", name)
	}
	step := Step{Stream: name, Now: now}
	for _, values := range strings.Split(fields[2], " | ") {
		e := Event{TS: now}
		if stamped {
			e.TS = number(t, own)
		}
		for i, v := range strings.Split(values, ",") {
			e.Values = append(e.Values, readValue(t, stream.Schema.Attrs[i].Type, v))
		}
		step.Events = append(step.Events, e)
	}
	return step
}

func readValue(t *testing.T, typ event.Type, s string) any {
	t.Helper()
	if s = strings.TrimSpace(s); s == "null" {
		return nil
	}
	switch typ {
	case event.Bool:
		return s == "true"
	case event.Int:
		return int32(number(t, s))
	case event.Long:
		return number(t, s)
	case event.Float, event.Double:
		f, err := strconv.ParseFloat(s, 64)
		if err != nil {
			t.Fatal(err)
		}
		if typ == event.Float {
			return float32(f)
		}
		return f
	case event.Object:
		return json.RawMessage(s)
	default:
		return strings.Trim(s, "'")
	}
}

func number(t *testing.T, s string) int64 {
	t.Helper()
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func printRows(plan *siddhiql.Plan, rows []Row) string {
	if len(rows) == 0 {
		return "nothing\n"
	}
	var b strings.Builder
	for _, r := range rows {
		values := make([]string, len(r.Values))
		for i, v := range r.Values {
			if values[i] = "null"; v != nil {
				values[i] = text(v)
			}
		}
		fmt.Fprintf(&b, "%d #%d %s %s %d (%s)\n", r.Clock, r.Chunk, queryName(plan, r.Query), r.Kind, r.TS, strings.Join(values, ", "))
	}
	return b.String()
}

func queryName(plan *siddhiql.Plan, id int) string {
	if name := plan.Queries[id].Name; name != "" {
		return name
	}
	return "q" + strconv.Itoa(id+1)
}
