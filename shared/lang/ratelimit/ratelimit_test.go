package ratelimit

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

var schema = &event.Schema{Name: "O", Attrs: []event.Attr{
	{Name: "k", Type: event.String}, {Name: "v", Type: event.Int}, {Name: "s", Type: event.Double}, {Name: "b", Type: event.Bool},
}}

// shapes are the forms of an output rate.
var shapes = map[string]Config{
	"all events":             {Which: All, Events: 5},
	"all time":               {Which: All, Period: 50},
	"first events":           {Which: First, Events: 3},
	"first events grouped":   {Which: First, Events: 3, Grouped: true},
	"first time":             {Which: First, Period: 40},
	"first time grouped":     {Which: First, Period: 40, Grouped: true},
	"last events":            {Which: Last, Events: 4},
	"last events grouped":    {Which: Last, Events: 4, Grouped: true},
	"last time":              {Which: Last, Period: 50},
	"last time grouped":      {Which: Last, Period: 50, Grouped: true},
	"snapshot":               {Which: Snapshot, Period: 30},
	"snapshot grouped":       {Which: Snapshot, Period: 30, Grouped: true},
	"snapshot of rows":       {Which: Snapshot, Period: 30, Leaving: true, Names: []int{0, 1, 2, 3}},
	"snapshot of a join":     {Which: Snapshot, Period: 30, Leaving: true, Names: []int{0, 1, 2, 3}, Undated: true},
	"snapshot mixed":         {Which: Snapshot, Period: 30, Leaving: true, Totals: []int{2}, Names: []int{0, 1, 3}},
	"snapshot mixed grouped": {Which: Snapshot, Period: 30, Leaving: true, Totals: []int{2}, Names: []int{0, 1, 3}, Grouped: true},
	"snapshot totals":        {Which: Snapshot, Period: 30, Leaving: true, Totals: []int{0, 1, 2, 3}},
	"snapshot totals by key": {Which: Snapshot, Period: 30, Leaving: true, Totals: []int{0, 1, 2, 3}, Grouped: true},
}

// feed drives a limiter as a query does.
type feed struct {
	config  Config
	env     *window.Env
	limiter Limiter
	held    []Row // of the window, oldest first
	rows    *event.Batch
	out     Rows
	ticks   string // the clock at each tick
}

func newFeed(c Config, env *window.Env) *feed {
	f := &feed{config: c, env: env, rows: event.NewBatch(schema)}
	f.config.Env, f.config.Schema = env, schema
	f.limiter = New(f.config)
	f.out.B = event.NewBatch(schema)
	return f
}

// draw makes a chunk of current rows, and of expired rows that came before.
func (f *feed) draw(t *rapid.T) []Row {
	var chunk []Row
	for range rapid.IntRange(0, 4).Draw(t, "rows") {
		r := Row{B: f.rows, Dropped: f.config.Which == Snapshot && rapid.IntRange(0, 9).Draw(t, "dropped") == 0}
		if f.config.Leaving && len(f.held) > 0 && rapid.Bool().Draw(t, "expired") {
			i := rapid.IntRange(0, min(2, len(f.held)-1)).Draw(t, "which")
			old := f.held[i]
			f.held = slices.Delete(f.held, i, i+1)
			f.append(t, old.B.Cols[0].Text(old.I), old.B.Cols[1].Ints[old.I], old.B.Cols[3].IsNull(old.I))
			r.Kind, r.Group, r.Came = window.Expired, old.Group, old.Came
		} else {
			k := rapid.SampledFrom([]string{"a", "b", "a long key"}).Draw(t, "k")
			f.append(t, k, int64(rapid.IntRange(-1, 1).Draw(t, "v")), rapid.Bool().Draw(t, "null"))
			if f.config.Grouped {
				r.Group = []byte(k)
			}
			r.Came = f.env.Now
			if f.config.Which != Snapshot && rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				r.Kind = window.Expired
			}
		}
		if r.I = f.rows.Len() - 1; f.config.Leaving && r.Kind == window.Current {
			f.held = append(f.held, r)
		}
		chunk = append(chunk, r)
	}
	return chunk
}

func (f *feed) append(t *rapid.T, k string, v int64, null bool) {
	f.rows.Cols[0].AppendText(k)
	f.rows.Cols[1].AppendInt(v)
	f.rows.Cols[2].AppendFloat(float64(rapid.IntRange(0, 3).Draw(t, "s")))
	if null {
		f.rows.Cols[3].AppendNull()
	} else {
		f.rows.Cols[3].AppendBool(v > 0)
	}
	f.rows.TS = append(f.rows.TS, f.env.Now)
}

