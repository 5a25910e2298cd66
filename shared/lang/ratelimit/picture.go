package ratelimit

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// picture is `output snapshot every T` of a query whose rows leave again: it puts out what
// the query's window, or its join, holds. If all columns are aggregates, that is the newest
// values of each group; otherwise the rows, with the newest aggregates in them, and of a
// group only the oldest row.
type picture struct {
	ticks
	rows   table // not used if all columns are aggregates
	groups table // with their newest aggregates; not used without aggregates

	totals  []int
	names   []int
	single  bool // all columns are aggregates
	grouped bool // rows are told apart by group: there are aggregates
	undated bool
	byHash  map[uint64]span
	order   []*item
}

func newPicture(c Config) *picture {
	return &picture{
		ticks: ticks{env: c.Env, period: c.Period},
		rows:  newTable(c.Schema, keyRow), groups: newTable(c.Schema, keyGroup),
		totals: c.Totals, names: c.Names, single: len(c.Totals) == len(c.Schema.Attrs),
		grouped: c.Grouped && len(c.Totals) > 0, undated: c.Undated, byHash: map[uint64]span{},
	}
}

// Add implements Limiter. Nothing comes out before a tick.
func (l *picture) Add(rows []Row, _ *Rows) {
	for i := range rows {
		r := &rows[i]
		if l.rows.size+l.groups.size == 0 {
			l.await()
		}
		if !l.grouped {
			r.Group = nil
		}
		switch {
		case l.single:
			l.total(r)
		case r.Kind == window.Expired:
			l.leave(r)
		case !r.Dropped:
			l.enter(r)
		}
	}
}

// total notes the newest aggregates of a group, and how many rows it has. Its time is that
// of its newest current row.
func (l *picture) total(r *Row) {
	x := l.groups.byKey[string(r.Group)]
	if x == nil {
		if r.Kind == window.Expired {
			return // its current row came before the limiter
		}
		x = l.groups.add(r.Group)
	}
	if r.Kind == window.Current {
		x.count++
		x.at = r.B.TS[r.I]
	} else if x.count > 0 {
		x.count--
	}
	l.groups.changed(x)
	if !r.Dropped {
		l.groups.set(x, r.B, r.I, window.Current)
	}
}

// enter adds a row that has come.
func (l *picture) enter(r *Row) {
	x := l.rows.add(r.Group)
	x.at = r.Came
	l.rows.set(x, r.B, r.I, window.Current)
	l.index(x)
	if len(l.totals) > 0 {
		g := l.groups.byKey[string(r.Group)]
		if g == nil {
			g = l.groups.add(r.Group)
		}
		l.groups.set(g, r.B, r.I, window.Current)
		join(g, x)
	}
}

// leave removes the oldest row that r was.
func (l *picture) leave(r *Row) {
	h := l.hashOf(r.B, r.I, r.Came)
	chain := l.byHash[h]
	var before *item
	x := chain.first
	for ; x != nil; before, x = x, x.same {
		if (l.undated || x.at == r.Came) && x.key == string(r.Group) && equal(l.rows.batch, int(x.row), r.B, r.I, l.names) {
			break
		}
	}
	if x == nil {
		return // having dropped it when it came
	}
	if before == nil {
		chain.first = x.same
	} else {
		before.same = x.same
	}
	if x.same == nil {
		chain.last = before
	}
	if chain.first == nil {
		delete(l.byHash, h)
	} else {
		l.byHash[h] = chain
	}
	if g := x.group; g != nil {
		part(g, x)
		switch {
		case g.rows.first == nil:
			l.groups.remove(g)
		case !r.Dropped:
			l.groups.set(g, r.B, r.I, window.Current)
		}
	}
	l.rows.remove(x)
}

func (l *picture) hashOf(b *event.Batch, i int, came int64) uint64 {
	if l.undated {
		came = 0
	}
	return hash(mix(14695981039346656037, uint64(came)), b, i, l.names)
}

// index makes a row findable by its values.
func (l *picture) index(x *item) {
	x.hash = l.hashOf(l.rows.batch, int(x.row), x.at)
	chain := l.byHash[x.hash]
	if chain.first == nil {
		chain.first = x
	} else {
		chain.last.same = x
	}
	chain.last = x
	l.byHash[x.hash] = chain
}

// join appends a row to its group.
func join(g, x *item) {
	x.group, x.peer = g, link{prev: g.rows.last}
	if g.rows.last == nil {
		g.rows.first = x
	} else {
		g.rows.last.peer.next = x
	}
	g.rows.last = x
}

// part takes a row out of its group.
func part(g, x *item) {
	if p := x.peer.prev; p == nil {
		g.rows.first = x.peer.next
	} else {
		p.peer.next = x.peer.next
	}
	if n := x.peer.next; n == nil {
		g.rows.last = x.peer.prev
	} else {
		n.peer.prev = x.peer.prev
	}
}

// Due implements Limiter.
func (l *picture) Due() (int64, bool) { return l.next, l.rows.size+l.groups.size > 0 }

