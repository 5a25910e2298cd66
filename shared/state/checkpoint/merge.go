package checkpoint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/store"
)

const blocksAhead = 2 // of each run that is merged

// MergeRuns folds a chain, oldest first, into one run, which keeps the newest change of
// each key. A base leaves deletions out. It streams: memory holds a few blocks of each run,
// and does not depend on the size of the state.
//
// The chain is one line of history. Runs of one epoch that differ about a key, or epochs
// that go back, contradict it and are a *CorruptError. A base that would be empty is ErrNoEntries.
func MergeRuns(ctx context.Context, s store.Store, opt WriterOptions, chain []Run) (Run, error) {
	return mergeInto(ctx, s, opt, merging{lines: []Line{{Runs: chain}}})
}

// FoldChain folds the chain of a component into a base, as MergeRuns does, and compares the
// digest of the result with the component's: a different one is a *CorruptError. A chain
// without entries folds into an empty chain.
//
// held are the names of runs that the caller protects from the sweep until the result is
// referred to. Their blocks that do not change, which are most of them, are not put again.
func FoldChain(ctx context.Context, s store.Store, opt WriterOptions, c *Component, held map[string]bool) ([]Run, error) {
	opt.Kind = Base
	digest := newDigester()
	run, err := mergeInto(ctx, s, opt, merging{lines: []Line{{Runs: c.Runs}}, held: held, taken: digest.add})
	got := digest.end()
	if err != nil && !errors.Is(err, ErrNoEntries) {
		return nil, err
	}
	if err := compareDigest(c, got); err != nil {
		return nil, err
	}
	if run.Entries == 0 {
		return []Run{}, nil
	}
	return []Run{run}, nil
}

// merging says what is merged, and how.
type merging struct {
	lines  []Line
	choose choice              // between lines; nil for one
	held   map[string]bool     // runs whose blocks need not be put again
	taken  func(*state.Change) // called with each change that was written; may be nil
}

// mergeInto writes what the lines hold into a run.
func mergeInto(ctx context.Context, s store.Store, opt WriterOptions, how merging) (Run, error) {
	reading, cancel := context.WithCancel(ctx)
	defer cancel()
	w := NewWriter(ctx, s, opt)
	fail := func(err error) (Run, error) { return Run{}, errors.Join(err, w.group.Wait()) }
	m := merger{choose: how.choose}
	for i := range how.lines {
		l := &line{runs: how.lines[i].Runs, taken: true}
		if err := l.open(reading, s, w, how.held); err != nil {
			return fail(err)
		}
		m.lines = append(m.lines, l)
	}
	for {
		c, err := m.next(reading)
		if err != nil {
			return fail(err)
		}
		if c == nil {
			return w.Finish()
		}
		if c.Deleted && opt.Kind == Base {
			continue
		}
		if err := w.Add(c); err != nil {
			return fail(err)
		}
		if how.taken != nil {
			how.taken(c)
		}
	}
}

// merger takes the change with the smallest key of several lines.
type merger struct {
	choose choice
	lines  []*line
	found  []version
}

// version is what a line has under a key; line is its index.
type version struct {
	*state.Change
	epoch state.Epoch
	line  int
}

// choice returns the version of a key that counts. At least two of the versions differ.
type choice func([]version) version

// next returns the next change, or nil at the end. It is valid until the next call.
func (m *merger) next(ctx context.Context) (*state.Change, error) {
	var least []byte
	m.found = m.found[:0]
	for i, l := range m.lines {
		head, err := l.head(ctx)
		if err != nil {
			return nil, err
		}
		if head.Change == nil {
			continue
		}
		head.line = i
		order := -1
		if len(m.found) > 0 {
			order = bytes.Compare(head.Key, least)
		}
		if order < 0 {
			m.found, least = m.found[:0], head.Key
		}
		if order <= 0 {
			m.found = append(m.found, head)
		}
	}
	if len(m.found) == 0 {
		return nil, nil
	}
	for _, v := range m.found {
		m.lines[v.line].taken = true
	}
	winner := m.found[0]
	for _, v := range m.found[1:] {
		if !sameChange(v.Change, winner.Change) {
			winner = m.choose(m.found)
			break
		}
	}
	return winner.Change, nil
}

func sameChange(a, b *state.Change) bool {
	return a.Deleted == b.Deleted && bytes.Equal(a.Value, b.Value)
}

// line reads a chain as one sequence of changes: the newest of each key.
type line struct {
	runs    []Run
	cursors []*cursor
	newest  version
	taken   bool // newest was used: move on
}

// open starts reading, and tells the writer which blocks are in the store.
func (l *line) open(ctx context.Context, s store.Store, w *Writer, held map[string]bool) error {
	for i := range l.runs {
		r := &l.runs[i]
		if i > 0 && r.Epoch < l.runs[i-1].Epoch {
			return corrupt(r.Object(), -1, "a run of epoch %d after one of epoch %d", r.Epoch, l.runs[i-1].Epoch)
		}
		c, x, err := openCursor(ctx, s, r, blocksAhead)
		if err != nil {
			return err
		}
		l.cursors = append(l.cursors, c)
		if held[r.Name] {
			w.know(x)
		}
	}
	return nil
}

