// Package rescale divides the state in a checkpoint of an app among another number of
// partitions. Package engine knows the keys of all state, package checkpoint reads and
// writes the runs, and the checkpointers decide when it happens.
package rescale

import (
	"context"
	"fmt"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Entries returns how many entries the runs of a checkpoint have: what State has to read.
func Entries(parts []checkpoint.Partition) (n int64) {
	for i := range parts {
		for _, c := range parts[i].Components {
			for _, r := range c.Runs {
				n += r.Entries
			}
		}
	}
	return n
}

// State writes the state of a checkpoint, whose partitions are given, as bases for the
// partitions after the rescaling, and returns their components in order. read is called with
// numbers of entries that were read; nil for no call. If it fails, the sweep removes
// what it has written.
func State(ctx context.Context, s store.Store, opt checkpoint.WriterOptions, parts []checkpoint.Partition, r *engine.Rescaling, read func(entries int64)) ([][]checkpoint.Component, error) {
	all, err := byComponent(parts)
	if err != nil {
		return nil, err
	}
	tables, err := newestTables(ctx, s, all, r)
	if err != nil {
		return nil, err
	}
	to := make([][]checkpoint.Component, r.To())
	for _, from := range all {
		like := &from[0]
		var list []checkpoint.Component
		switch {
		case r.Whole(like.Type):
			list, err = convert(ctx, s, opt, from, r, read)
		case r.Copied(like.Type):
			list, err = copies(ctx, s, opt, from, tables, r, read)
		default:
			list, err = checkpoint.Resplit(ctx, s, opt, from, r.To(), func(p uint32, e state.Entry) (uint32, []byte, error) {
				return r.Place(like.ID, like.Type, p, e)
			}, read)
		}
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", like.ID, err)
		}
		for p := range list {
			to[p] = append(to[p], list[p])
		}
	}
	return to, nil
}

// byComponent returns the components of the partitions, those with one id together.
func byComponent(parts []checkpoint.Partition) (all [][]checkpoint.Component, err error) {
	for i := range parts[0].Components {
		like := &parts[0].Components[i]
		from := make([]checkpoint.Component, len(parts))
		for p := range parts {
			if len(parts[p].Components) != len(parts[0].Components) {
				return nil, fmt.Errorf("partition %d has %d components, and partition 0 has %d", p, len(parts[p].Components), len(parts[0].Components))
			}
			c := &parts[p].Components[i]
			if c.ID != like.ID || c.Type != like.Type || c.Version != like.Version {
				return nil, fmt.Errorf("partition %d has component %s (%s %s), and partition 0 has %s (%s %s)", p, c.ID, c.Type, c.Version, like.ID, like.Type, like.Version)
			}
			from[p] = *c
		}
		all = append(all, from)
	}
	return all, nil
}

// newestTables returns, by the id of a table that a KV bucket fills, the partition that has it
// newest.
func newestTables(ctx context.Context, s store.Store, all [][]checkpoint.Component, r *engine.Rescaling) (map[string]int, error) {
	newest := map[string]int{}
	for _, from := range all {
		table, ok := engine.FollowsBucket(from[0].ID, from[0].Type)
		if !ok {
			continue
		}
		entries, err := readAll(ctx, s, from, nil)
		if err == nil {
			newest[table], err = r.NewestTable(entries)
		}
		if err != nil {
			return nil, fmt.Errorf("component %s: %w", from[0].ID, err)
		}
	}
	return newest, nil
}

// copies gives all partitions the component of one of them.
func copies(ctx context.Context, s store.Store, opt checkpoint.WriterOptions, from []checkpoint.Component, newest map[string]int, r *engine.Rescaling, read func(entries int64)) (list []checkpoint.Component, err error) {
	table := strings.TrimSuffix(strings.TrimSuffix(from[0].ID, "/load"), "/bucket")
	p, ok := newest[table]
	if !ok {
		return nil, fmt.Errorf("all keys share it, and no KV bucket fills it")
	}
	for range r.To() {
		one, err := checkpoint.Resplit(ctx, s, opt, from[p:p+1], 1, func(_ uint32, e state.Entry) (uint32, []byte, error) { return 0, e.Value, nil }, nil)
		if err != nil {
			return nil, err
		}
		list = append(list, one...)
	}
	if read != nil {
		read(Entries([]checkpoint.Partition{{Components: from}}))
	}
	return list, nil
}

// convert converts a small component as a whole.
func convert(ctx context.Context, s store.Store, opt checkpoint.WriterOptions, from []checkpoint.Component, r *engine.Rescaling, read func(entries int64)) ([]checkpoint.Component, error) {
	entries, err := readAll(ctx, s, from, read)
	if err != nil {
		return nil, err
	}
	to, err := r.Convert(from[0].ID, from[0].Type, entries)
	if err != nil {
		return nil, err
	}
	list := make([]checkpoint.Component, len(to))
	for p := range to {
		if list[p], err = checkpoint.WriteEntries(ctx, s, opt, &from[0], to[p]); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func readAll(ctx context.Context, s store.Store, from []checkpoint.Component, read func(entries int64)) ([][]state.Entry, error) {
	entries := make([][]state.Entry, len(from))
	for p := range from {
		var err error
		if entries[p], err = checkpoint.ReadEntries(ctx, s, &from[p]); err != nil {
			return nil, fmt.Errorf("partition %d: %w", p, err)
		}
		if read != nil {
			read(int64(len(entries[p])))
		}
	}
	return entries, nil
}
