package checkpoint

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

// Placing says which partition an entry goes to, and its value there. from is the partition
// that it is in now. Entries come in the order of their keys.
type Placing func(from uint32, e state.Entry) (to uint32, value []byte, err error)

// Resplit divides the state of one component among another number of partitions: components
// has the component of each partition, with disjoint keys. The result has those of each of the
// new partitions, with a base each, or without runs if it has no entries. It streams: memory
// holds a few blocks of each run that is read or written, and does not depend on the size of
// the state. The digests of the components are compared, so a damaged run is a *CorruptError.
//
// read is called with the number of entries as they are read; nil for no call.
func Resplit(ctx context.Context, s store.Store, opt WriterOptions, components []Component, partitions uint32, place Placing, read func(entries int64)) ([]Component, error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	opt.Kind = Base
	r := resplit{to: make([]*base, partitions)}
	defer r.end()
	for p := range r.to {
		r.to[p] = newBase(ctx, s, opt)
	}
	for i := range components {
		l := &line{runs: components[i].Runs, taken: true}
		if err := l.open(reading, s, r.to[0].Writer, nil); err != nil {
			return nil, err
		}
		r.from.lines = append(r.from.lines, l)
		r.sums = append(r.sums, newDigester())
	}
	for n := int64(0); ; n++ {
		c, err := r.from.next(reading)
		if err != nil {
			return nil, err
		}
		if c == nil {
			break
		}
		if err := r.pass(c, place); err != nil {
			return nil, err
		}
		if read != nil {
			read(1)
		}
	}
	for i := range components {
		got := r.sums[i].end()
		r.sums[i] = nil
		if err := compareDigest(&components[i], got); err != nil {
			return nil, fmt.Errorf("partition %d: %w", i, err)
		}
	}
	return r.finish(&components[0])
}

// resplit is a Resplit in progress.
type resplit struct {
	from merger
	sums []*digester // by former partition; nil: it has ended
	to   []*base
}

// base is a base that is being written, with its digest.
type base struct {
	*Writer
	digest *digester // nil: it has ended
	done   bool
}

func newBase(ctx context.Context, s store.Store, opt WriterOptions) *base {
	return &base{Writer: NewWriter(ctx, s, opt), digest: newDigester()}
}

// pass writes one entry to the partition that it goes to.
func (r *resplit) pass(c *state.Change, place Placing) error {
	from := r.from.found[0].line
	if len(r.from.found) > 1 {
		return fmt.Errorf("partitions %d and %d both have key %.40q", from, r.from.found[1].line, c.Key)
	}
	if c.Deleted {
		return nil
	}
	r.sums[from].add(c)
	to, value, err := place(uint32(from), state.Entry{Key: c.Key, Value: c.Value})
	if err != nil {
		return err
	}
	moved := &state.Change{Key: c.Key, Value: value}
	r.to[to].digest.add(moved)
	return r.to[to].Add(moved)
}

// finish stores the rest, and returns the components of the new partitions.
func (r *resplit) finish(like *Component) ([]Component, error) {
	list := make([]Component, len(r.to))
	for p, b := range r.to {
		list[p] = Component{ID: like.ID, Type: like.Type, Version: like.Version, Runs: []Run{}}
		list[p].Digest = b.digest.end()
		b.digest = nil
		run, err := b.Finish()
		b.done = true
		if err != nil && !errors.Is(err, ErrNoEntries) {
			return nil, err
		}
		if err == nil {
			list[p].Runs = append(list[p].Runs, run)
		}
	}
	return list, nil
}

// end ends the goroutines of what was not finished.
func (r *resplit) end() {
	for _, d := range r.sums {
		if d != nil {
			d.end()
		}
	}
	for _, b := range r.to {
		if b.digest != nil {
			b.digest.end()
		}
		if !b.done {
			_ = b.group.Wait() // the first error is the more useful one
		}
	}
}

// ReadEntries returns all entries of a component, in the order of their keys, and compares
// their digest.
func ReadEntries(ctx context.Context, s store.Store, c *Component) (entries []state.Entry, err error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	l := &line{runs: c.Runs, taken: true}
	if err := l.open(reading, s, nil, nil); err != nil {
		return nil, err
	}
	m := merger{lines: []*line{l}}
	for {
		change, err := m.next(reading)
		if err != nil {
			return nil, err
		}
		if change == nil {
			return entries, compareDigest(c, state.DigestOf(entries))
		}
		if !change.Deleted {
			entries = append(entries, state.Entry{Key: change.Key, Value: change.Value})
		}
	}
}

// WriteEntries stores all entries of a component, sorted by key, as a base.
func WriteEntries(ctx context.Context, s store.Store, opt WriterOptions, like *Component, entries []state.Entry) (Component, error) {
	c := Component{ID: like.ID, Type: like.Type, Version: like.Version, Digest: state.DigestOf(entries), Runs: []Run{}}
	if len(entries) == 0 {
		return c, nil
	}
	changes := make([]state.Change, len(entries))
	for i, e := range entries {
		changes[i] = state.Change{Key: e.Key, Value: e.Value}
	}
	opt.Kind = Base
	run, err := WriteRun(ctx, s, opt, changes)
	c.Runs = append(c.Runs, run)
	return c, err
}
