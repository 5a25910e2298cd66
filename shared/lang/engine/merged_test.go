package engine_test

import (
	"context"
	"errors"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/memory"
)

// State of every type of component, stored as a base and deltas, equals the state stored as
// a whole, byte for byte, once the chain is merged; and later results are the same.
func TestMergedIsUnmerged(t *testing.T) {
	const epochs = 10
	// The first ones come early, before all keys have.
	cut := func(e state.Epoch) int { return goldenCut * int(e*e*e) / (epochs * epochs * epochs) }
	ctx, store := context.Background(), memory.New()
	plan := goldenPlan(t)
	frames := goldenInput(t, plan)
	task := newGoldenTask(t, plan)
	holders := engine.Registry(task.Components())
	chains := map[string][]checkpoint.Run{}
	write := func(kind checkpoint.Kind, e state.Epoch, changes []state.Change) []checkpoint.Run {
		t.Helper()
		if len(changes) == 0 {
			return nil
		}
		run, err := checkpoint.WriteRun(ctx, store, checkpoint.WriterOptions{Kind: kind, Epoch: e}, changes)
		if err != nil {
			t.Fatal(err)
		}
		return []checkpoint.Run{run}
	}
	for e := state.Epoch(1); e <= epochs; e++ {
		from, to := cut(e-1), cut(e)
		applyGolden(t, task, frames[from:to], from)
		for _, h := range holders.List() {
			h.Cut(e)
			if len(chains[h.Info().ID]) == 0 {
				chains[h.Info().ID] = write(checkpoint.Base, e, h.Snapshot().Changes())
			} else {
				delta, err := h.Delta(e - 1)
				if err != nil {
					t.Fatal(err)
				}
				chains[h.Info().ID] = append(chains[h.Info().ID], write(checkpoint.Delta, e, delta.Changes())...)
			}
			h.Committed(e)
		}
	}
	part := checkpoint.Partition{}
	types := map[string]bool{}
	for _, h := range holders.List() {
		info := h.Info()
		c := checkpoint.Component{ID: info.ID, Type: info.Type, Version: info.Version.String(), Digest: h.Digest(), Runs: chains[info.ID]}
		folded, err := checkpoint.FoldChain(ctx, store, checkpoint.WriterOptions{Epoch: epochs}, &c, nil)
		if err != nil {
			t.Fatal(info.ID, err)
		}
		if whole := write(checkpoint.Base, epochs, h.Snapshot().Changes()); len(whole) != len(folded) || len(whole) > 0 && whole[0] != folded[0] {
			t.Errorf("%s: %d runs became %+v, written as a whole it is %+v", info.ID, len(c.Runs), folded, whole)
		}
		if len(c.Runs) > 1 {
			types[info.Type] = true
		}
		c.Digest[0] ^= 1
		if _, err := checkpoint.FoldChain(ctx, store, checkpoint.WriterOptions{Epoch: epochs}, &c, nil); !errors.Is(err, checkpoint.ErrCorrupt) {
			t.Errorf("%s: folded with another digest: %v", info.ID, err)
		}
		c.Digest[0] ^= 1
		c.Runs = folded
		part.Components = append(part.Components, c)
	}
	for _, h := range holders.List() {
		if !types[h.Info().Type] && h.Info().Type != "log/version" { // only an upgrade changes it
			t.Errorf("no chain of a %s had deltas to be merged", h.Info().Type)
		}
	}
	restored := newGoldenTask(t, plan)
	if err := checkpoint.Load(ctx, store, &part, epochs, engine.Registry(restored.Components()), 2); err != nil {
		t.Fatal(err)
	}
	want := applyGolden(t, task, frames[goldenCut:], goldenCut)
	if got := applyGolden(t, restored, frames[goldenCut:], goldenCut); got != want {
		t.Error("the merged state gives other results")
	}
}
