package forks

import (
	"bytes"
	"context"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// work merges one partition.
type work struct {
	*merger
	p     uint32
	part  *checkpoint.Partition
	newer int              // the fork whose clock is ahead
	tasks [3]*rebuild.Task // loaded for samples; nil until then
}

// history is what a checkpoint has of a component.
type history struct {
	component *checkpoint.Component // nil: the checkpoint does not have it
	entries   []state.Entry
	epochs    []state.Epoch          // by entry: of the run that has it
	gone      map[string]state.Epoch // deletions that the chain still has
	from      state.Epoch            // of the base
}

// read reads a component of a checkpoint.
func (w *work) read(ctx context.Context, side int, id string) (*history, error) {
	f, h := w.forks[side], &history{gone: map[string]state.Epoch{}}
	list := f.Manifest.Partitions[w.p].Components
	i := slices.IndexFunc(list, func(c checkpoint.Component) bool { return c.ID == id })
	h.from = f.Manifest.Epoch
	if i < 0 {
		return h, nil
	}
	h.component = &list[i]
	if len(list[i].Runs) > 0 {
		h.from = list[i].Runs[0].Epoch
	}
	err := checkpoint.EachChange(ctx, f.Store, list[i].Runs, func(c state.Change, epoch state.Epoch) {
		if c.Deleted {
			h.gone[string(c.Key)] = epoch
			return
		}
		h.entries = append(h.entries, state.Entry{Key: c.Key, Value: c.Value})
		h.epochs = append(h.epochs, epoch)
	})
	if err == nil && state.DigestOf(h.entries) != list[i].Digest {
		err = &checkpoint.CorruptError{Object: id, What: "the digest of its entries is not the one in the manifest", Offset: -1}
	}
	if err != nil {
		return nil, fmt.Errorf("%s, partition %d, component %s: %w", f.Name, w.p, id, err)
	}
	return h, nil
}

// written returns when a checkpoint has put or deleted an entry.
func (h *history) written(key []byte, i int) state.Epoch {
	if i >= 0 {
		return h.epochs[i]
	}
	if epoch, ok := h.gone[string(key)]; ok {
		return epoch
	}
	return h.from // a fold has dropped the deletion
}

// three are the histories of a component in the three checkpoints.
type three [3]*history

func (w *work) readThree(ctx context.Context, id string) (all three, err error) {
	var first *checkpoint.Component
	for side := range all {
		if all[side], err = w.read(ctx, side, id); err != nil {
			return all, err
		}
		c := all[side].component
		switch {
		case c == nil:
		case first == nil:
			first = c
		case first.Type != c.Type || first.Version != c.Version:
			return all, fmt.Errorf("%w: component %s is stored as %s %s and as %s %s; run the forks with the same release until their next checkpoints", ErrUnrelated, id, first.Type, first.Version, c.Type, c.Version)
		}
	}
	return all, nil
}

// each visits the entries of the three side by side. at has their places; -1: there is none.
func (all *three) each(visit func(key []byte, at [3]int) error) error {
	var next [3]int
	for {
		var key []byte
		for side, h := range all {
			if next[side] < len(h.entries) && (key == nil || bytes.Compare(h.entries[next[side]].Key, key) < 0) {
				key = h.entries[next[side]].Key
			}
		}
		if key == nil {
			return nil
		}
		at := [3]int{-1, -1, -1}
		for side, h := range all {
			if next[side] < len(h.entries) && bytes.Equal(h.entries[next[side]].Key, key) {
				at[side] = next[side]
				next[side]++
			}
		}
		if err := visit(key, at); err != nil {
			return err
		}
	}
}

// same reports whether two checkpoints have the same under a key.
func (all *three) same(x, y int, at [3]int) bool {
	if at[x] < 0 || at[y] < 0 {
		return at[x] == at[y]
	}
	return bytes.Equal(all[x].entries[at[x]].Value, all[y].entries[at[y]].Value)
}

// clocks finds the fork whose clock is ahead.
func (w *work) clocks(ctx context.Context) error {
	var at [3]int64
	for side := range w.forks {
		h, err := w.read(ctx, side, "clock")
		if err == nil {
			at[side], err = engine.ClockOf(h.entries)
		}
		if err != nil {
			return err
		}
	}
	if w.newer = sideA; at[sideB] > at[sideA] {
		w.newer = sideB
	}
	return nil
}

// set merges the components of a set.
func (w *work) set(ctx context.Context, s *engine.ForkSet) error {
	list := make([]three, len(s.Components))
	changed := [3]bool{}
	differ := false
	for i, id := range s.Components {
		var err error
		if list[i], err = w.readThree(ctx, id); err != nil {
			return err
		}
		_ = list[i].each(func(_ []byte, at [3]int) error {
			changed[sideA] = changed[sideA] || !list[i].same(base, sideA, at)
			changed[sideB] = changed[sideB] || !list[i].same(base, sideB, at)
			differ = differ || !list[i].same(sideA, sideB, at)
			return nil
		})
	}
	whole := 0
	for id, side := range w.opt.Take {
		if slices.Contains(s.Components, id) {
			if from := map[string]int{"A": sideA, "B": sideB}[side]; whole > 0 && whole != from {
				return fmt.Errorf("%w: --take: %v go together, so take all of them from the same fork", state.ErrInvalid, s.Components)
			} else {
				whole = from
			}
		}
	}
	switch {
	case whole > 0:
	case s.Rule == engine.ForkLog || !differ || !changed[sideB] && s.Rule != engine.ForkNewer:
		whole = sideA
	case !changed[sideA] && s.Rule != engine.ForkNewer:
		whole = sideB
	case s.Rule == engine.ForkNewer:
		whole = w.newer
	case s.Rule == engine.ForkWhole:
		w.report.Refused = append(w.report.Refused, RefusedBecause{w.p, s.Components, s.Why})
	}
	if whole == 0 && s.Rule == engine.ForkKeys {
		return w.byKey(ctx, s, list)
	}
	for i, id := range s.Components {
		c := countOf(&list[i])
		c.Partition, c.ID, c.Rule, c.Key = w.p, id, s.Rule, s.Key
		entries, err := list[i][max(whole, sideA)].entries, error(nil)
		switch {
		case whole > 0 && differ:
			c.From = sideNames[whole]
		case whole == 0 && s.Rule == engine.ForkClock:
			entries, err = engine.MergeClocks(list[i][sideA].entries, list[i][sideB].entries)
		case whole == 0 && s.Rule == engine.ForkIDs:
			entries, err = engine.MergeIDs(list[i][sideA].entries, list[i][sideB].entries)
		}
		if err == nil {
			err = w.write(ctx, id, &list[i], entries)
		}
		if err != nil {
			return fmt.Errorf("partition %d, component %s: %w", w.p, id, err)
		}
		w.report.Components = append(w.report.Components, c)
	}
	return nil
}

func countOf(all *three) (c Component) {
	_ = all.each(func(_ []byte, at [3]int) error {
		switch {
		case at[sideA] < 0 && at[sideB] < 0: // both have deleted it
		case at[sideB] < 0:
			c.OnlyA++
		case at[sideA] < 0:
			c.OnlyB++
		case all.same(sideA, sideB, at):
			c.Equal++
		default:
			c.Different++
		}
		return nil
	})
	return c
}

// write puts the state of a component into the result.
func (w *work) write(ctx context.Context, id string, all *three, entries []state.Entry) error {
	c := checkpoint.Component{ID: id, Digest: state.DigestOf(entries), Runs: []checkpoint.Run{}}
	for _, h := range all {
		if h.component != nil {
			c.Type, c.Version = h.component.Type, h.component.Version
		}
	}
	if c.Type == "" {
		return nil // it starts empty
	}
	if len(entries) > 0 {
		changes := make([]state.Change, len(entries))
		for i, e := range entries {
			changes[i] = state.Change{Key: e.Key, Value: e.Value}
		}
		run, err := checkpoint.WriteRun(ctx, w.to, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: w.result.Epoch, Parallel: w.opt.Workers}, changes)
		if err != nil {
			return err
		}
		c.Runs = append(c.Runs, run)
	}
	w.part.Components = append(w.part.Components, c)
	return nil
}
