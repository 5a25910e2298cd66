package forks

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

const keyedApp = `@app:name('Forks')
define stream S (k string, v long);
@PrimaryKey('k') define table T (k string, v long);
@info(name='keep') from S[v != 0] select k, v update or insert into T set T.v = v on T.k == k;
@info(name='drop') from S[v == 0] select k delete T on T.k == k;
@info(name='sums') from S select k, sum(v) as total group by k insert into Sums;
partition with (k of S) begin
  @info(name='last') from S#window.length(2) select k, sum(v) as total insert into Last;
end;`

// Two forks become what a model says, with each strategy, and an app that starts from the result
// continues like the model.
func TestMergedForksAreWhatTheModelSays(t *testing.T) {
	plan := compile(t, keyedApp)
	rapid.Check(t, func(t *rapid.T) {
		s, ctx := memory.New(), context.Background()
		draw := func(l *line, m model, what string) {
			for range rapid.IntRange(0, 4).Draw(t, what) {
				k, v := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(t, "key"), rapid.Int64Range(0, 2).Draw(t, "value")
				l.send(k, v)
				m.add(k, v)
			}
		}
		trunk, was := newLine(t, plan, s), model{}
		draw(trunk, was, "events before")
		common := trunk.cut(1, time.Unix(0, 0))
		var model [2]modelFork
		var ends [2]*checkpoint.Manifest
		for i := range model {
			f, l := &model[i], from(t, plan, s, common)
			f.states, f.epochs = append(f.states, was), append(f.epochs, 1)
			f.time = time.Unix(rapid.Int64Range(1, 2).Draw(t, "time"), 0)
			now, epoch := was.clone(), state.Epoch(1)
			for range rapid.IntRange(1, 3).Draw(t, "checkpoints") {
				draw(l, now, "events")
				epoch += state.Epoch(rapid.IntRange(1, 2).Draw(t, "epochs"))
				ends[i] = l.cut(epoch, f.time)
				f.states, f.epochs = append(f.states, now.clone()), append(f.epochs, epoch)
			}
		}
		strategy := rapid.SampledFrom([]checkpoint.Strategy{checkpoint.LastWriteWins, checkpoint.FirstWriteWins, checkpoint.TimestampPriority}).Draw(t, "strategy")
		{
			to := memory.New()
			report, err := Merge(ctx, Options{
				Plan: plan, Strategy: strategy, Samples: 100, To: to, Workers: 1,
				Base: Fork{"base", s, common}, A: Fork{"a", s, ends[0]}, B: Fork{"b", s, ends[1]},
			})
			if err != nil {
				t.Fatal(err)
			}
			merged, err := checkpoint.Find(ctx, to, plan.Name, 0)
			if err != nil || merged.Epoch <= max(ends[0].Epoch, ends[1].Epoch) || merged.Epoch != report.Epoch {
				t.Fatalf("checkpoint %+v: %v", merged, err)
			}
			l := from(t, plan, to, merged)
			conflicts, atMost := [3]int{}, 0
			for _, k := range []string{"a", "b", "c", "d"} {
				var of [3]*modelKey
				for i, view := range views {
					wins, conflict := winner(strategy, view, k, &model[0], &model[1])
					if of[i] = wins.last()[k]; of[i] == nil {
						of[i] = &modelKey{}
					}
					if conflict {
						conflicts[i]++
					}
				}
				if _, conflict := winner(strategy, allValues, k, &model[0], &model[1]); conflict {
					atMost++
				}
				if got, want := row(l, k), lastOf(of[0].values); got != want {
					t.Fatalf("%s: the row of %s is %d, want %d", strategy, k, got, want)
				}
				rest := of[2].values[max(0, len(of[2].values)-1):]
				want := []string{fmt.Sprint("sums ", sum(of[1].values)+7), fmt.Sprint("last ", sum(rest)+7)}
				if got := l.send(k, 7); !slices.Equal(got, want) {
					t.Fatalf("%s: after an event of %s: %q, want %q", strategy, k, got, want)
				}
			}
			got := map[string]Component{}
			for _, c := range report.Components {
				got[c.ID] = c
			}
			for i, id := range []string{"table/T", "sums/aggregate", "last/window"} {
				most := conflicts[i]
				if i == 2 {
					most = atMost
				}
				if c := got[id]; c.Conflicts < conflicts[i] || c.Conflicts > most || c.WonA+c.WonB != c.Conflicts {
					t.Fatalf("%s: %s has %d conflicts, want %d to %d", strategy, id, c.Conflicts, conflicts[i], most)
				}
				if c := got[id]; i < 2 && len(c.Samples) != conflicts[i] {
					t.Fatalf("%s: %s: %d conflicts and samples %+v", strategy, id, conflicts[i], c.Samples)
				}
			}
		}
	})
}
