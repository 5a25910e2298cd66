package pattern_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/pattern"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/testing/statetest"
)

var schema = &event.Schema{Name: "S", Attrs: []event.Attr{{Name: "k", Type: event.String}, {Name: "v", Type: event.Int}}}

// lawPatterns have steps of every kind.
var lawPatterns = map[string]func() *pattern.Spec{
	"every step then step within": func() *pattern.Spec {
		return &pattern.Spec{Within: 50, Steps: steps(1, 1), Items: items(keyed(1)), Groups: []pattern.Group{{First: 0, Last: 0}}}
	},
	"counts": func() *pattern.Spec {
		p := &pattern.Spec{Within: pattern.NoLimit, Steps: steps(1, 1, 1), Items: items(nil, nil), Groups: []pattern.Group{{First: 0, Last: 0}}}
		p.Steps[0] = pattern.Step{Items: []int{0}, Count: true, Min: 2, Max: 4}
		p.Steps[1] = pattern.Step{Items: []int{1}, Count: true, Min: 0, Max: pattern.NoLimit}
		p.Items[0].Heads, p.Items[0].Tails, p.Items[1].Tails = 1, 2, 1
		return p
	},
	"absence and pairs": func() *pattern.Spec {
		p := &pattern.Spec{Within: 100, Steps: steps(1, 1), Items: items(nil, nil), Groups: []pattern.Group{{First: 0, Last: 1}}}
		p.Steps[1] = pattern.Step{Items: []int{1, 2}, Or: true}
		p.Items[1].Absent, p.Items[1].For, p.Items[1].Heads, p.Items[1].Used = true, 30, 0, nil
		return p
	},
	"wait at the start": func() *pattern.Spec {
		p := &pattern.Spec{Within: pattern.NoLimit, Steps: steps(1, 1), Items: items(nil), Groups: []pattern.Group{{First: 0, Last: 0}}}
		p.Items[0].Absent, p.Items[0].For, p.Items[0].Heads, p.Items[0].Used = true, 20, 0, nil
		return p
	},
	"once": func() *pattern.Spec {
		return &pattern.Spec{Within: 50, Steps: steps(1, 1, 1), Items: items(nil, keyed(2))}
	},
	"sequence": func() *pattern.Spec {
		p := &pattern.Spec{Sequence: true, Within: 80, Steps: steps(1, 1, 1), Items: items(nil, nil), Groups: []pattern.Group{{First: 0, Last: 0}}}
		p.Steps[1] = pattern.Step{Items: []int{1}, Count: true, Min: 1, Max: 3}
		p.Items[1].Heads, p.Items[1].Tails = 2, 1
		return p
	},
}

func steps(per ...int) (list []pattern.Step) {
	next := 0
	for range per {
		list = append(list, pattern.Step{Items: []int{next}, Min: 1, Max: 1})
		next++
	}
	return list
}

// items returns one item for the first step, and one for each change.
func items(change ...func(*pattern.Item)) []pattern.Item {
	list := []pattern.Item{{Stream: 0, For: pattern.NoLimit, Schema: schema, Used: []int{0, 1}, Heads: 1}}
	for i, f := range change {
		item := pattern.Item{Stream: (i + 1) % 3, For: pattern.NoLimit, Schema: schema, Used: []int{0, 1}, Heads: 1}
		if f != nil {
			f(&item)
		}
		list = append(list, item)
	}
	return list
}

func keyed(stream int) func(*pattern.Item) {
	return func(i *pattern.Item) { i.Stream, i.Keyed = stream, true }
}

// byKey is the filter `k == e1.k` of every keyed item.
type byKey struct {
	row  *pattern.Row
	held *event.Batch
}

func (f *byKey) Own(int, *pattern.Event) bool                 { return true }
func (f *byKey) Rest(int, *pattern.Event, pattern.Match) bool { return true }

func (f *byKey) Key(_ int, e *pattern.Event, dst []byte) ([]byte, bool) {
	return append(dst, e.B.Cols[0].Text(e.I)...), !e.B.Cols[0].IsNull(e.I)
}

func (f *byKey) Fed(_, _ int, e *pattern.Event, dst []byte) ([]byte, bool) { return f.Key(0, e, dst) }

func (f *byKey) Held(_ int, m pattern.Match, dst []byte) ([]byte, bool) {
	f.held.Reset()
	f.row.Append(m, f.held)
	return append(dst, f.held.Cols[0].Text(0)...), !f.held.Cols[0].IsNull(0)
}

type owner struct{}

func (owner) Changing()             {}
func (owner) Matched(pattern.Match) {}

// A matcher keeps the laws of sources of state.
func TestMatchersKeepTheLawsOfState(t *testing.T) {
	for name, make := range lawPatterns {
		t.Run(name, func(t *testing.T) {
			spec := make()
			spec.Complete(3)
			env := &window.Env{Now: 1}
			statetest.Run(t, func() state.Source {
				f := &byKey{row: spec.NewRow([]pattern.Ref{{Item: 0, Attr: 0}}, 0), held: event.NewBatch(schema)}
				machine := pattern.NewMachine(spec, env, f, func(int) {})
				return &source{machine.New(owner{}), machine}
			}, func(t *rapid.T, s state.Source) { s.(*source).mutate(t, env) })
		})
	}
}

type source struct {
	*pattern.Matcher
	machine *pattern.Machine
}

func (s *source) mutate(t *rapid.T, env *window.Env) {
	s.Begin(env.Now)
	env.Now += int64(rapid.IntRange(0, 20).Draw(t, "ms"))
	for at, _, ok := s.Due(); ok && at <= env.Now; at, _, ok = s.Due() {
		s.Fire()
	}
	b := event.NewBatch(schema)
	if rapid.IntRange(0, 5).Draw(t, "null") == 0 {
		b.Cols[0].AppendNull()
	} else {
		b.Cols[0].AppendText(rapid.SampledFrom([]string{"", "a", "b", "longer than a word", strings.Repeat("long", 500)}).Draw(t, "k"))
	}
	b.Cols[1].AppendInt(int64(rapid.IntRange(-3, 300).Draw(t, "v")))
	ts := env.Now - int64(rapid.IntRange(0, 9).Draw(t, "late"))
	b.TS = append(b.TS, ts)
	s.machine.Expire(ts)
	stream, e := rapid.IntRange(0, 2).Draw(t, "stream"), &pattern.Event{B: b, TS: ts}
	s.Announce(stream, e)
	s.Prefetch()
	s.Receive(stream, e)
}

// The number of a match in the key of its entry is what orders them.
func TestNumberOfAKey(t *testing.T) {
	if n, ok := pattern.Number(binary.BigEndian.AppendUint64([]byte{'m'}, 7)); n != 7 || !ok {
		t.Errorf("%d %t", n, ok)
	}
	if _, ok := pattern.Number([]byte{'f'}); ok {
		t.Error("the entry of the beginning is no match")
	}
}
