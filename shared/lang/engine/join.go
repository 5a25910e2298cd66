package engine

import (
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/join"
	"github.com/eventflux/eventflux/shared/lang/shrink"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// joinQuery is the compiled form of a siddhiql.Join. Its state is in joins.
type joinQuery struct {
	plan   *siddhiql.Join
	sides  [2]joinSide
	keyed  bool
	exact  bool         // keys with equal hashes are equal
	plain  bool         // only current rows matter: others are not put out, added up or grouped
	rest   cond         // nil: the keys say it all
	all    cond         // rest and the keys, if a side is a table; nil: every pair
	rows   *event.Batch // scratch: the joined rows of one row
	refs   []window.Row // to rows
	came   []window.Row // scratch: what a side's window has emitted
	solo   []window.Row // scratch: one row, for a source without a window
	chunks [][2]int     // scratch: the chunks of a self join, first and end
	probe  row          // for keys of rows that are found
}

// joinSide is the compiled form of one source.
type joinSide struct {
	plan    *siddhiql.Side
	before  []cond
	spec    window.Spec
	used    []int // attributes that its window must keep
	keys    []int // attributes with texts that are keys of its window
	key     *rowKey
	columns []column // that joined rows have of it
}

// column copies an attribute of a source to the joined rows.
type column struct{ from, to int }

func newJoinQuery(q *query, plan *siddhiql.Join) *joinQuery {
	j := &joinQuery{plan: plan, keyed: len(plan.Keys) > 0, rows: event.NewBatch(q.plan.In)}
	j.plain = !q.plan.Expired && q.plan.Aggs == nil && q.plan.GroupBy == nil && q.plan.Rate == nil
	used := usedBehindWindow(q.plan)
	if plan.Rest != nil {
		j.rest = compileCond(plan.Rest)
		siddhiql.EachAttr(plan.Rest, func(a int) { used = append(used, a) })
	}
	if plan.On != nil && (plan.Sides[0].Stream.Table != nil || plan.Sides[1].Stream.Table != nil) {
		j.all = compileCond(plan.On)
		siddhiql.EachAttr(plan.On, func(a int) { used = append(used, a) })
	}
	slices.Sort(used)
	used = slices.Compact(used)
	for i := range plan.Sides {
		j.sides[i] = newJoinSide(plan, i, used)
	}
	j.exact = j.keyed && j.sides[0].key.exact()
	return j
}

// newJoinSide compiles a source. used are the attributes of joined rows that are read.
func newJoinSide(plan *siddhiql.Join, i int, used []int) joinSide {
	p := &plan.Sides[i]
	s := joinSide{plan: p, before: compileConds(p.Before)}
	attrs := p.Stream.Schema.Attrs
	for _, a := range used {
		if from := a - p.Base; from >= 0 && from < len(attrs) {
			s.columns = append(s.columns, column{from, a})
			s.used = append(s.used, from)
		}
		if a == plan.Present(i) {
			s.columns = append(s.columns, column{-1, a})
		}
	}
	exprs, classes := plan.KeysOf(i)
	for _, x := range exprs {
		siddhiql.EachAttr(x, func(a int) { s.used = append(s.used, a) })
	}
	s.key = newRowKey(exprs, classes)
	if p.Window != nil {
		s.spec, _ = window.Lookup(p.Window.Name)
		s.keys = windowKeys(p.Window, func(a int) bool { return attrs[a].Holds().Class() == event.Texts })
		eachWindowAttr(p.Window, func(a int) { s.used = append(s.used, a) })
	}
	slices.Sort(s.used)
	s.used = slices.Compact(s.used)
	return s
}

// joined is a join with the state of one memory.
type joined struct {
	*joinQuery
	s     *memory
	found [2]finder

	// Of the row that is looked up: its side, itself, what decides about pairs, and the row that
	// is found.
	of    int
	row   *window.Row
	meets cond
	other window.Row
	// Functions that would be allocated for each row.
	visit  func(window.Row) bool
	gather window.Emit
}

// finder finds the rows of one source.
type finder interface {
	// each calls visit with all rows, in order.
	each(visit func(window.Row) bool)
	// with calls visit with the rows that have the key that was last computed in key, in
	// order. hash is the hash of that key.
	with(hash uint64, key *rowKey, visit func(window.Row) bool)
	// loaded is called after the rows are loaded.
	loaded()
	// reset is called before the rows are loaded.
	reset()
}

func newJoined(s *memory) *joined {
	j := &joined{joinQuery: s.q.join, s: s}
	j.visit = j.pair
	j.gather = func(chunk []window.Row) { j.came = append(j.came, chunk...) }
	for i := range j.sides {
		side := &j.sides[i]
		if t := side.plan.Stream.Table; t != nil {
			j.found[i] = j.newTableFinder(t, i)
			continue
		}
		if w := s.q.e.namedOf(side.plan.Stream); w != nil {
			j.found[i] = w.finder(j, i)
			continue
		}
		if side.plan.Window == nil {
			j.found[i] = nothing{}
			continue
		}
		w := side.spec.New(s.q.configOf(side.plan.Window, side.spec, window.Config{
			Schema: side.plan.Stream.Schema, Used: side.used, Expired: true,
		})).(window.Searched)
		s.more.units[sidePart(i)] = w
		j.found[i] = j.newFinder(w, side)
	}
	return j
}

// sidePart returns the part of a memory that has a side's window.
func sidePart(side int) int { return windows + side }

// receive implements input. In a self join each event passes the left side and then the right
// one, before the next event; the results come out after all events.
func (j *joined) receive(from *siddhiql.Stream, chunk []window.Row) {
	if !j.plan.SelfJoin() || from.Window != nil {
		side := 0
		if j.plan.Sides[0].Stream != from {
			side = 1
		}
		from := j.s.open()
		j.side(side, chunk)
		j.s.close(from)
		return
	}
	j.chunks = shrink.Reset(j.chunks)
	for i := range chunk {
		for side := range j.sides {
			from := j.s.open()
			j.side(side, chunk[i:i+1])
			first, end := j.s.gather(from)
			j.chunks = append(j.chunks, [2]int{first, end})
		}
	}
	for _, c := range j.chunks {
		j.s.put(c[0], c[1])
	}
}

// side processes a chunk of one source.
func (j *joined) side(i int, chunk []window.Row) {
	side, q := &j.sides[i], j.s.q
	if len(side.before) > 0 {
		j.s.in = append(shrink.Reset(j.s.in), chunk...)
		chunk = q.filter(side.before, j.s.in)
	}
	if len(chunk) == 0 {
		return
	}
	q.e.work.step(len(chunk))
	if side.plan.Stream.Window != nil {
		j.look(i, chunk)
		return
	}
	if side.plan.Window == nil {
		j.pass(i, chunk)
		return
	}
	for _, c := range side.keys {
		for n := range chunk {
			q.checkKey("key of the window", chunk[n].B.Cols[c].TextBytes(int(chunk[n].I)))
		}
	}
	part := sidePart(i)
	j.came = shrink.Reset(j.came)
	j.s.more.units[part].(window.Searched).Add(chunk, j.gather)
	j.s.reschedule(part)
	j.look(i, j.came)
}

// pass handles the rows of a source without a window: each enters and leaves at once.
func (j *joined) pass(i int, chunk []window.Row) {
	for _, r := range chunk {
		j.solo = append(j.solo[:0], r)
		if r.Kind == window.Current {
			if j.s.q.plan.Expired {
				gone := r
				gone.Kind = window.Expired
				j.solo = append(j.solo, gone)
			}
			j.solo = append(j.solo, window.Row{Kind: window.Reset})
		}
		j.look(i, j.solo)
	}
}

// fire implements input.
func (j *joined) fire(part int) {
	from := j.s.open()
	j.came = shrink.Reset(j.came)
	j.s.more.units[part].(window.Searched).Fire(j.gather)
	j.look(part-windows, j.came)
	j.s.close(from)
}

// loaded implements indexer.
func (j *joined) loaded(part int) { j.found[part-windows].loaded() }

// reset implements indexer.
func (j *joined) reset(part int) { j.found[part-windows].reset() }

// look looks up the rows that a source emitted in the other source. The selector gets a separate
// chunk for each.
func (j *joined) look(i int, rows []window.Row) {
	side, q := &j.sides[i], j.s.q
	if !side.plan.Triggers {
		return
	}
	for n := range rows {
		if j.plain && rows[n].Kind != window.Current {
			continue
		}
		if rows[n].Kind == window.Reset {
			q.sel.run(j.s, rows[n:n+1])
			continue
		}
		j.rows.Reset()
		j.match(i, &rows[n])
		if j.rows.Len() == 0 {
			if !side.plan.Preserved {
				continue
			}
			j.write(i, &rows[n], nil)
		}
		j.refs = refer(shrink.Reset(j.refs), j.rows, 0, j.rows.Len())
		for m := range j.refs {
			j.refs[m].Kind = rows[n].Kind
		}
		q.sel.run(j.s, j.refs)
	}
}

// match appends the joined rows for a row.
func (j *joined) match(i int, r *window.Row) {
	q := j.s.q
	j.of, j.row, j.meets = i, r, j.rest
	other := j.found[1-i]
	if t, ok := other.(*tableFinder); ok {
		if !t.sure {
			j.meets = j.all
		}
		t.look(r, j.visit)
		return
	}
	if !j.keyed {
		other.each(j.visit)
		return
	}
	x := &q.e.row
	x.at(r, q.e.env.Now)
	key := j.sides[i].key
	if hash, ok := key.of(x); ok {
		other.with(hash, key, j.visit)
	}
}

// pair appends the joined row of the row that is looked up and one that is found, if they match.
func (j *joined) pair(found window.Row) bool {
	q := j.s.q
	q.e.work.step(0)
	j.other = found
	j.write(j.of, j.row, &j.other)
	if j.meets != nil {
		x := &q.e.row
		x.at(&window.Row{B: j.rows, I: int32(j.rows.Len() - 1), TS: j.row.TS}, q.e.env.Now)
		if !j.meets(x) {
			j.rows.Truncate(j.rows.Len() - 1)
		}
	}
	return true
}

// write appends the joined row of a row of one side and one of the other; nil: there is none.
func (j *joined) write(i int, r, other *window.Row) {
	b := j.rows
	for _, c := range j.sides[i].columns {
		if c.from < 0 {
			b.Cols[c.to].AppendBool(true)
		} else {
			b.Cols[c.to].AppendFrom(&r.B.Cols[c.from], int(r.I))
		}
	}
	for _, c := range j.sides[1-i].columns {
		switch {
		case other == nil:
			b.Cols[c.to].AppendNull()
		case c.from < 0:
			b.Cols[c.to].AppendBool(true)
		default:
			b.Cols[c.to].AppendFrom(&other.B.Cols[c.from], int(other.I))
		}
	}
	b.TS = append(b.TS, r.TS)
}

// nothing is the finder of a source that keeps no rows.
type nothing struct{}

func (nothing) each(func(window.Row) bool)                  {}
func (nothing) with(uint64, *rowKey, func(window.Row) bool) {}
func (nothing) loaded()                                     {}
func (nothing) reset()                                      {}

// newFinder returns the finder of a window.
func (j *joined) newFinder(w window.Searched, side *joinSide) finder {
	if !j.keyed {
		return scanned{w}
	}
	f := &indexed{w: w, key: side.key, exact: j.exact, probe: &j.probe, index: join.New()}
	w.Follow(f)
	return f
}

// scanned finds rows in a window without an index.
type scanned struct{ w window.Searched }

func (f scanned) each(visit func(window.Row) bool) {
	f.w.Each(func(_ uint64, r window.Row) bool { return visit(r) })
}
func (scanned) with(uint64, *rowKey, func(window.Row) bool) {}
func (scanned) loaded()                                     {}
func (scanned) reset()                                      {}

// indexed finds rows in a window by their key.
type indexed struct {
	scanned
	w     window.Searched
	key   *rowKey
	exact bool
	probe *row
	index *join.Index
}

// Enter implements window.Follower.
func (f *indexed) Enter(id uint64, r window.Row) {
	if hash, ok := f.hash(&r); ok {
		f.index.Add(hash, id, f.w.Before)
	}
}

// Leave implements window.Follower.
func (f *indexed) Leave(id uint64, r window.Row) {
	if hash, ok := f.hash(&r); ok {
		f.index.Remove(hash, id)
	}
}

func (f *indexed) hash(r *window.Row) (uint64, bool) {
	f.probe.at(r, 0)
	return f.key.of(f.probe)
}

func (f *indexed) with(hash uint64, key *rowKey, visit func(window.Row) bool) {
	for at, ok := f.index.First(hash); ok; at, ok = f.index.Next(at) {
		r := f.w.Found(f.index.At(at))
		if !f.exact {
			if _, ok := f.hash(&r); !ok || !f.key.equal(key) {
				continue
			}
		}
		if !visit(r) {
			return
		}
	}
}

func (f *indexed) reset() { f.index.Reset() }

func (f *indexed) loaded() {
	f.index.Reset()
	f.w.Each(func(id uint64, r window.Row) bool {
		f.Enter(id, r)
		return true
	})
}
