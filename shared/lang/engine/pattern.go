package engine

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/pattern"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// patternQuery is the compiled form of a query's pattern. Package pattern matches; this
// evaluates the filters, and makes rows of the matches.
type patternQuery struct {
	q       *query
	machine *pattern.Machine
	streams []int // by stream of the plan: its number in the pattern, or -1
	items   []patternItem
	row     *pattern.Row  // the values of a match that select and the clauses after it read
	rows    *event.Batch  // of In
	chunk   []window.Row  // the one row in rows
	in      row           // of the event, for filters
	stirred []*memory     // their deadlines may have changed
	events  pattern.Event // being received
}

// patternItem is the filter of an item.
type patternItem struct {
	own   []cond
	keys  []keyPart // by equality: of the event
	held  []keyPart // by equality: of the match
	rest  []cond
	row   *pattern.Row // the values of the match that the filter reads
	batch *event.Batch // the event and those values
	first int          // the first column of those values
	used  []int        // attributes of the event that rest reads
	// The values that mean the event itself if the step has none yet, and the event's
	// attributes that they then have.
	self []selfValue
	fed  [][]keyPart // what the event says of the equalities of spec.Items[i].Feeds
}

type selfValue struct{ column, attr int }

// keyPart appends a value as a part of a key: equal values give equal bytes.
type keyPart func(r *row, dst []byte) ([]byte, bool)

func newPatternQuery(q *query) *patternQuery {
	q.e.unbegun = true
	p := q.plan.Pattern
	x := &patternQuery{q: q, rows: event.NewBatch(q.plan.In), streams: make([]int, len(q.e.plan.Streams))}
	for i := range x.streams {
		x.streams[i] = -1
	}
	reads := q.plan.Reads()
	for i, s := range reads {
		x.streams[s.ID] = i
	}
	spec := x.spec(p)
	spec.Complete(len(reads))
	x.machine = pattern.NewMachine(spec, &q.e.env, x, q.e.work.matched)
	x.row = spec.NewRow(refsOf(p.Values), 0)
	for i := range p.Items {
		x.items = append(x.items, x.compile(spec, i, &p.Items[i]))
	}
	for i := range p.Items {
		x.feed(spec, p, i)
	}
	return x
}

// spec translates the plan of a pattern.
func (x *patternQuery) spec(p *siddhiql.Pattern) *pattern.Spec {
	spec := &pattern.Spec{Sequence: p.Sequence, Within: p.Within}
	for _, s := range p.Steps {
		spec.Steps = append(spec.Steps, pattern.Step{Items: s.Items, Or: s.Or, Count: s.Count, Min: s.Min, Max: s.Max})
	}
	for _, g := range p.Groups {
		spec.Groups = append(spec.Groups, pattern.Group{First: g.First, Last: g.Last})
	}
	for i := range p.Items {
		item := &p.Items[i]
		spec.Items = append(spec.Items, pattern.Item{
			Stream: x.streams[item.Stream.ID], Absent: item.Absent, For: item.For, Schema: item.Stream.Schema,
			Own: len(item.Own) > 0, Keyed: len(item.Equal) > 0, Rest: len(item.Rest) > 0,
		})
	}
	keep := func(values []siddhiql.Held) {
		for _, v := range values {
			keepValue(p, spec, v)
		}
	}
	keep(p.Values)
	for i := range p.Items {
		keep(p.Items[i].Held)
	}
	return spec
}

// keepValue makes matches keep what a value needs.
func keepValue(p *siddhiql.Pattern, spec *pattern.Spec, v siddhiql.Held) {
	item := &spec.Items[v.Item]
	if v.Attr >= 0 {
		item.Use(v.Attr)
	}
	count := false
	for s := range p.Steps {
		for _, i := range p.Steps[s].Items {
			count = count || i == v.Item && p.Steps[s].Count
		}
	}
	switch {
	case !count:
		item.Heads = 1
	case v.Last:
		item.Tails = max(item.Tails, v.N+1)
	default:
		item.Heads = max(item.Heads, v.N+1)
	}
}

func refsOf(values []siddhiql.Held) []pattern.Ref {
	refs := make([]pattern.Ref, len(values))
	for i, v := range values {
		refs[i] = pattern.Ref{Item: v.Item, Last: v.Last, N: v.N, Attr: v.Attr}
	}
	return refs
}