// Fire implements Limiter.
func (l *picture) Fire(out *Rows) {
	switch {
	case l.single:
		l.showTotals(out)
	case l.grouped:
		l.order = l.order[:0]
		for g := l.groups.first; g != nil; g = g.next {
			l.order = append(l.order, g.rows.first)
		}
		slices.SortFunc(l.order, func(a, b *item) int { return cmp.Compare(a.number, b.number) })
		for _, x := range l.order {
			l.show(x, out)
		}
		clear(l.order)
	default:
		for x := l.rows.first; x != nil; x = x.next {
			l.show(x, out)
		}
	}
	l.await()
}

// show puts out a row, with the newest aggregates of its group.
func (l *picture) show(x *item, out *Rows) {
	b := l.rows.batch
	if x.group == nil {
		out.append(b, int(x.row), window.Current)
		return
	}
	next := 0
	for c := range out.B.Cols {
		if next < len(l.totals) && l.totals[next] == c {
			next++
			out.B.Cols[c].AppendFrom(&l.groups.batch.Cols[c], int(x.group.row))
		} else {
			out.B.Cols[c].AppendFrom(&b.Cols[c], int(x.row))
		}
	}
	out.B.TS = append(out.B.TS, b.TS[x.row])
	out.Kinds = append(out.Kinds, window.Current)
}

// showTotals emits the groups that have rows, in order of arrival. It forgets groups without
// rows.
func (l *picture) showTotals(out *Rows) {
	for x := l.groups.first; x != nil; {
		after := x.next
		switch {
		case x.count == 0:
			l.groups.remove(x)
		case x.row != none:
			out.append(l.groups.batch, int(x.row), window.Current)
			out.B.TS[out.B.Len()-1] = x.at
		}
		x = after
	}
}

// Changed implements state.Source.
func (l *picture) Changed(visit func(key []byte)) {
	l.ticks.visitChanged(visit)
	l.rows.visitChanged(visit)
	l.groups.visitChanged(visit)
}

// Keys implements state.Source.
func (l *picture) Keys(visit func(key []byte)) {
	l.ticks.visitKeys(visit)
	l.rows.visitKeys(visit)
	l.groups.visitKeys(visit)
}

// Append implements state.Source.
func (l *picture) Append(dst, key []byte) ([]byte, bool) {
	if len(key) == 1 && key[0] == keyTick {
		return l.ticks.append(dst)
	}
	if x := l.rows.find(key); x != nil {
		return l.rows.append(dst, x), true
	}
	if x := l.groups.find(key); x != nil {
		return l.groups.append(dst, x), true
	}
	return dst, false
}

// Reset implements state.Source.
func (l *picture) Reset() {
	l.ticks.reset()
	l.rows.clear()
	l.groups.clear()
	l.byHash = map[uint64]span{}
}

// Put implements state.Source.
func (l *picture) Put(key, value []byte) error {
	switch {
	case len(key) == 1 && key[0] == keyTick:
		return l.ticks.put(value)
	case len(key) > 0 && key[0] == keyRow && !l.single:
		return l.rows.put(key, value)
	case len(key) > 0 && key[0] == keyGroup && len(l.totals) > 0:
		return l.groups.put(key, value)
	}
	return fmt.Errorf("key %q is none of this snapshot", key)
}

// Ready implements state.Source.
func (l *picture) Ready() error {
	if err := l.rows.sort(); err != nil {
		return err
	}
	if err := l.groups.sort(); err != nil {
		return err
	}
	for x := l.rows.first; x != nil; x = x.next {
		if err := l.readyRow(x); err != nil {
			return err
		}
	}
	for g := l.groups.first; g != nil; g = g.next {
		if err := checkGroup(g.key, l.grouped); err != nil {
			return err
		}
		if g.kind != window.Current || !l.single && (g.rows.first == nil || g.row == none || g.count != 0 || g.at != 0) {
			return fmt.Errorf("group %q has no row, or too much", g.key)
		}
	}
	if l.rows.size+l.groups.size > 0 && !l.begun {
		return fmt.Errorf("rows wait, and no tick comes")
	}
	return nil
}

func (l *picture) readyRow(x *item) error {
	if x.row == none || x.count != 0 || x.kind != window.Current {
		return fmt.Errorf("row %d has no values, or a count, or has expired", x.number)
	}
	if err := checkGroup(x.key, l.grouped); err != nil {
		return err
	}
	if len(l.totals) > 0 {
		g := l.groups.byKey[x.key]
		if g == nil {
			return fmt.Errorf("row %d belongs to group %q, which is not there", x.number, x.key)
		}
		join(g, x)
	}
	l.index(x)
	return nil
}

// Bytes implements state.Source.
func (l *picture) Bytes() int64 { return l.rows.bytes() + l.groups.bytes() }

// Empty implements Limiter.
func (l *picture) Empty() bool { return l.rows.size+l.groups.size == 0 && !l.begun }
