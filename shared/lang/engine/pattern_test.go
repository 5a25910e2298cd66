package engine_test

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

const patternStreams = `
define stream A (id string, v int);
define stream B (id string, v int);
define stream C (id string, v int);
define stream D (id string, v int);
`

// TestPatterns runs testdata/patterns. A script is queries (`from …` without `insert`, or a
// whole text), a line of dashes, and events as "ms Stream id v @ts", separated by
// semicolons; v is 0 and ts is ms if left out. It prints the rows of each ms as
// "ms: (a,b) (c,d)". Time passes to 40 ms after the last event.
//
// Each script also runs with the state saved and loaded after every event.
func TestPatterns(t *testing.T) {
	datadriven.Walk(t, "testdata/patterns", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			text, events, ok := strings.Cut(d.Input, "\n--\n")
			if !ok {
				d.Fatalf(t, "no line of dashes")
			}
			if !strings.Contains(text, "insert into") {
				text += " insert into Out;"
			}
			want, err := runPattern(t, patternStreams+text, events, false)
			if err != nil {
				return err.Error() + "\n"
			}
			if got, _ := runPattern(t, patternStreams+text, events, true); got != want {
				t.Errorf("%s: rows with restarts\n%swithout\n%s", d.Pos, got, want)
			}
			return want
		})
	})
}

var patternEvent = regexp.MustCompile(`^(\d+) (\w+) (\S+)(?: ([^@ ]+))?(?: @(\d+))?$`)

func runPattern(t *testing.T, text, events string, restart bool) (string, error) {
	t.Helper()
	plan, err := siddhiql.Compile(text)
	if err != nil {
		return "", err
	}
	run := &patternRun{plan: plan, engine: newPatternEngine(t, plan)}
	run.engine.Advance(0)
	now := int64(0)
	for _, line := range strings.FieldsFunc(events, func(r rune) bool { return r == ';' || r == '\n' }) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		m := patternEvent.FindStringSubmatch(line)
		if m == nil {
			t.Fatalf("no event: %q", line)
		}
		now, _ = strconv.ParseInt(m[1], 10, 64)
		ts := now
		if m[5] != "" {
			ts, _ = strconv.ParseInt(m[5], 10, 64)
		}
		v := "0"
		if m[4] != "" {
			v = m[4]
		}
		s := plan.Stream(m[2])
		b := event.NewBatch(s.Schema)
		if err := rowjson.NewDecoder(s.Schema).Values(b, fmt.Appendf(nil, "[%q,%s]", m[3], v), ts); err != nil {
			t.Fatal(err)
		}
		run.engine.Send(s, b, 0, 1, now)
		run.take()
		if restart {
			run.restart(t)
		}
	}
	run.engine.Advance(now + 40)
	run.take()
	return run.text.String(), nil
}

type patternRun struct {
	plan   *siddhiql.Plan
	engine *engine.Engine
	text   strings.Builder
}

func newPatternEngine(tb testing.TB, plan *siddhiql.Plan) *engine.Engine {
	tb.Helper()
	e, err := engine.New(plan)
	if err != nil {
		tb.Fatal(err)
	}
	return e
}

// take prints the rows of the last query, by time.
func (r *patternRun) take() {
	last := int32(len(r.plan.Queries) - 1)
	at := int64(-1)
	for _, o := range r.engine.Outputs() {
		if o.Query != last {
			continue
		}
		rows, kinds := r.engine.Rows(int(last))
		for i := o.From; i < o.To; i++ {
			if o.Clock != at {
				if at >= 0 {
					r.text.WriteByte('\n')
				}
				at = o.Clock
				fmt.Fprintf(&r.text, "%d:", at)
			}
			values := string(rowjson.AppendArray(nil, rows, int(i)))
			fmt.Fprintf(&r.text, " (%s)", strings.ReplaceAll(strings.Trim(values, "[]"), `"`, ""))
			if kinds[i] != window.Current {
				r.text.WriteString(" expired")
			}
		}
	}
	if at >= 0 {
		r.text.WriteByte('\n')
	}
	r.engine.ResetOutputs()
}

