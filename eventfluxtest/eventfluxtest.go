// Package eventfluxtest tests apps without a server, on a virtual clock. It runs the
// engine of EventFlux, so the results are exactly those of production. Time only passes when a
// test says so.
//
//	app := eventfluxtest.Start(t, text)
//	app.Send("Logins", Login{User: "ann", Country: "NO"})
//	app.Advance(5 * time.Minute)
//	app.Send("Logins", Login{User: "ann", Country: "BR"})
//	app.Expect("Alerts", Alert{User: "ann"})
package eventfluxtest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/cli/replay"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Epoch is where the clock of a test starts.
var Epoch = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// App is an app under test. Its methods stop the test on an error, so call them from the test's
// goroutine.
type App struct {
	t       testing.TB
	plan    *siddhiql.Plan
	player  *replay.Player
	out     bytes.Buffer
	now     time.Time
	results []Result // not returned yet
}

// Result is a row that the app has emitted.
type Result struct {
	Query   string // the query's name, or ""
	Stream  string
	Expired bool            // the row has left the query's window
	Time    time.Time       // the row's own time
	Row     json.RawMessage // an object, as published
}

// Option is an option of Start.
type Option func(*replay.Options)

// RestartEvery makes the app lose its memory after every n events and continue from a
// checkpoint. This does not change results; a test of your own windows, aggregators or functions
// should also pass with it.
func RestartEvery(n int) Option {
	return func(o *replay.Options) { o.RestartEvery, o.Incremental = n, true }
}

// Start starts an app at Epoch.
func Start(t testing.TB, text string, opts ...Option) *App {
	t.Helper()
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatalf("the app is refused: %v", err)
	}
	a := &App{t: t, plan: plan, now: Epoch}
	var o replay.Options
	for _, opt := range opts {
		opt(&o)
	}
	if a.player, err = replay.NewPlayer([]*siddhiql.Plan{plan}, &a.out, o); err != nil {
		t.Fatal(err)
	}
	if !plan.Playback {
		a.play(line{TS: a.now.UnixMilli()})
	}
	return a
}

// line is an input line of a replay.
type line struct {
	Stream  string `json:"stream,omitempty"`
	TS      int64  `json:"ts"`
	Data    any    `json:"data,omitempty"`
	Rows    []any  `json:"rows,omitempty"`
	EventTS *int64 `json:"event_ts,omitempty"`
}

// Now returns the virtual time.
func (a *App) Now() time.Time { return a.now }

// Send sends one event to a stream: a struct or a map whose JSON has the attributes, or a []any
// of the values in the order of the definition.
func (a *App) Send(stream string, event any) {
	a.t.Helper()
	a.play(line{Stream: stream, TS: a.now.UnixMilli(), Data: event})
}

// SendAt is Send for an event with its own time.
func (a *App) SendAt(at time.Time, stream string, event any) {
	a.t.Helper()
	own := at.UnixMilli()
	a.play(line{Stream: stream, TS: a.now.UnixMilli(), Data: event, EventTS: &own})
}

// SendChunk sends events that arrive together.
func (a *App) SendChunk(stream string, events ...any) {
	a.t.Helper()
	a.play(line{Stream: stream, TS: a.now.UnixMilli(), Rows: events})
}

// Advance lets time pass. Windows and timers fire at their own instants in between.
func (a *App) Advance(d time.Duration) {
	a.t.Helper()
	a.AdvanceTo(a.now.Add(d))
}

// AdvanceTo lets time pass until t.
func (a *App) AdvanceTo(t time.Time) {
	a.t.Helper()
	a.now = t
	a.play(line{TS: t.UnixMilli()})
}

// play applies a line and keeps the results.
func (a *App) play(l line) {
	a.t.Helper()
	text, err := json.Marshal(l)
	if err == nil {
		err = a.player.Play(text)
	}
	if err != nil {
		a.t.Fatalf("%s: %v", l.what(), err)
	}
	for text := range bytes.Lines(a.out.Bytes()) {
		if err := a.keep(text); err != nil {
			a.t.Fatal(err)
		}
	}
	a.out.Reset()
}

func (l *line) what() string {
	if l.Stream == "" {
		return "advance"
	}
	return "send to " + l.Stream
}

// keep adds a line of output to the results.
func (a *App) keep(text []byte) error {
	var l struct {
		Query, Stream, Kind string
		TS                  int64
		Data                []json.RawMessage
	}
	if err := json.Unmarshal(text, &l); err != nil {
		return err
	}
	var schema *event.Schema
	for _, s := range a.plan.Streams {
		if s.Name == l.Stream {
			schema = s.Schema
		}
	}
	var row bytes.Buffer
	for i, v := range l.Data {
		name, err := json.Marshal(schema.Attrs[i].Name)
		if err != nil {
			return err
		}
		fmt.Fprintf(&row, ",%s:%s", name, v)
	}
	object := append([]byte("{"), bytes.TrimPrefix(row.Bytes(), []byte(","))...)
	a.results = append(a.results, Result{
		Query: l.Query, Stream: l.Stream, Expired: l.Kind == "expired", Time: time.UnixMilli(l.TS).UTC(),
		Row: append(object, '}'),
	})
	return nil
}

// Results returns the results in a stream that were not returned before.
func (a *App) Results(stream string) []Result {
	var found, rest []Result
	for _, r := range a.results {
		if r.Stream == stream {
			found = append(found, r)
		} else {
			rest = append(rest, r)
		}
	}
	a.results = rest
	return found
}

// Rows returns the rows of Results as values of a Go type.
func Rows[T any](a *App, stream string) []T {
	a.t.Helper()
	var rows []T
	for _, r := range a.Results(stream) {
		var row T
		if err := json.Unmarshal(r.Row, &row); err != nil {
			a.t.Fatalf("result of %s: %v", stream, err)
		}
		rows = append(rows, row)
	}
	return rows
}

// Expect fails the test unless the results in a stream since the last call are exactly the rows,
// in order. A row is a value whose JSON has some or all of the result's attributes; missing ones
// are not compared.
func (a *App) Expect(stream string, rows ...any) {
	a.t.Helper()
	got := a.Results(stream)
	if len(got) != len(rows) {
		a.t.Errorf("%s has %d results, want %d:%s", stream, len(got), len(rows), list(got))
		return
	}
	for i, want := range rows {
		if differs, err := difference(got[i].Row, want); err != nil {
			a.t.Fatal(err)
		} else if differs != "" {
			a.t.Errorf("result %d of %s is %s: %s", i+1, stream, got[i].Row, differs)
		}
	}
}

func list(results []Result) string {
	var b strings.Builder
	for _, r := range results {
		fmt.Fprintf(&b, "\n\t%s", r.Row)
	}
	return b.String()
}

// difference names the attributes that differ between want and the row.
func difference(row json.RawMessage, want any) (string, error) {
	text, err := json.Marshal(want)
	if err != nil {
		return "", err
	}
	have, wanted := map[string]any{}, map[string]any{}
	if err := exactly(row, &have); err != nil {
		return "", err
	}
	if err := exactly(text, &wanted); err != nil {
		return "", fmt.Errorf("a wanted row is %s, and not an object: %w", text, err)
	}
	var wrong []string
	for _, name := range sortedKeys(wanted) {
		value, ok := have[name]
		if !ok {
			wrong = append(wrong, "it has no attribute "+name)
		} else if !equal(value, wanted[name]) {
			wrong = append(wrong, fmt.Sprintf("want %s %v", name, show(wanted[name])))
		}
	}
	return strings.Join(wrong, ", "), nil
}
