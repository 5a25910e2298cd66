package model

import (
	"bytes"
	"maps"
	"slices"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"

	"pgregory.net/rapid"
)

// TestRestartChangesNothing checks the law of state: a run that moves into a fresh engine at any
// moment continues exactly like an undisturbed one. Changed reports everything that changed, and a
// restored state has the same bytes.
func TestRestartChangesNothing(t *testing.T) {
	for _, w := range append([]string{"all"}, Windows...) {
		t.Run(w, func(t *testing.T) {
			windows := known(w)
			if w == "all" {
				windows = known(Windows...)
			}
			rapid.Check(t, func(t *rapid.T) { restart(t, Options{Windows: windows}) })
		})
	}
	t.Run("tables", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { restart(t, Options{Tables: true}) })
	})
	t.Run("patterns", func(t *testing.T) {
		rapid.Check(t, func(t *rapid.T) { restart(t, Options{Patterns: 100}) })
	})
}

func restart(t *rapid.T, o Options) {
	app := GenApp(t, o)
	plan, err := siddhiql.Compile(app)
	if err != nil {
		t.Fatalf("a valid app is refused: %v\n%s", err, app)
	}
	steps := GenInput(t, plan)
	restartEvery(t, rapid.IntRange(1, 4).Draw(t, "restart every"), app, plan, steps)
}

// A late event moves no time, also not just after a restart: the session that is due stays open.
func TestLateEventsAfterARestart(t *testing.T) {
	const app = `@app:playback(lateness='0 millisec')
define stream S (k string);
define stream T (k string);
define stream U (k string);
partition with (k of !S) begin
from !S#window.session(10) as a join T#window.length(2) as b select a.k insert all events into O;
from !U select k output snapshot every 20 millisec insert into P;
end;
`
	plan, err := siddhiql.Compile(app)
	if err != nil {
		t.Fatal(err)
	}
	var steps []Step
	for _, e := range []struct {
		stream string
		ts     int64
	}{{"S", 1004}, {"S", 1223}, {"S", 1212}, {"U", 1170}, {"U", 1270}} {
		steps = append(steps, Step{Stream: e.stream, Now: e.ts, Events: []Event{{TS: e.ts, Values: []any{"k"}}}})
	}
	restartEvery(t, 1, app, plan, steps)
}

// restartEvery runs an app with restarts after every few steps, and without.
func restartEvery(t rapid.TB, every int, app string, plan *siddhiql.Plan, steps []Step) {
	t.Helper()
	left, restarted := newEngine(t, plan), newEngine(t, plan)
	tracked := snapshot(restarted)
	for i, s := range steps {
		want, got := applyEngine(left, plan, s), applyEngine(restarted, plan, s)
		if !slices.EqualFunc(want, got, sameRow) {
			t.Fatalf("%s%sleft alone:\n%srestarted every %d:\n%s", app, printSteps(steps[:i+1]), printRows(plan, want), every, printRows(plan, got))
		}
		absorb(restarted, tracked)
		full := snapshot(restarted)
		for id, entries := range full {
			if !maps.EqualFunc(entries, tracked[id], bytes.Equal) {
				t.Fatalf("%s%s%s: what was reported as changed gives %q, the state is %q", app, printSteps(steps[:i+1]), id, tracked[id], entries)
			}
		}
		if (i+1)%every != 0 {
			continue
		}
		restarted = newEngine(t, plan)
		if err := load(restarted, full); err != nil {
			t.Fatalf("%s%sload: %v", app, printSteps(steps[:i+1]), err)
		}
		for id, entries := range snapshot(restarted) {
			if !maps.EqualFunc(entries, full[id], bytes.Equal) {
				t.Fatalf("%s%s%s: loaded %q, shows %q", app, printSteps(steps[:i+1]), id, full[id], entries)
			}
		}
		for id, entries := range snapshot(left) {
			if !maps.EqualFunc(entries, full[id], bytes.Equal) {
				t.Fatalf("%s%s%s: left alone %q, restarted %q", app, printSteps(steps[:i+1]), id, entries, full[id])
			}
		}
		tracked = full
	}
}

func newEngine(t rapid.TB, plan *siddhiql.Plan) *engine.Engine {
	e, err := engine.New(plan)
	if err != nil {
		t.Fatalf("new engine: %v", err)
	}
	return e
}

type snapshots map[string]map[string][]byte

// snapshot returns all entries of all components.
func snapshot(e *engine.Engine) snapshots {
	all := snapshots{}
	for _, c := range e.Components() {
		entries := map[string][]byte{}
		c.Source.Keys(func(key []byte) {
			if value, ok := c.Source.Append(nil, key); ok {
				entries[string(key)] = value
			}
		})
		all[c.ID] = entries
	}
	return all
}

// absorb applies the changed entries to a snapshot.
func absorb(e *engine.Engine, to snapshots) {
	for _, c := range e.Components() {
		c.Source.Changed(func(key []byte) {
			if value, ok := c.Source.Append(nil, key); ok {
				to[c.ID][string(key)] = value
			} else {
				delete(to[c.ID], string(key))
			}
		})
	}
}

func load(e *engine.Engine, from snapshots) error {
	for _, c := range e.Components() {
		c.Source.Reset()
		for _, key := range slices.Sorted(maps.Keys(from[c.ID])) {
			if err := c.Source.Put([]byte(key), from[c.ID][key]); err != nil {
				return err
			}
		}
		if err := c.Source.Ready(); err != nil {
			return err
		}
	}
	return nil
}