// restart replaces the engine by one with the same state.
func (r *patternRun) restart(t *testing.T) {
	t.Helper()
	r.engine = restarted(t, r.plan, r.engine)
}

// restarted returns a new engine with the state of another.
func restarted(t *testing.T, plan *siddhiql.Plan, old *engine.Engine) *engine.Engine {
	t.Helper()
	states := map[string][]byte{}
	for _, h := range engine.Registry(old.Components()).List() {
		data, err := state.SerializeState(h)
		if err != nil {
			t.Fatal(err)
		}
		states[h.Info().ID] = data
	}
	e := newPatternEngine(t, plan)
	for _, h := range engine.Registry(e.Components()).List() {
		if err := state.DeserializeState(h, states[h.Info().ID]); err != nil {
			t.Fatalf("%s: %v", h.Info().ID, err)
		}
	}
	return e
}

// A partial match is shown as people understand it: its events so far, what it waits for,
// and until when.
func TestPartialMatchesCanBeRead(t *testing.T) {
	for _, c := range []struct {
		query  string
		events []string // "Stream id v", at 5 ms each
		want   []string
	}{
		{
			`every e1=A<1:2> -> e2=B[id == e1[0].id] within 10 sec select e1[0].id, e1[last].v as v, e2.v as w`,
			[]string{`A ["a",1]`, `A ["b",2]`},
			[]string{
				`{"events":{"e1":[{"ts":5,"id":"a","v":1},{"ts":5,"id":"b","v":2}]},"waits_for":["e2=B[id == e1[0].id]"],"until":10005}`,
				`{"events":{"e1":[{"ts":5,"id":"b","v":2}]},"waits_for":["e1=A\u003c1:2\u003e","e2=B[id == e1[0].id]"],"until":10005}`,
			},
		},
		{
			`e1=A -> not B for 1 sec and e2=C select e1.id, e2.id as y`,
			[]string{`A ["a",1]`},
			[]string{`{"events":{"e1":[{"ts":5,"id":"a"}]},"waits_for":["not B for 1 sec and e2=C"],"until":1005}`},
		},
		{
			`e1=A -> not B for 1 sec and e2=C select e1.id, e2.id as y`,
			[]string{`A ["a",1]`, `C ["c",1]`},
			[]string{`{"events":{"e1":[{"ts":5,"id":"a"}],"e2":[{"ts":5,"id":"c"}]},"waits_for":["not B for 1 sec"],"until":1005}`},
		},
		{
			`e1=A -> not B for 1 sec or e2=C select e1.id, e2.id as y`,
			[]string{`A ["a",1]`, `B ["b",1]`},
			[]string{`{"events":{"e1":[{"ts":5,"id":"a"}]},"waits_for":["e2=C"]}`},
		},
	} {
		plan, err := siddhiql.Compile(patternStreams + "@info(name='q') from " + c.query + " insert into Out;")
		if err != nil {
			t.Fatal(err)
		}
		e := newPatternEngine(t, plan)
		for _, text := range c.events {
			name, row, _ := strings.Cut(text, " ")
			s := plan.Stream(name)
			b := event.NewBatch(s.Schema)
			if err := rowjson.NewDecoder(s.Schema).Values(b, []byte(row), 5); err != nil {
				t.Fatal(err)
			}
			e.Send(s, b, 0, 1, 5)
		}
		if got := readMatches(t, e); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q, want %q", c.query, got, c.want)
		}
	}
}

// readMatches shows the partial matches of the query q.
func readMatches(t *testing.T, e *engine.Engine) (list []string) {
	t.Helper()
	for _, c := range e.Components() {
		if l, ok := c.Source.(state.Lister); ok && c.ID == "q/pattern" {
			l.Items(func(i state.Item) {
				list = append(list, string(i.Value))
				if one, ok := l.Item(i.Key, i.Entry); !ok || string(one) != string(i.Value) {
					t.Errorf("item %s: %s %t", i.Key, one, ok)
				}
			})
		}
	}
	return list
}
