package ratelimit

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"slices"
)

func sortItems(all []*item) {
	slices.SortFunc(all, func(a, b *item) int {
		return cmp.Or(cmp.Compare(a.number, b.number), cmp.Compare(a.key, b.key))
	})
}

// counter is `output first every N events`: of N rows, of each group on its own, it lets
// the first through. An item counts the rows since then; a full count is forgotten.
type counter struct {
	keyed
	events  uint64
	grouped bool
}

func newCounter(c Config) *counter {
	return &counter{keyed: newKeyed(c, 0), events: uint64(c.Events), grouped: c.Grouped}
}

// Add implements Limiter.
func (l *counter) Add(rows []Row, out *Rows) {
	for i := range rows {
		r := &rows[i]
		x := l.byKey[string(r.Group)]
		if x == nil {
			out.append(r.B, r.I, r.Kind)
			if l.events == 1 {
				continue
			}
			x = l.add(r.Group)
		}
		x.count++
		if l.changed(x); x.count == l.events {
			l.remove(x)
		}
	}
}

// Due implements Limiter.
func (l *counter) Due() (int64, bool) { return 0, false }

// Fire implements Limiter.
func (l *counter) Fire(*Rows) {}

// Ready implements state.Source.
func (l *counter) Ready() error {
	return l.ready(func(x *item) error {
		if x.count == 0 || x.count >= l.events || x.at != 0 || x.row != none {
			return fmt.Errorf("group %q has %d rows of %d", x.key, x.count, l.events)
		}
		return checkGroup(x.key, l.grouped)
	})
}

// pause is `output first every T`: a row passes if none of its group has passed for T. An
// item has the time of the last one.
type pause struct {
	keyed
	span    int64
	grouped bool
}

func newPause(c Config) *pause {
	return &pause{keyed: newKeyed(c, 0), span: c.Period, grouped: c.Grouped}
}

// Add implements Limiter. Without groups, only the first row of a chunk can pass.
func (l *pause) Add(rows []Row, out *Rows) {
	l.forget()
	for i := range rows {
		r := &rows[i]
		if l.byKey[string(r.Group)] != nil || i > 0 && !l.grouped {
			continue
		}
		out.append(r.B, r.I, r.Kind)
		l.add(r.Group).at = l.env.Now
	}
}

// forget drops the items whose groups may pass again. They are in the order of their times.
func (l *pause) forget() {
	for l.first != nil && later(l.first.at, l.span) <= l.env.Now {
		l.remove(l.first)
	}
}

// Due implements Limiter: the last item is forgotten then, so that nothing is left of a
// partition key that does not come back.
func (l *pause) Due() (int64, bool) {
	if l.last == nil || l.last.at > math.MaxInt64-l.span {
		return 0, false
	}
	return l.last.at + l.span, true
}

// Fire implements Limiter.
func (l *pause) Fire(*Rows) { l.forget() }

// Ready implements state.Source.
func (l *pause) Ready() error {
	before := int64(math.MinInt64)
	return l.ready(func(x *item) error {
		if x.count != 0 || x.row != none || x.at < before {
			return fmt.Errorf("group %q has a time of %d after %d, or more than a time", x.key, x.at, before)
		}
		before = x.at
		return checkGroup(x.key, l.grouped)
	})
}

// keyed is a limiter with one table of groups, and perhaps ticks.
type keyed struct {
	ticks
	table
}

func newKeyed(c Config, period int64) keyed {
	return keyed{ticks{env: c.Env, period: period}, newTable(c.Schema, keyGroup)}
}

// Changed implements state.Source.
func (l *keyed) Changed(visit func(key []byte)) {
	l.ticks.visitChanged(visit)
	l.table.visitChanged(visit)
}

// Keys implements state.Source.
func (l *keyed) Keys(visit func(key []byte)) {
	l.ticks.visitKeys(visit)
	l.table.visitKeys(visit)
}

// Append implements state.Source.
func (l *keyed) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyTick {
		return l.ticks.append(dst)
	}
	if x := l.find(key); x != nil {
		return l.table.append(dst, x), true
	}
	return dst, false
}

// Reset implements state.Source.
func (l *keyed) Reset() {
	l.ticks.reset()
	l.table.clear()
}

// Put implements state.Source.
func (l *keyed) Put(key, value []byte) error {
	switch {
	case len(key) == 1 && key[0] == keyTick:
		return l.ticks.put(value)
	case len(key) > 0 && key[0] == keyGroup:
		return l.table.put(key, value)
	}
	return fmt.Errorf("key %q is none of an output rate", key)
}

// ready sorts the items and checks each.
func (l *keyed) ready(check func(*item) error) error {
	if err := l.sort(); err != nil {
		return err
	}
	for x := l.first; x != nil; x = x.next {
		if err := check(x); err != nil {
			return err
		}
	}
	return nil
}

// Bytes implements state.Source.
func (l *keyed) Bytes() int64 { return l.bytes() }

// Empty implements Limiter. Ticks have a phase, which a new limiter would lack.
func (l *keyed) Empty() bool { return l.size == 0 && !l.begun }

var errGroups = errors.New("rows of groups, and there are none")

// checkGroup refuses the group of a query without groups.
func checkGroup(key string, grouped bool) error {
	if key != "" && !grouped {
		return errGroups
	}
	return nil
}
