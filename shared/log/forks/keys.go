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

// key is what the forks did to a key since the base. Its entries may be in several components.
type key struct {
	changed [3]bool
	written [3]state.Epoch // the newest of its changes
	differ  bool
	side    int // the fork whose state counts
}

func (k *key) conflict() bool { return k.differ && k.changed[sideA] && k.changed[sideB] }

// byKey merges the components of a set key by key.
func (w *work) byKey(ctx context.Context, s *engine.ForkSet, list []three) error {
	keys, err := w.decide(s, list)
	if err != nil {
		return err
	}
	counted := map[string]bool{}
	for i, id := range s.Components {
		all := &list[i]
		c := countOf(all)
		c.Partition, c.ID, c.Rule, c.Key = w.p, id, s.Rule, s.Key
		var entries []state.Entry
		err := all.each(func(entry []byte, at [3]int) error {
			of, err := s.KeyOf(id, entry)
			if err != nil {
				return err
			}
			side := sideA
			if k := keys[string(of)]; k != nil {
				side = k.side
			}
			if at[side] >= 0 {
				entries = append(entries, all[side].entries[at[side]])
			}
			return nil
		})
		if err == nil {
			err = s.OrderKeys(id, entries, func(of []byte) bool { k := keys[string(of)]; return k != nil && k.side == sideB })
		}
		if err == nil {
			err = w.write(ctx, id, all, entries)
		}
		if err == nil {
			err = c.count(s, all, keys, counted)
		}
		if err == nil && c.Conflicts > 0 {
			err = w.samples(ctx, s, &c, keys)
		}
		if err != nil {
			return fmt.Errorf("partition %d, component %s: %w", w.p, id, err)
		}
		w.report.Components = append(w.report.Components, c)
	}
	return nil
}

// decide finds the keys that a fork has changed, and which fork's state of each counts.
func (w *work) decide(s *engine.ForkSet, list []three) (map[string]*key, error) {
	keys := map[string]*key{}
	for i, id := range s.Components {
		all := &list[i]
		err := all.each(func(entry []byte, at [3]int) error {
			if all.same(base, sideA, at) && all.same(base, sideB, at) {
				return nil
			}
			of, err := s.KeyOf(id, entry)
			if err != nil {
				return err
			}
			k := keys[string(of)]
			if k == nil {
				k = &key{}
				keys[string(of)] = k
			}
			k.differ = k.differ || !all.same(sideA, sideB, at)
			for _, side := range []int{sideA, sideB} {
				if !all.same(base, side, at) {
					k.changed[side], k.written[side] = true, max(k.written[side], all[side].written(entry, at[side]))
				}
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, k := range keys {
		k.side = sideA
		switch {
		case k.conflict():
			a := checkpoint.Written{Epoch: k.written[sideA], Time: w.opt.A.Manifest.Time, Line: sideA}
			b := checkpoint.Written{Epoch: k.written[sideB], Time: w.opt.B.Manifest.Time, Line: sideB}
			if w.opt.Strategy.Compare(a, b) < 0 {
				k.side = sideB
			}
		case !k.changed[sideA]:
			k.side = sideB
		}
	}
	return keys, nil
}

// count counts the keys that have entries in a component.
func (c *Component) count(s *engine.ForkSet, all *three, keys map[string]*key, counted map[string]bool) error {
	clear(counted)
	return all.each(func(entry []byte, _ [3]int) error {
		of, err := s.KeyOf(c.ID, entry)
		k := keys[string(of)]
		if err != nil || k == nil || counted[string(of)] || !k.differ {
			return err
		}
		counted[string(of)] = true
		switch {
		case k.conflict() && k.side == sideA:
			c.Conflicts, c.WonA = c.Conflicts+1, c.WonA+1
		case k.conflict():
			c.Conflicts, c.WonB = c.Conflicts+1, c.WonB+1
		case k.side == sideA:
			c.FromA++
		default:
			c.FromB++
		}
		return nil
	})
}

// samples lists the first items of a component that are in conflict.
func (w *work) samples(ctx context.Context, s *engine.ForkSet, c *Component, keys map[string]*key) error {
	if w.opt.Samples == 0 {
		return nil
	}
	at := map[string]int{} // by item
	for _, side := range []int{sideA, sideB} {
		t, err := w.task(ctx, side)
		if err != nil {
			return err
		}
		_, err = t.Items(c.ID, func(i state.Item) {
			of, err := s.KeyOf(c.ID, i.Entry)
			k := keys[string(of)]
			if err != nil || k == nil || !k.conflict() {
				return
			}
			n, known := at[i.Key]
			if !known {
				n = len(c.Samples)
				at[i.Key] = n
				c.Samples = append(c.Samples, Conflict{Item: i.Key, Won: sideNames[k.side]})
			}
			if side == sideA {
				c.Samples[n].A = i.Value
			} else {
				c.Samples[n].B = i.Value
			}
		})
		if err != nil {
			return err
		}
	}
	c.Samples = slices.DeleteFunc(c.Samples, func(x Conflict) bool { return bytes.Equal(x.A, x.B) })
	c.Samples = c.Samples[:min(len(c.Samples), w.opt.Samples):min(len(c.Samples), w.opt.Samples)]
	return nil
}

// task returns a task with the state of a fork, which shows it to people.
func (w *work) task(ctx context.Context, side int) (*rebuild.Task, error) {
	if w.tasks[side] != nil {
		return w.tasks[side], nil
	}
	t, err := rebuild.New(w.opt.Plan, w.p, settings)
	if err != nil {
		return nil, err
	}
	f := w.forks[side]
	if err := t.Load(ctx, f.Store, &f.Manifest.Partitions[w.p], f.Manifest.Epoch, w.opt.Workers); err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name, err)
	}
	w.tasks[side] = t
	return t, nil
}
