package forks

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// timedApp has the state of each key, with timers, in a partition.
const timedApp = `@app:name('Timed')
define stream S (k string, v long);
partition with (k of S) begin
  @info(name='time') from S#window.time(1 sec) select k, sum(v) as total, count() as n insert all events into Time;
  @info(name='batch') from S#window.timeBatch(700) select k, sum(v) as total insert into Batch;
  @info(name='session') from S#window.session(500) select k, max(v) as most insert all events into Session;
  @info(name='pattern') from every a=S[v == 1] -> b=S[v == 2] within 2 sec select a.k as k, b.v as v insert into Pairs;
  @info(name='values') from S select k, min(v) as least, distinctCount(v) as n insert into Vals;
  @info(name='rate') from S select k, v output last every 900 milliseconds insert into Rates;
end;`

type timedEvent struct {
	k  string
	v  int64
	at int64
}

// apply sends events and lets time pass. It returns the rows of each key in order, and all rows.
func (l *line) apply(events []timedEvent, until int64) (rows map[string][]string, all []string) {
	rows = map[string][]string{}
	take := func() {
		for _, o := range l.task.Outputs() {
			out, kinds := l.task.Rows(int(o.Query))
			for i := int(o.From); i < int(o.To); i++ {
				var text []string
				for c := range out.Cols {
					text = append(text, fmt.Sprint(rowValue(out, c, i)))
				}
				row := fmt.Sprint(l.plan.Queries[o.Query].Name, kinds[i], text, " at ", o.Clock)
				rows[text[0]] = append(rows[text[0]], row)
				all = append(all, row)
			}
		}
		l.task.ResetOutputs()
	}
	s := l.plan.Streams[0]
	for _, e := range events {
		b := event.NewBatch(s.Schema)
		b.TS = append(b.TS, e.at)
		b.Cols[0].AppendText(e.k)
		b.Cols[1].AppendInt(e.v)
		l.task.Send(s, b, 0, 1, e.at)
		take()
	}
	if until > 0 {
		l.task.Advance(until)
		take()
	}
	return rows, all
}

func rowValue(b *event.Batch, c, i int) any {
	col := &b.Cols[c]
	switch {
	case col.IsNull(i):
		return nil
	case col.Type.Class() == event.Texts:
		return col.Text(i)
	case col.Type.Class() == event.Reals:
		return col.Floats[i]
	}
	return col.Ints[i]
}

// Forks that got events of different keys become one app that gives the results of an app that
// got all events, whatever windows and timers its keys have. A restart after the merge changes
// nothing.
func TestForksOfDifferentKeysAreOneApp(t *testing.T) {
	plan := compile(t, timedApp)
	rapid.Check(t, func(t *rapid.T) {
		s, ctx := memory.New(), context.Background()
		now := int64(1000)
		draw := func(keys string, most int) (events []timedEvent) {
			for range rapid.IntRange(0, most).Draw(t, "events") {
				now += rapid.SampledFrom([]int64{0, 0, 1, 10}).Draw(t, "ms")
				k := keys[rapid.IntRange(0, len(keys)-1).Draw(t, "key")]
				events = append(events, timedEvent{string(k), rapid.Int64Range(1, 3).Draw(t, "value"), now})
			}
			return events
		}
		before := draw("abcd", 6)
		during := draw("abcd", 12)
		after := draw("abcd", 6)
		end := now + 5000

		trunk, all := newLine(t, plan, s), newLine(t, plan, s)
		trunk.apply(before, 0)
		all.apply(slices.Concat(before, during), 0)
		common := trunk.cut(1, time.Unix(0, 0))
		var ends [2]*checkpoint.Manifest
		for i, keys := range []string{"ab", "cd"} {
			l := from(t, plan, s, common)
			l.apply(slices.DeleteFunc(slices.Clone(during), func(e timedEvent) bool { return !strings.Contains(keys, e.k) }), 0)
			ends[i] = l.cut(2, time.Unix(1, 0))
		}
		report, err := Merge(ctx, Options{
			Plan: plan, Strategy: checkpoint.LastWriteWins, To: s, Workers: 1, Samples: 3,
			Base: Fork{"base", s, common}, A: Fork{"a", s, ends[0]}, B: Fork{"b", s, ends[1]},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range report.Components {
			if c.Conflicts > 0 {
				t.Fatalf("a conflict of different keys: %+v", c)
			}
		}
		merged, err := checkpoint.Find(ctx, s, plan.Name, report.Epoch)
		if err != nil {
			t.Fatal(err)
		}
		l := from(t, plan, s, merged)
		half := len(after) / 2
		first, _ := l.apply(after[:half], 0)
		if want, _ := all.apply(after[:half], 0); fmt.Sprint(first) != fmt.Sprint(want) {
			t.Fatalf("the results are\n%v, want\n%v", first, want)
		}
		again := from(t, plan, s, l.cut(report.Epoch+1, time.Unix(2, 0)))
		want, _ := all.apply(after[half:], end)
		got, order := l.apply(after[half:], end)
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Fatalf("the results are\n%v, want\n%v", got, want)
		}
		if _, restarted := again.apply(after[half:], end); !slices.Equal(restarted, order) {
			t.Fatalf("after a restart the results are\n%v, want\n%v", restarted, order)
		}
	})
}

// If only one fork has changed since the base, its state is the result, whatever its kind is.
func TestAnUnchangedForkChangesNothing(t *testing.T) {
	for _, text := range []string{keyedApp, orderedApp, timedApp} {
		plan, s := compile(t, text), memory.New()
		trunk := newLine(t, plan, s)
		trunk.apply([]timedEvent{{"a", 1, 1000}, {"b", 2, 1100}}, 0)
		common := trunk.cut(1, time.Unix(0, 0))
		trunk.apply([]timedEvent{{"a", 2, 1200}, {"c", 1, 2500}}, 0)
		changed := trunk.cut(2, time.Unix(1, 0))
		for _, sides := range [][2]*checkpoint.Manifest{{changed, common}, {common, changed}, {changed, changed}} {
			report, err := Merge(context.Background(), Options{
				Plan: plan, Strategy: checkpoint.FirstWriteWins, To: s, Workers: 1,
				Base: Fork{"base", s, common}, A: Fork{"a", s, sides[0]}, B: Fork{"b", s, sides[1]},
			})
			if err != nil {
				t.Fatal(err)
			}
			m, err := checkpoint.Find(context.Background(), s, plan.Name, report.Epoch)
			if err != nil {
				t.Fatal(err)
			}
			want := map[string]state.Digest{}
			for _, c := range changed.Partitions[0].Components {
				want[c.ID] = c.Digest
			}
			for _, c := range m.Partitions[0].Components {
				if c.Digest != want[c.ID] && !strings.HasPrefix(c.ID, "log/") {
					t.Errorf("%s: component %s is not as the fork has it", plan.Name, c.ID)
				}
			}
		}
	}
}