// compile compiles the filter of an item.
func (x *patternQuery) compile(spec *pattern.Spec, i int, item *siddhiql.PatternItem) patternItem {
	c := patternItem{
		own: compileConds(item.Own), rest: compileConds(item.Rest),
		first: len(item.Stream.Schema.Attrs), batch: event.NewBatch(item.Schema),
	}
	c.row = spec.NewRow(refsOf(item.Held), c.first)
	for _, eq := range item.Equal {
		real := class(eq.Own) == event.Reals || class(eq.Held) == event.Reals
		c.keys = append(c.keys, compileKey(eq.Own, real))
		c.held = append(c.held, compileKey(eq.Held, real))
	}
	used := make([]bool, c.first)
	for _, e := range item.Rest {
		siddhiql.EachAttr(e, func(a int) {
			if a < c.first {
				used[a] = true
			}
		})
	}
	for n, v := range item.Held {
		if v.Item == i && !v.Last && v.N == 0 {
			c.self = append(c.self, selfValue{c.first + n, v.Attr})
		}
	}
	for a, is := range used {
		if is {
			c.used = append(c.used, a)
		}
	}
	return c
}

// compileKey compiles a side of an equality. Numbers are compared as real ones if one side
// is.
func compileKey(e siddhiql.Expr, real bool) keyPart {
	switch {
	case class(e) == event.Texts:
		text := compileText(e)
		return func(r *row, dst []byte) ([]byte, bool) {
			v, ok := text(r)
			return append(binary.AppendUvarint(dst, uint64(len(v))), v...), ok
		}
	case real:
		number := compileReal(e)
		return func(r *row, dst []byte) ([]byte, bool) {
			v, ok := number(r)
			if v == 0 {
				v = 0 // not -0
			}
			return binary.LittleEndian.AppendUint64(dst, math.Float64bits(v)), ok && !math.IsNaN(v)
		}
	default:
		number := compileInt(e)
		return func(r *row, dst []byte) ([]byte, bool) {
			v, ok := number(r)
			return binary.LittleEndian.AppendUint64(dst, uint64(v)), ok
		}
	}
}

// Own implements pattern.Evaluator.
func (x *patternQuery) Own(item int, e *pattern.Event) bool {
	x.at(e)
	return x.all(x.items[item].own)
}

func (x *patternQuery) at(e *pattern.Event) {
	x.look(window.Row{B: e.B, I: int32(e.I), TS: e.TS})
}

// look makes filters read a row.
func (x *patternQuery) look(r window.Row) {
	x.in.at(&r, x.q.e.env.Now)
	x.in.tables, x.in.work = x.q.e.tables, &x.q.e.work
}

func (x *patternQuery) all(conds []cond) bool {
	for _, c := range conds {
		if !c(&x.in) {
			return false
		}
	}
	return true
}

// Key implements pattern.Evaluator.
func (x *patternQuery) Key(item int, e *pattern.Event, dst []byte) ([]byte, bool) {
	x.at(e)
	return x.key(x.items[item].keys, dst)
}

func (x *patternQuery) key(of []keyPart, dst []byte) (key []byte, ok bool) {
	for _, part := range of {
		if dst, ok = part(&x.in, dst); !ok {
			return dst, false
		}
	}
	return dst, true
}

// Held implements pattern.Evaluator.
func (x *patternQuery) Held(item int, m pattern.Match, dst []byte) ([]byte, bool) {
	c := &x.items[item]
	c.batch.Reset()
	c.row.Append(m, c.batch)
	x.look(window.Row{B: c.batch})
	return x.key(c.held, dst)
}

// Rest implements pattern.Evaluator.
func (x *patternQuery) Rest(item int, e *pattern.Event, m pattern.Match) bool {
	c := &x.items[item]
	c.batch.Reset()
	for _, a := range c.used {
		c.batch.Cols[a].AppendFrom(&e.B.Cols[a], e.I)
	}
	c.row.Append(m, c.batch)
	for _, v := range c.self {
		if c.batch.Cols[v.column].IsNull(0) && !m.Has(item) {
			c.setSelf(v, e)
		}
	}
	x.look(window.Row{B: c.batch, TS: e.TS})
	return x.all(c.rest)
}

// setSelf reads a value of a step's first event while the step has none: the value of the event
// that may become the first.
func (c *patternItem) setSelf(v selfValue, e *pattern.Event) {
	col := &c.batch.Cols[v.column]
	col.Truncate(0)
	switch v.attr {
	case siddhiql.HeldPresent:
		col.AppendBool(true)
	case siddhiql.HeldTime:
		col.AppendInt(e.TS)
	default:
		col.AppendFrom(&e.B.Cols[v.attr], e.I)
	}
}

// patternInput is the input of a memory whose query reads a pattern.
type patternInput struct {
	s       *memory
	matcher *pattern.Matcher
	rows    []window.Row // scratch: rows that are announced
}

func (x *patternQuery) newInput(s *memory) *more {
	in := &patternInput{s: s}
	in.matcher = x.machine.New(in)
	m := &more{input: in}
	m.units[windows] = patternUnit{in.matcher, x}
	return m
}