// head returns the newest change of the smallest key; none at the end.
func (l *line) head(ctx context.Context) (version, error) {
	if !l.taken {
		return l.newest, nil
	}
	if l.newest.Change != nil {
		for _, c := range l.cursors {
			if len(c.block) > 0 && bytes.Equal(c.block[0].Key, l.newest.Key) {
				c.next()
			}
		}
	}
	l.newest, l.taken = version{}, false
	for i, c := range l.cursors { // chains are short, so no heap
		head, err := c.head(ctx)
		if err != nil {
			return version{}, err
		}
		if head == nil {
			continue
		}
		order := -1
		if l.newest.Change != nil {
			order = bytes.Compare(head.Key, l.newest.Key)
		}
		if order == 0 && l.newest.epoch == l.runs[i].Epoch && !sameChange(head, l.newest.Change) {
			return version{}, corrupt(l.runs[i].Object(), -1, "another run of its epoch %d has something else under key %q", l.newest.epoch, head.Key)
		}
		if order <= 0 {
			l.newest = version{Change: head, epoch: l.runs[i].Epoch}
		}
	}
	return l.newest, nil
}

// digester sums entries beside the goroutine that makes them.
type digester struct {
	batch  []state.Change
	bytes  int
	queue  chan []state.Change
	result chan state.Digest
}

const (
	digestBatchBytes = 64 << 10
	digestBatches    = 4 // waiting at most
)

func newDigester() *digester {
	d := &digester{queue: make(chan []state.Change, digestBatches), result: make(chan state.Digest, 1)}
	go func() {
		var sum state.Sum
		for batch := range d.queue {
			for _, c := range batch {
				sum.Add(c.Key, c.Value)
			}
		}
		d.result <- sum.Digest()
	}()
	return d
}

// add takes an entry, whose bytes must not change.
func (d *digester) add(c *state.Change) {
	d.batch = append(d.batch, *c)
	if d.bytes += len(c.Key) + len(c.Value); d.bytes >= digestBatchBytes {
		d.queue <- d.batch
		d.batch, d.bytes = nil, 0
	}
}

func (d *digester) end() state.Digest {
	d.queue <- d.batch
	close(d.queue)
	return <-d.result
}

// ErrNoEntries is returned if a run would have no entries. The chain of an empty state has no runs.
var ErrNoEntries = errors.New("run without entries")

// Adopt returns the chain with its part up to an epoch replaced by another chain for the
// same state of that epoch. If that does not fit, the chain stays: its base is newer, or a
// delta would have no base.
//
// A delta counts from an epoch that was committed before it, and has all keys that changed
// since, so it fits any state between the two. It does not matter if a task missed that the
// epoch was committed.
func Adopt(chain, merged []Run, upTo state.Epoch) []Run {
	n := 0
	for n < len(chain) && chain[n].Epoch <= upTo {
		n++
	}
	if n == 0 || len(merged) == 0 && n < len(chain) {
		return chain
	}
	return append(merged[:len(merged):len(merged)], chain[n:]...)
}

// CheckSwap returns what forbids replacing one manifest by the other: everything except the
// chains must be the same.
func CheckSwap(before, after *Manifest) error {
	if len(before.Partitions) != len(after.Partitions) {
		return fmt.Errorf("it has %d partitions, not %d", len(after.Partitions), len(before.Partitions))
	}
	bare := *after
	bare.Digest, bare.Format = before.Digest, before.Format
	bare.Partitions = make([]Partition, len(after.Partitions))
	for p := range after.Partitions {
		was, is := &before.Partitions[p], &after.Partitions[p]
		if len(was.Components) != len(is.Components) {
			return fmt.Errorf("partition %d has %d components, not %d", p, len(is.Components), len(was.Components))
		}
		bare.Partitions[p] = *is
		bare.Partitions[p].Components = slices.Clone(is.Components)
		for c := range is.Components {
			bare.Partitions[p].Components[c].Runs = was.Components[c].Runs
		}
	}
	want, err := before.json()
	if err != nil {
		return err
	}
	got, err := bare.json()
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		return errors.New("more than its chains is different")
	}
	return nil
}

// Chains returns the chains of all components.
func (m *Manifest) Chains() (chains [][]Run) {
	for p := range m.Partitions {
		for c := range m.Partitions[p].Components {
			chains = append(chains, m.Partitions[p].Components[c].Runs)
		}
	}
	return chains
}

// CheckNew reads those runs of a manifest whose objects the manifest before it does not need.
func CheckNew(ctx context.Context, s store.Store, before, after *Manifest) error {
	known := before.RunObjects()
	var added []Run
	for p := range after.Partitions {
		for _, c := range after.Partitions[p].Components {
			for _, r := range c.Runs {
				if _, ok := known[r.Object()]; !ok {
					added = append(added, r)
				}
			}
		}
	}
	s = SharedReads(s, added)
	for i := range added {
		if _, err := openRun(ctx, s, &added[i]); err != nil {
			return err
		}
	}
	return nil
}

// RunObjects returns the names of the objects that have the runs of a manifest, as Run.Object says,
// with the newest epoch that a run in each was written for.
func (m *Manifest) RunObjects() map[string]state.Epoch {
	names := map[string]state.Epoch{}
	for p := range m.Partitions {
		for c := range m.Partitions[p].Components {
			for i := range m.Partitions[p].Components[c].Runs {
				r := &m.Partitions[p].Components[c].Runs[i]
				names[r.Object()] = max(names[r.Object()], r.Epoch)
			}
		}
	}
	return names
}