// advance moves the clock, and fires ticks on the way.
func (f *feed) advance(to int64) {
	for {
		at, ok := f.limiter.Due()
		if !ok || at > to {
			break
		}
		f.env.Now = max(f.env.Now, at)
		f.limiter.Fire(&f.out)
		f.ticks += fmt.Sprintf("%d: %d rows\n", f.env.Now, f.out.B.Len())
	}
	f.env.Now = to
}

// TestState checks the laws of state for each form.
func TestState(t *testing.T) {
	for name, c := range shapes {
		t.Run(name, func(t *testing.T) {
			feeds, env := map[state.Source]*feed{}, &window.Env{}
			statetest.Run(t, func() state.Source {
				f := newFeed(c, env)
				feeds[f.limiter] = f
				return f.limiter
			}, func(t *rapid.T, s state.Source) {
				f := feeds[s]
				if !f.limiter.Begun() {
					f.limiter.Begin(f.env.Now)
				}
				if at, ok := f.limiter.Due(); ok && rapid.IntRange(0, 4).Draw(t, "tick") == 0 {
					f.env.Now = max(f.env.Now, at)
					f.limiter.Fire(&f.out)
				}
				f.limiter.Add(f.draw(t), &f.out)
				f.out.B.Reset()
				f.out.Kinds = f.out.Kinds[:0]
			})
		})
	}
}

// TestRestartChangesNothing replaces the limiter by one that is loaded from its entries,
// after each step, and compares what comes out.
func TestRestartChangesNothing(t *testing.T) {
	for name, c := range shapes {
		t.Run(name, func(t *testing.T) {
			rapid.Check(t, func(t *rapid.T) {
				one, two := newFeed(c, &window.Env{}), newFeed(c, &window.Env{})
				one.limiter.Begin(0)
				two.limiter.Begin(0)
				for range rapid.IntRange(1, 30).Draw(t, "steps") {
					now := one.env.Now + int64(rapid.IntRange(0, 45).Draw(t, "ms"))
					one.advance(now)
					two.advance(now)
					chunk := one.draw(t)
					one.limiter.Add(slices.Clone(chunk), &one.out)
					two.limiter.Add(chunk, &two.out)
					restart(t, two)
					if a, b := one.text(), two.text(); a != b {
						t.Fatalf("%s\nand with restarts\n%s", a, b)
					}
					if a, b := one.limiter.Empty(), two.limiter.Empty(); a != b {
						t.Fatalf("empty: %t, and after a restart %t", a, b)
					}
				}
			})
		})
	}
}

func restart(t *rapid.T, f *feed) {
	entries := map[string][]byte{}
	f.limiter.Keys(func(key []byte) { entries[string(key)], _ = f.limiter.Append(nil, key) })
	f.limiter = New(f.config)
	f.limiter.Reset()
	for key, value := range entries {
		if err := f.limiter.Put([]byte(key), value); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.limiter.Ready(); err != nil {
		t.Fatal(err)
	}
}

func (f *feed) text() string {
	var s strings.Builder
	for i, k := range f.out.Kinds {
		fmt.Fprintf(&s, "%d %d %s\n", k, f.out.B.TS[i], rowjson.AppendArray(nil, f.out.B, i))
	}
	return s.String() + f.ticks
}

// TestAddAllocatesNothing holds for rows of known groups.
func TestAddAllocatesNothing(t *testing.T) {
	for name, c := range shapes {
		f := newFeed(c, &window.Env{})
		f.limiter.Begin(0)
		f.rows.Cols[0].AppendText("a")
		f.rows.Cols[1].AppendInt(1)
		f.rows.Cols[2].AppendFloat(2)
		f.rows.Cols[3].AppendBool(true)
		f.rows.TS = append(f.rows.TS, 0)
		rows := []Row{{B: f.rows}, {B: f.rows, Kind: window.Expired}}
		if !c.Leaving {
			rows = rows[:1]
		}
		if c.Grouped {
			for i := range rows {
				rows[i].Group = []byte("a")
			}
		}
		add := func() {
			f.limiter.Add(rows, &f.out)
			if at, ok := f.limiter.Due(); ok {
				f.env.Now = at
				f.limiter.Fire(&f.out)
			}
			f.out.B.Reset()
			f.out.Kinds = f.out.Kinds[:0]
		}
		for range 1000 {
			add()
		}
		allowed := 0.0
		if c.Grouped && (c.Which == First || c.Which == Last || len(c.Totals) > 0) {
			allowed = 1 // the group is forgotten, and comes back with a copy of its key
		}
		if n := testing.AllocsPerRun(1000, add); n > allowed {
			t.Errorf("%s: %v allocations per row", name, n)
		}
	}
}
