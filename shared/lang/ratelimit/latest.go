package ratelimit

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/state/wire"
)

// latest is `output last every …`: at the end of a period it puts out the last row, or the
// last row of each group, groups in the order of their first rows. It is also the snapshot
// of a query whose rows never leave: then it keeps the rows.
type latest struct {
	keyed
	events  uint64
	keeps   bool
	grouped bool
	came    uint64 // rows in this period, if it is one of rows
	shown   uint64 // came, as it was last shown
}

// keyCount is the key of the entry of the number of rows.
const keyCount = 'c'

func newLatest(c Config) *latest {
	return &latest{keyed: newKeyed(c, c.Period), events: uint64(c.Events), keeps: c.Which == Snapshot, grouped: c.Grouped}
}

// Add implements Limiter.
func (l *latest) Add(rows []Row, out *Rows) {
	for i := range rows {
		r := &rows[i]
		if r.Dropped {
			continue
		}
		if l.events == 0 && l.size == 0 {
			l.await()
		}
		x := l.byKey[string(r.Group)]
		if x == nil {
			x = l.add(r.Group)
		}
		l.set(x, r.B, r.I, r.Kind)
		if l.events == 0 {
			continue
		}
		if l.came++; l.came == l.events {
			l.flush(out)
		}
	}
}

// flush ends a period.
func (l *latest) flush(out *Rows) {
	for x := l.first; x != nil; x = x.next {
		out.append(l.batch, int(x.row), x.kind)
	}
	if !l.keeps {
		l.removeAll()
		l.came = 0
	}
}

// Due implements Limiter.
func (l *latest) Due() (int64, bool) { return l.next, l.events == 0 && l.size > 0 }

// Fire implements Limiter.
func (l *latest) Fire(out *Rows) {
	l.flush(out)
	l.await()
}

// Changed implements state.Source.
func (l *latest) Changed(visit func(key []byte)) {
	if l.came != l.shown {
		l.shown = l.came
		visit([]byte{keyCount})
	}
	l.keyed.Changed(visit)
}

// Keys implements state.Source.
func (l *latest) Keys(visit func(key []byte)) {
	if l.came > 0 {
		visit([]byte{keyCount})
	}
	l.keyed.Keys(visit)
}

// Append implements state.Source.
func (l *latest) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyCount {
		return appendNumber(dst, l.came), l.came > 0
	}
	return l.keyed.Append(dst, key)
}

// Reset implements state.Source.
func (l *latest) Reset() {
	l.keyed.Reset()
	l.came, l.shown = 0, 0
}

// Put implements state.Source.
func (l *latest) Put(key, value []byte) (err error) {
	if len(key) == 1 && key[0] == keyCount {
		r := wire.New(value)
		n := r.Uvarint()
		if r.End() != nil || n == 0 || n >= max(l.events, 1) || l.came > 0 {
			return fmt.Errorf("%d rows of %d", n, l.events)
		}
		l.came, l.shown = n, n
		return nil
	}
	return l.keyed.Put(key, value)
}

// Ready implements state.Source.
func (l *latest) Ready() error {
	if err := l.ready(func(x *item) error {
		if x.row == none || x.count != 0 || x.at != 0 {
			return fmt.Errorf("group %q has no row, or more than a row", x.key)
		}
		return checkGroup(x.key, l.grouped)
	}); err != nil {
		return err
	}
	if l.events > 0 && (l.size > 0) != (l.came > 0) || uint64(l.size) > l.came && l.events > 0 {
		return fmt.Errorf("%d rows have come, and %d are kept", l.came, l.size)
	}
	if l.size > 0 && !l.Begun() {
		return fmt.Errorf("rows wait, and no tick comes")
	}
	return nil
}

// Empty implements Limiter.
func (l *latest) Empty() bool { return l.came == 0 && l.keyed.Empty() }
