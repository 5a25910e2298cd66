package model

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"

	"pgregory.net/rapid"
)

// TestEngineAgrees runs random apps on random input through the model and the engine. Every row
// must be the same in kind, timestamp, values, order, chunk number and clock. More cases:
// -rapid.checks=100000.
func TestEngineAgrees(t *testing.T) {
	for _, w := range append([]string{"all"}, Windows...) {
		t.Run(w, func(t *testing.T) {
			windows := known(w)
			if w == "all" {
				windows = known(Windows...)
			}
			if len(windows) == 0 {
				t.Fatalf("no window %s", w)
			}
			rapid.Check(t, func(t *rapid.T) { agree(t, Options{Windows: windows}) })
		})
	}
	t.Run("tables", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { agree(t, Options{Tables: true}) })
	})
	t.Run("patterns", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { agree(t, Options{Patterns: 80}) })
	})
	t.Run("patterns with tables", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { agree(t, Options{Patterns: 60, Tables: true}) })
	})
}

// TestMain makes all tests use the same random apps and inputs in each run, unless a flag of rapid
// asks for more or for others. The long form, -rapid.checks=10000, uses others each time.
func TestMain(m *testing.M) {
	flag.Parse()
	seed, checks := flag.Lookup("rapid.seed"), flag.Lookup("rapid.checks")
	if seed.Value.String() == seed.DefValue && checks.Value.String() == checks.DefValue {
		if err := errors.Join(seed.Value.Set("1"), checks.Value.Set("300")); err != nil { // -short runs a fifth
			panic(err)
		}
	}
	os.Exit(m.Run())
}

// known returns the given windows that apps can use.
func known(names ...string) []string {
	return slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		_, ok := window.Lookup(name)
		return !ok
	})
}

func agree(t *rapid.T, o Options) {
	app := GenApp(t, o)
	plan, err := siddhiql.Compile(app)
	if err != nil {
		t.Fatalf("a valid app is refused: %v\n%s", err, app)
	}
	steps := GenInput(t, plan)
	e, err := engine.New(plan)
	if err != nil {
		t.Fatalf("new engine: %v\n%s", err, app)
	}
	m := New(plan)
	for i, s := range steps {
		if !m.Try(func() { m.apply(s) }) {
			return
		}
		want, got := m.Rows(), applyEngine(e, plan, s)
		if !slices.EqualFunc(want, got, sameRow) {
			t.Fatalf("%s%smodel:\n%sengine:\n%s", app, printSteps(steps[:i+1]), printRows(plan, want), printRows(plan, got))
		}
	}
}

// TestEngineScripts runs the cases of testdata through the engine.
func TestEngineScripts(t *testing.T) {
	eachScript(t, func(plan *siddhiql.Plan, steps []Step) []Row {
		e, err := engine.New(plan)
		if err != nil {
			t.Fatal(err)
		}
		var rows []Row
		for _, s := range steps {
			rows = append(rows, applyEngine(e, plan, s)...)
		}
		return rows
	})
}

// applyEngine applies a step and returns the resulting rows.
func applyEngine(e *engine.Engine, plan *siddhiql.Plan, s Step) []Row {
	e.ResetOutputs()
	if s.Stream == "" {
		e.Advance(s.Now)
	} else {
		stream := plan.Stream(s.Stream)
		b := event.NewBatch(stream.Schema)
		for _, ev := range s.Events {
			for i, v := range ev.Values {
				appendValue(&b.Cols[i], v)
			}
			b.TS = append(b.TS, ev.TS)
		}
		e.Send(stream, b, 0, b.Len(), s.Now)
	}
	var rows []Row
	for _, o := range e.Outputs() {
		b, kinds := e.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			r := Row{Query: int(o.Query), Kind: "current", TS: b.TS[i], Chunk: int(o.Chunk), Clock: o.Clock}
			if kinds[i] == window.Expired {
				r.Kind = "expired"
			}
			for c := range b.Cols {
				r.Values = append(r.Values, valueAt(&b.Cols[c], i))
			}
			rows = append(rows, r)
		}
	}
	return rows
}

func appendValue(c *event.Column, v any) {
	switch v := v.(type) {
	case nil:
		c.AppendNull()
	case bool:
		c.AppendBool(v)
	case int32:
		c.AppendInt(int64(v))
	case int64:
		c.AppendInt(v)
	case float32:
		c.AppendFloat(float64(v))
	case float64:
		c.AppendFloat(v)
	case string:
		c.AppendText(v)
	case json.RawMessage:
		c.AppendText(string(v))
	}
}

func valueAt(c *event.Column, i int) any {
	if c.IsNull(i) {
		return nil
	}
	switch c.Type {
	case event.Bool:
		return c.Ints[i] != 0
	case event.Int:
		return int32(c.Ints[i])
	case event.Long:
		return c.Ints[i]
	case event.Float:
		return float32(c.Floats[i])
	case event.Double:
		return c.Floats[i]
	case event.Object:
		return json.RawMessage(strings.Clone(c.Text(i)))
	default:
		return strings.Clone(c.Text(i))
	}
}

func sameRow(a, b Row) bool {
	return a.Query == b.Query && a.Kind == b.Kind && a.TS == b.TS && a.Chunk == b.Chunk && a.Clock == b.Clock &&
		slices.EqualFunc(a.Values, b.Values, sameValue)
}

// sameValue tolerates a difference in the last digits of doubles, since a ratio of sums may depend
// on the order of additions. It ignores the type of numbers, which cast() does not change.
func sameValue(a, b any) bool {
	if isNumber(a) && isNumber(b) {
		x, y := toDouble(a), toDouble(b)
		return a == b || math.Abs(x-y) <= 1e-12*max(math.Abs(x), math.Abs(y)) || x != x && y != y
	}
	ra, rok := a.(json.RawMessage)
	if rb, ok := b.(json.RawMessage); ok && rok {
		return string(ra) == string(rb)
	}
	return a == b
}

// printSteps prints input in the format of the scripts in testdata.
func printSteps(steps []Step) string {
	var b strings.Builder
	for _, s := range steps {
		fmt.Fprintf(&b, "> %d %s\n", s.Now, s.Stream)
		for _, e := range s.Events {
			fmt.Fprintf(&b, "    @%d", e.TS)
			for _, v := range e.Values {
				if v == nil {
					b.WriteString(" null")
				} else {
					fmt.Fprintf(&b, " %s", text(v))
				}
			}
			b.WriteString("\n")
		}
	}
	return b.String()
}