// receive implements input: each row is an event of its own.
func (in *patternInput) receive(from *siddhiql.Stream, chunk []window.Row) {
	x := in.s.q.pattern
	stream := x.streams[from.ID]
	for i := range chunk {
		if i%pattern.Announced == 0 && len(chunk) > 1 && in.matcher.Prefetches() {
			in.announce(stream, chunk[i:min(i+pattern.Announced, len(chunk))])
		}
		x.q.e.work.step(0)
		x.events = pattern.Event{B: chunk[i].B, I: int(chunk[i].I), TS: chunk[i].TS}
		x.machine.Expire(chunk[i].TS)
		in.matcher.Receive(stream, &x.events)
	}
	in.s.reschedule(windows)
	x.askTimers()
}

// announce makes the matcher read what the next rows will need.
func (in *patternInput) announce(stream int, rows []window.Row) {
	x := in.s.q.pattern
	for i := range rows {
		x.events = pattern.Event{B: rows[i].B, I: int(rows[i].I), TS: rows[i].TS}
		in.matcher.Announce(stream, &x.events)
	}
	in.matcher.Prefetch()
}

// askTimers asks for the timers of the keys whose matches expired.
func (x *patternQuery) askTimers() {
	for i, s := range x.stirred {
		s.reschedule(windows)
		x.stirred[i] = nil
	}
	x.stirred = x.stirred[:0]
}

// fire implements input.
func (in *patternInput) fire(int) {
	in.matcher.Fire()
	in.s.q.pattern.askTimers()
}

// begin starts the waits of a pattern that starts with a `not … for`.
func (in *patternInput) begin() {
	if !in.matcher.Begun() {
		in.matcher.Begin(in.s.q.e.env.Now)
		in.s.reschedule(windows)
		in.s.q.pattern.askTimers()
	}
}

// Changing implements pattern.Owner.
func (in *patternInput) Changing() {
	s := in.s
	s.touch()
	if s.home != nil {
		s.home.use()
		x := s.q.pattern
		if n := len(x.stirred); n == 0 || x.stirred[n-1] != s {
			x.stirred = append(x.stirred, s)
		}
	}
}

// Matched implements pattern.Owner: a match is a row, and a chunk of its own.
func (in *patternInput) Matched(m pattern.Match) {
	x := in.s.q.pattern
	x.rows.Reset()
	x.row.Append(m, x.rows)
	x.rows.TS = append(x.rows.TS, m.Time())
	x.chunk = refer(x.chunk[:0], x.rows, 0, 1)
	in.s.chunk(x.chunk)
}

// beginPatterns starts the missing waits, once the clock has its first value or after a state
// without them was loaded.
func (e *Engine) beginPatterns() {
	if e.env.Now == window.NoTime {
		return
	}
	e.unbegun = false
	for _, q := range e.queries {
		if q.pattern != nil {
			q.each(func(s *memory) { s.more.input.(*patternInput).begin() })
		}
	}
}

// begin starts the waits of a new key.
func (in *instance) begin() {
	for _, s := range in.memories {
		if s.q.pattern != nil {
			s.more.input.(*patternInput).begin()
		}
	}
}

// closePattern drops the partial matches of a memory that ends.
func (s *memory) closePattern() {
	if s.q.pattern != nil {
		s.more.input.(*patternInput).matcher.Close()
	}
}

// patternSource is the state of a query's partial matches; patternsOfKeys in a partition.
type (
	patternSource  struct{ unitSource }
	patternsOfKeys struct{ unitsOfKeys }
)

// Ready implements state.Source.
func (c patternSource) Ready() error { return c.ready() }

// Ready implements state.Source.
func (c patternsOfKeys) Ready() error { return c.ready() }

// ready also starts the waits of keys whose state has none.
func (c unitSource) ready() error {
	err := c.Ready()
	c.q.e.loading.Lock()
	c.q.e.unbegun = true
	c.q.e.loading.Unlock()
	return err
}

// matched counts the partial matches of all queries.
func (w *work) matched(n int) { w.matches.Add(int64(n)) }

// digest identifies what entries of the query's partial matches mean: the pattern as written
// and what its matches keep of events.
func (x *patternQuery) digest() string {
	p := x.q.plan.Pattern
	h := sha256.New()
	fmt.Fprintf(h, "%t %d %v\n", p.Sequence, p.Within, p.Groups)
	for _, s := range p.Steps {
		fmt.Fprintf(h, "%q\n", s.Text)
	}
	for i := range x.machine.Items {
		item := &x.machine.Items[i]
		fmt.Fprintf(h, "%d %d", item.Heads, item.Tails)
		for _, a := range item.Used {
			fmt.Fprintf(h, " %q %s", item.Schema.Attrs[a].Name, item.Schema.Attrs[a].Holds())
		}
		fmt.Fprintln(h)
	}
	return fmt.Sprintf("%x", h.Sum(nil)[:8])
}
