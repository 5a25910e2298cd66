package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// TestScripts runs the histories of testdata/scripts. Commands:
//
//	app              the app's text; prints its errors, if any
//	send at=MS [ts=MS] [chunk]
//	    lines "Stream [values]"; each is sent by itself, or all as one chunk.
//	    ts is the events' own timestamp where it is not the time of arrival
//	time to=MS       time passes
//	next             prints when the next timer is due
//
// Rows are printed as "query kind ts [values]", and a rule ends each chunk; late events
// that no query reads as "late stream ts [values]".
func TestScripts(t *testing.T) { runScripts(t, false) }

// The same rows come if a new engine with the state of the former one takes over after each
// command.
func TestScriptsWithRestarts(t *testing.T) { runScripts(t, true) }

func runScripts(t *testing.T, restarts bool) {
	datadriven.Walk(t, "testdata/scripts", func(t *testing.T, path string) {
		var s *script
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd == "app" {
				var err error
				if s, err = newScript(d.Input); err != nil {
					return err.Error()
				}
				return ""
			}
			if restarts {
				s.engine = restarted(t, s.plan, s.engine)
			}
			return s.run(t, d)
		})
	})
}

type script struct {
	plan   *siddhiql.Plan
	engine *engine.Engine
}

func newScript(app string) (*script, error) {
	plan, err := siddhiql.Compile(app)
	if err != nil {
		return nil, err
	}
	e, err := engine.New(plan)
	return &script{plan: plan, engine: e}, err
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	switch d.Cmd {
	case "time":
		var to int64
		d.ScanArgs(t, "to", &to)
		s.engine.Advance(to)
	case "next":
		at, ok := s.engine.NextTimer()
		return fmt.Sprint(at, ok)
	case "dropped":
		return fmt.Sprintln(s.engine.Dropped())
	case "send":
		if err := s.send(t, d); err != nil {
			return err.Error()
		}
	default:
		return "unknown command " + d.Cmd
	}
	return s.rows()
}

func (s *script) send(t *testing.T, d *datadriven.TestData) error {
	var at int64
	d.ScanArgs(t, "at", &at)
	own := at
	if d.HasArg("ts") {
		d.ScanArgs(t, "ts", &own)
	}
	var chunk *event.Batch
	for line := range strings.Lines(d.Input) {
		name, values, _ := strings.Cut(strings.TrimSpace(line), " ")
		stream := s.plan.Stream(name)
		if stream == nil {
			return fmt.Errorf("no stream %s", name)
		}
		if chunk == nil || !d.HasArg("chunk") {
			chunk = event.NewBatch(stream.Schema)
		}
		if err := rowjson.NewDecoder(stream.Schema).Values(chunk, []byte(values), own); err != nil {
			return err
		}
		if !d.HasArg("chunk") {
			s.engine.Send(stream, chunk, 0, 1, at)
		}
	}
	if d.HasArg("chunk") {
		s.engine.Send(s.plan.Stream(chunk.Schema.Name), chunk, 0, chunk.Len(), at)
	}
	return nil
}

func (s *script) rows() string {
	var out strings.Builder
	for n, o := range s.engine.Outputs() {
		if n > 0 {
			out.WriteString("-\n")
		}
		rows, kinds := s.engine.Rows(int(o.Query))
		for i := int(o.From); i < int(o.To); i++ {
			q := s.plan.Queries[o.Query]
			name := q.Name
			if name == "" {
				name = q.Target.Name
			}
			kind := "C"
			if kinds[i] == window.Expired {
				kind = "E"
			}
			fmt.Fprintf(&out, "%s %s %d %s", name, kind, rows.TS[i], rowjson.AppendArray(nil, rows, i))
			if o.Clock != rows.TS[i] {
				fmt.Fprintf(&out, " at %d", o.Clock)
			}
			out.WriteByte('\n')
		}
	}
	for _, l := range s.engine.Late() {
		fmt.Fprintf(&out, "late %s %d %s at %d\n", l.Stream.Name, l.Rows.TS[l.Row], rowjson.AppendArray(nil, l.Rows, l.Row), l.Clock)
	}
	s.engine.ResetOutputs()
	return out.String()
}
