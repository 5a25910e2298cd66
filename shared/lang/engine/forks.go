package engine

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/wire"
)

// ForkRule says how the states of a component in two forks of an app become one.
type ForkRule string

// The rules.
const (
	// ForkKeys decides for each key, such as a row of a table, a group or a partition key.
	ForkKeys ForkRule = "keys"
	// ForkWhole takes all state from one fork: parts of both would not fit together.
	ForkWhole ForkRule = "whole"
	// ForkNewer takes all state from the fork whose clock is ahead.
	ForkNewer ForkRule = "newer"
	// ForkClock takes the larger of each number.
	ForkClock ForkRule = "clock"
	// ForkIDs takes the message ids of both.
	ForkIDs ForkRule = "ids"
	// ForkLog takes the state from the first fork. It belongs to one log, and no app that
	// starts from the result uses it.
	ForkLog ForkRule = "log"
)

// ForkSet is a set of components whose state in two forks must be merged together.
type ForkSet struct {
	Rule       ForkRule
	Components []string // ids, sorted
	Key        string   // with ForkKeys: what a key is, for people
	Why        string   // with ForkWhole: why keys cannot be merged

	keys string // id of the partition keys; "" if there are none
}

// ForkSets returns the components of the task in sets, sorted by their first components.
func (t *Task) ForkSets() []ForkSet {
	components := t.Components()
	of := map[string]string{} // a component's set is named by one of its members
	for _, c := range components {
		of[c.ID] = c.ID
	}
	for _, c := range components {
		for _, other := range c.DependsOn {
			if other == "clock" {
				continue // a newer one serves all its dependents
			}
			from, to := of[c.ID], of[other]
			for id, set := range of {
				if set == from {
					of[id] = to
				}
			}
		}
	}
	members := map[string][]Component{}
	for _, c := range components {
		members[of[c.ID]] = append(members[of[c.ID]], c)
	}
	var sets []ForkSet
	for _, list := range members {
		slices.SortFunc(list, func(a, b Component) int { return strings.Compare(a.ID, b.ID) })
		sets = append(sets, t.forkSet(list))
	}
	slices.SortFunc(sets, func(a, b ForkSet) int { return strings.Compare(a.Components[0], b.Components[0]) })
	return sets
}

func (t *Task) forkSet(list []Component) ForkSet {
	s := ForkSet{Rule: ForkWhole}
	for _, c := range list {
		s.Components = append(s.Components, c.ID)
		if BindsAll(c.Type) {
			s.keys = c.ID
		}
	}
	first := &list[0]
	kind, _, _ := strings.Cut(first.Type, "/")
	switch {
	case s.keys != "":
		s.Rule, s.Key = ForkKeys, "partition key"
		for _, c := range list {
			if c.ID != s.keys && !slices.Contains(c.DependsOn, s.keys) {
				s.Rule, s.Key, s.Why = ForkWhole, "", "the queries of the partition aggregate "+c.ID+", which all keys share"
			}
		}
	case len(list) > 1:
		s.Why = "the aggregates count the rows of the window"
	case first.Type == "clock":
		s.Rule = ForkClock
	case first.Type == triggerType:
		s.Rule = ForkNewer
	case first.Type == "log/ids":
		s.Rule = ForkIDs
	case OfOneLog(first.Type):
		s.Rule = ForkLog
	case kind == "aggregate":
		s.Rule, s.Key = ForkKeys, "group"
	case kind == "table":
		s.Why = "the table has no @PrimaryKey, and its rows are in the order of their insertion"
		for _, p := range t.plan.Tables {
			if "table/"+p.Name == first.ID && len(p.Key) > 0 {
				s.Rule, s.Key, s.Why = ForkKeys, "row", ""
			}
		}
	case kind == "pattern":
		s.Why = "its partial matches are in the order of their events"
	case kind == "window":
		s.Why = "its rows are in the order of their arrival"
	case kind == "output":
		s.Why = "its rows wait in the order of their arrival"
	case HoldsInput(first.Type):
		s.Why = "its events wait in the order of their arrival"
	default:
		s.Why = "it says how far the app has read another stream"
	}
	return s
}

// KeyOf returns the key that an entry of a component belongs to, with ForkKeys.
func (s *ForkSet) KeyOf(id string, entry []byte) ([]byte, error) {
	switch {
	case s.Key == "row" || id == s.keys:
		return entry, nil
	case s.keys == "" && (len(entry) == 0 || entry[0] != keyOfSegment):
		return entry, nil
	case s.keys == "": // a part of an aggregator of a group
		entry = entry[1:]
	}
	r := wire.New(entry)
	key := r.Sized()
	if r.Failed() {
		return nil, fmt.Errorf("component %s: key %q is cut off", id, entry)
	}
	return key, nil
}

