package engine_test

import (
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/function"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Every function has an example, and gives what the example says.
func TestFunctionExamples(t *testing.T) {
	for _, name := range function.Names() {
		f, _ := function.Lookup(name)
		if f.Doc == "" || f.Example == "" || f.Gives == "" {
			t.Errorf("%s has no doc or no example", name)
			continue
		}
		if got := valueOf(t, f.Example); got != "["+f.Gives+"]" {
			t.Errorf("%s gives %s, want [%s]", f.Example, got, f.Gives)
		}
	}
}

// exampleClock is the app's clock in examples: 2024-02-29 12:30:45.678 UTC.
const exampleClock = 1709209845678

// valueOf returns the value of an expression as the JSON of a row, or why it has none.
func valueOf(t *testing.T, expression string) string {
	t.Helper()
	plan, err := siddhiql.Compile("define stream S (v int); from S select " + expression + " as x insert into O;")
	if err != nil {
		return err.Error()
	}
	e, err := engine.New(plan)
	if err != nil {
		t.Fatal(err)
	}
	s := plan.Stream("S")
	b := event.NewBatch(s.Schema)
	if err := rowjson.NewDecoder(s.Schema).Values(b, []byte("[1]"), exampleClock); err != nil {
		t.Fatal(err)
	}
	e.Send(s, b, 0, 1, exampleClock)
	rows, _ := e.Rows(0)
	return string(rowjson.AppendArray(nil, rows, 0))
}