// OrderKeys makes the places of partition keys unique that come from two forks. second reports
// whether a key comes from the second one; keys with the same place are in the order of the forks.
func (s *ForkSet) OrderKeys(id string, entries []state.Entry, second func(key []byte) bool) error {
	if id != s.keys {
		return nil
	}
	type placed struct {
		place uint64
		later bool
		entry *state.Entry
		rest  []byte
	}
	all := make([]placed, len(entries))
	for i := range entries {
		e := &entries[i]
		r := wire.New(e.Value)
		place := r.Uvarint()
		if r.Failed() {
			return fmt.Errorf("component %s: partition key %q has no place", id, e.Key)
		}
		all[i] = placed{place, second(e.Key), e, r.Rest()}
	}
	slices.SortFunc(all, func(a, b placed) int {
		if a.place == b.place && a.later != b.later {
			return map[bool]int{true: 1, false: -1}[a.later]
		}
		return cmp.Or(cmp.Compare(a.place, b.place), bytes.Compare(a.entry.Key, b.entry.Key))
	})
	for i := range all {
		if x := &all[i]; i > 0 && x.place <= all[i-1].place {
			x.place = all[i-1].place + 1
		}
		all[i].entry.Value = append(binary.AppendUvarint(nil, all[i].place), all[i].rest...)
	}
	return nil
}

// forkClock holds the numbers of a clock.
type forkClock struct {
	env    window.Env
	chunks uint64
	seq    uint64
}

func (c *forkClock) fields(f *window.Fields) {
	f.Int(&c.env.Now)
	f.Uint(&c.env.Dropped)
	f.Uint(&c.seq)
	f.Uint(&c.chunks)
}

// ClockOf returns the time of a clock in ms.
func ClockOf(entries []state.Entry) (int64, error) {
	c, err := readClock(entries)
	return c.env.Now, err
}

func readClock(entries []state.Entry) (forkClock, error) {
	c := forkClock{env: window.Env{Now: window.NoTime}}
	for _, e := range entries {
		if err := window.ReadFields(e.Value, c.fields); err != nil {
			return c, fmt.Errorf("component clock: %w", err)
		}
	}
	return c, nil
}

// MergeClocks returns the clock of an app that continues from two forks.
func MergeClocks(a, b []state.Entry) ([]state.Entry, error) {
	x, err := readClock(a)
	if err != nil || len(b) == 0 {
		return a, err
	}
	y, err := readClock(b)
	if err != nil || len(a) == 0 {
		return b, err
	}
	x.env.Now, x.env.Dropped = max(x.env.Now, y.env.Now), max(x.env.Dropped, y.env.Dropped)
	x.seq, x.chunks = max(x.seq, y.seq), max(x.chunks, y.chunks)
	return []state.Entry{{Key: a[0].Key, Value: window.WriteFields(nil, x.fields)}}, nil
}

// MergeIDs returns the message ids of two forks, oldest first.
func MergeIDs(a, b []state.Entry) ([]state.Entry, error) {
	var all []stampedID
	merged := newDedup(0)
	merged.Reset()
	for _, entries := range [][]state.Entry{a, b} {
		d := newDedup(0)
		d.Reset()
		for _, e := range entries {
			if len(e.Key) > 0 && e.Key[0] == keyFormerIDs {
				if has, ok := merged.former.blocks[string(e.Key)]; ok && has != string(e.Value) {
					return nil, fmt.Errorf("the forks were scaled apart, and each has message ids of its own from before that; merge them when those have aged, after dedup.window")
				} else if ok {
					continue
				}
				if err := merged.Put(e.Key, e.Value); err != nil {
					return nil, err
				}
				continue
			}
			if err := d.Put(e.Key, e.Value); err != nil {
				return nil, err
			}
		}
		if err := d.Ready(); err != nil {
			return nil, err
		}
		for n := d.head; n < d.tail; n++ {
			all = append(all, d.blocks[n/dedupBlock-d.head/dedupBlock][n%dedupBlock])
		}
	}
	slices.SortStableFunc(all, func(x, y stampedID) int { return cmp.Compare(x.at, y.at) })
	if err := merged.Ready(); err != nil {
		return nil, err
	}
	for _, x := range all {
		merged.seen(x.id, x.at)
	}
	var entries []state.Entry
	merged.Keys(func(key []byte) {
		value, _ := merged.Append(nil, key)
		entries = append(entries, state.Entry{Key: bytes.Clone(key), Value: value})
	})
	slices.SortFunc(entries, func(x, y state.Entry) int { return bytes.Compare(x.Key, y.Key) })
	return entries, nil
}
