package engine

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/aggregate"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// transition is the change of an engine's plan while it goes on. Queries and blocks that go
// on are redefined in place, so that state which is kept costs nothing, however large it is.
type transition struct {
	e         *Engine
	m         *Migration
	outcomes  map[string]Outcome
	sources   map[string]state.Source // of the components before, by id
	queries   map[string]*query       // before, by name in the state
	blocks    map[string]*block
	before    map[*query]query         // what queries that go on were
	saved     map[string][]state.Entry // of queries whose memories do not go on, by id
	rowsTaken []*memory                // windows that took over rows, in order
}

// change gives the engine the next plan, with the names in the state, as m says. The state of
// every component becomes that of the next version; outputs that follow from it at once are
// emitted. After an error the engine must not be used again.
func (e *Engine) change(next *siddhiql.Plan, m *Migration) error {
	for _, w := range next.Windows {
		if err := known(w.Query); err != nil {
			return err
		}
	}
	for _, p := range next.Queries {
		if err := known(p); err != nil {
			return err
		}
	}
	t := &transition{e: e, m: m, outcomes: map[string]Outcome{}, sources: map[string]state.Source{}, queries: map[string]*query{}, blocks: map[string]*block{}, before: map[*query]query{}}
	for _, s := range m.Steps {
		t.outcomes[s.ID] = s.Outcome
	}
	for _, c := range e.Components() {
		t.sources[c.ID] = c.Source
	}
	for i, name := range queryNames(e.plan) {
		t.queries[name] = e.queries[i]
	}
	for _, w := range e.named {
		t.queries[w.stateID()] = w.q
	}
	for _, b := range e.blocks {
		t.blocks[b.stateID()] = b
	}
	t.saveEntries()
	waiting, timers := e.reorder, e.timers.Heap
	e.timers = timerHeap{}
	e.plan = next
	e.streams = make([][]subscriber, len(next.Streams))
	t.define()
	e.makeTriggers()
	t.dropTimers()
	if err := t.moveEntries(); err != nil {
		return err
	}
	t.adaptMemories()
	t.keepTimers(timers)
	for _, s := range m.Steps {
		m.fresh[s.ID] = m.fresh[s.ID] || s.Outcome != OutcomeKept
	}
	e.reorderAfter(waiting, m)
	e.trim(t.rowsTaken)
	if e.env.Now != window.NoTime {
		e.begin(e.env.Now) // what the upgrade adds starts at its clock
		e.advance(e.env.Now)
	}
	return nil
}

// define makes the queries and blocks of the next plan.
func (t *transition) define() {
	e := t.e
	e.queries, e.blocks = nil, make([]*block, len(e.plan.Blocks))
	ids := blockNames(e.plan)
	for i := range e.blocks {
		if b := t.blocks[ids[i]+"/keys"]; b != nil && t.outcomes[ids[i]+"/keys"] == OutcomeKept {
			e.blocks[i] = b
		}
	}
	for i, name := range queryNames(e.plan) {
		p := e.plan.Queries[i]
		q := t.queries[name]
		goesOn := q != nil && plain(p) && plain(q.plan)
		switch {
		case !goesOn:
		case p.Block >= 0:
			goesOn = q.block != nil && e.blocks[p.Block] == q.block
		default:
			goesOn = q.block == nil
		}
		if goesOn {
			t.before[q] = *q
			q.redefine(p)
		} else {
			q = newQuery(e, p)
		}
		e.queries = append(e.queries, q)
	}
	for i, b := range e.blocks {
		if b != nil {
			t.defineBlock(b, e.plan.Blocks[i])
		}
	}
	e.makeNamedWindows(t.namedWindow)
	e.subscribe()
}

// namedWindow returns the query of a named window that goes on, with its next definition.
func (t *transition) namedWindow(p *siddhiql.NamedWindow) *query {
	q := t.queries[namedWindowID(p)]
	if q != nil {
		t.before[q] = *q
		q.redefine(p.Query)
	}
	return q
}

// redefine gives a query that goes on its next definition. Its memories stay.
func (q *query) redefine(p *siddhiql.Query) {
	next := newQuery(q.e, p)
	next.memories, next.block, next.place = q.memories, q.block, q.place
	next.touched, next.freezing, next.tellUnit = q.touched, q.freezing, q.tellUnit
	*q = *next
	q.sel.q = q
}

// defineBlock gives a block that goes on its next queries. If those are not the same, every
// key gets memories for them.
func (t *transition) defineBlock(b *block, p *siddhiql.Partition) {
	old, period := b.queries, b.period
	b.define(p)
	if b.period != period {
		t.m.fresh[b.stateID()] = true
		b.each(func(in *instance) {
			in.awaited = false // its timers are made again
			t.e.undated = t.e.undated || !in.dated
		})
	}
	if slices.Equal(old, b.queries) {
		return
	}
	t.m.fresh[b.stateID()] = true // keys are listed with the first memory
	b.touched.drain(func(*memory) {}, func([]byte) {})
	b.counted, b.idle = false, 0
	b.each(func(in *instance) {
		memories := make([]*memory, len(b.queries))
		for i, q := range b.queries {
			if o := slices.Index(old, q); o >= 0 {
				memories[i] = in.memories[o]
			} else {
				memories[i] = q.newMemory(in)
			}
		}
		for o, q := range old {
			if !slices.Contains(b.queries, q) {
				in.memories[o].untime()
			}
		}
		in.memories, in.idle = memories, false
		memories[0].shown[partitionKeys] = true
	})
}

// dropTimers makes the timers of queries that do not go on void.
func (t *transition) dropTimers() {
	for _, q := range t.queries {
		if _, on := t.before[q]; !on {
			q.each((*memory).untime)
		}
	}
	for _, b := range t.blocks {
		if !slices.Contains(t.e.blocks, b) {
			b.each(func(in *instance) { in.gone = true })
		}
	}
}

// moveEntries loads components that are kept, but in other memory, from their entries.
func (t *transition) moveEntries() error {
	for _, c := range t.e.Components() {
		old := t.sources[c.ID]
		if t.outcomes[c.ID] != OutcomeKept || old == nil || sameSource(old, c.Source) {
			continue
		}
		t.m.fresh[c.ID] = true
		entries, saved := t.saved[c.ID]
		if !saved {
			entries = entriesOf(old)
		}
		if err := moveEntries(entries, c.Source); err != nil {
			return fmt.Errorf("component %s: %w", c.ID, err)
		}
	}
	return nil
}

// saveEntries copies the entries of queries whose memories do not go on, and gives up their
// partial matches. A block that goes on gives its keys other memories.
func (t *transition) saveEntries() {
	t.saved = map[string][]state.Entry{}
	for id, c := range t.sources {
		owner, _, _ := cutLast(id)
		if q := t.queries[owner]; q != nil && !plain(q.plan) {
			t.saved[id] = entriesOf(c)
		}
		if q := patternOf(c); q != nil {
			q.each((*memory).closePattern)
		}
	}
}

// patternOf returns the query whose partial matches a source has, or nil.
func patternOf(c state.Source) *query {
	switch c := c.(type) {
	case patternSource:
		return c.q
	case patternsOfKeys:
		return c.q
	}
	return nil
}

func sameSource(a, b state.Source) bool {
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	return x.Comparable() && y.Comparable() && a == b
}

// entriesOf returns all entries of a source, sorted.
func entriesOf(from state.Source) (entries []state.Entry) {
	var keys [][]byte
	from.Keys(func(key []byte) { keys = append(keys, bytes.Clone(key)) })
	slices.SortFunc(keys, bytes.Compare)
	for _, key := range slices.CompactFunc(keys, bytes.Equal) {
		if value, ok := from.Append(nil, key); ok {
			entries = append(entries, state.Entry{Key: key, Value: value})
		}
	}
	return entries
}

// moveEntries replaces the state of a source by the entries of another one of the same kind.
func moveEntries(entries []state.Entry, to state.Source) error {
	to.Reset()
	for _, e := range entries {
		if err := to.Put(e.Key, e.Value); err != nil {
			return err
		}
	}
	return to.Ready()
}

// adaptMemories converts the state of the queries that go on, and of the named windows.
func (t *transition) adaptMemories() {
	for _, w := range t.e.named {
		t.adaptMemory(w.q, w.stateID(), "")
		w.follow()
	}
	names := queryNames(t.e.plan)
	for i, q := range t.e.queries {
		t.adaptMemory(q, names[i]+"/window", names[i]+"/aggregate")
	}
}

// adaptMemory converts the state of a query that goes on. windowID and aggregateID are its
// components.
func (t *transition) adaptMemory(q *query, windowID, aggregateID string) {
	before, on := t.before[q]
	if !on {
		return
	}
	a := adaptation{t: t, q: q, before: &before, window: t.outcomes[windowID], aggregate: t.outcomes[aggregateID]}
	a.plan()
	if a.nothing {
		return
	}
	t.m.fresh[windowID], t.m.fresh[aggregateID] = a.newWindow, a.newAggs
	q.each(a.memory)
	if b := q.block; b != nil { // keys may have become idle, or no longer are
		b.counted, b.idle = false, 0
		b.each(func(in *instance) { in.idle = false })
	}
}

// trim lets rows leave that smaller windows have no room for.
func (e *Engine) trim(rows []*memory) {
	for _, s := range rows {
		if s.home != nil {
			s.home.use()
		}
		e.work.begin()
		e.work.step(0)
		s.touch()
		s.win.(window.Successor).Trim(s.emit)
		s.flush()
		s.reschedule(windows)
		e.settle()
	}
}

// adaptation converts the memories of one query.
type adaptation struct {
	t                 *transition
	q                 *query
	before            *query
	window, aggregate Outcome

	nothing   bool // to do
	newWindow bool // memories get another window
	takesRows bool // that takes over the rows
	newAggs   bool // or other aggregators
	recount   bool // which are all computed from the window
	of        []int
	toNew     *converter
}

// plan finds out what to do for each memory.
func (a *adaptation) plan() {
	o, n := a.before, a.q
	same := o.plan.In.Same(n.plan.In)
	if n.plan.Window != nil {
		a.takesRows = o.plan.Window != nil && a.window == OutcomeAdapted
		a.newWindow = a.window != OutcomeKept || !same || o.plan.Expired != n.plan.Expired
	} else {
		a.newWindow = o.plan.Window != nil
	}
	a.newAggs = a.aggregate != OutcomeKept && len(o.plan.Aggs)+len(n.plan.Aggs) > 0
	a.nothing = !a.newWindow && !a.newAggs && same && slices.Equal(o.plan.GroupBy, n.plan.GroupBy)
	if o.plan.Window != nil && n.plan.Window != nil {
		a.toNew = newConverter(o.plan.In, n.plan.In, o.used, n.used)
	}
	if a.aggregate == OutcomeAdapted {
		a.recount = filterText(o.plan) != filterText(n.plan) || len(o.plan.Aggs) == 0
		a.of = aggsOf(o.plan, n.plan)
	}
	if a.aggregate == OutcomeDropped && a.window != OutcomeDropped && o.plan.Window != nil {
		a.recount = true // what leaves the window must have been counted
	}
}

// memory converts one memory.
func (a *adaptation) memory(s *memory) {
	old := s.win
	s.touch()
	if a.newWindow {
		a.replaceWindow(s, old)
	}
	schema := a.q.plan.In
	if a.newAggs || a.groupsAnew() {
		a.replaceAggregates(s, old)
	} else if s.groups != nil {
		s.groups.attrs = a.q.plan.GroupBy
		if len(s.groups.attrs) == 1 {
			s.groups.single = schema.Attrs[s.groups.attrs[0]].Holds().Class()
		}
	}
}

// groupsAnew: groups without aggregators have no state, and can be any.
func (a *adaptation) groupsAnew() bool {
	return len(a.q.plan.Aggs) == 0 && (groupText(a.before.plan) != groupText(a.q.plan) || groupClasses(a.before.plan) != groupClasses(a.q.plan))
}

func (a *adaptation) replaceWindow(s *memory, old window.Window) {
	s.win, s.emit = nil, nil
	s.untime()
	if a.q.plan.Window == nil {
		return
	}
	s.win, s.emit = a.q.newWindow(), s.emitter()
	switch {
	case a.takesRows:
		s.win.(window.Successor).TakeOver(old, a.toNew.convert)
		a.t.rowsTaken = append(a.t.rowsTaken, s)
	case a.window == OutcomeKept:
		if err := moveEntries(entriesOf(old), s.win); err != nil {
			panic(fmt.Sprintf("engine: a window refuses its own entries: %v", err))
		}
	}
	s.reschedule(windows)
}

// replaceAggregates makes the aggregators of the next version. Those that go on keep their
// state; the others are computed from the window, if it was there before.
func (a *adaptation) replaceAggregates(s *memory, old window.Window) {
	aggs, groups := s.aggs, s.groups
	s.aggs, s.parted, s.gone = nil, nil, nil
	anew := a.recount || a.of == nil
	if s.groups = nil; len(a.q.plan.GroupBy) > 0 {
		s.groups = newGroups(a.q.plan.GroupBy, a.q.plan.In)
		if !anew && groups != nil {
			groups.attrs, groups.single = s.groups.attrs, s.groups.single
			s.groups = groups
		}
	}
	var counted []int // aggregators that start from nothing
	for i := range a.q.plan.Aggs {
		if anew || a.of[i] < 0 {
			counted = append(counted, i)
			s.keepAggregate(a.q.newAggregate(&a.q.plan.Aggs[i]))
		} else {
			s.keepAggregate(aggs[a.of[i]])
		}
	}
	if a.toNew == nil || len(counted) == 0 || a.of == nil && !a.recount {
		return
	}
	a.catchUp(s, old.(window.Holding), counted, anew)
}

// catchUp feeds aggregators the rows of the window before the change. enter says that the
// groups start from nothing, too.
func (a *adaptation) catchUp(s *memory, old window.Holding, counted []int, enter bool) {
	q, e := a.q, a.t.e
	var args []aggregate.Value
	old.Held(func(r window.Row) {
		in := a.toNew.convert(r)
		e.row.at(&in, e.env.Now)
		for _, c := range q.after {
			if !c(&e.row) {
				return
			}
		}
		slot := 0
		if s.groups != nil {
			slot = s.groups.slot(in.B, int(in.I))
			if enter {
				s.groups.enter(slot)
			}
		}
		for _, i := range counted {
			args = args[:0]
			for _, x := range q.plan.Aggs[i].Args {
				var v aggregate.Value
				compileArg(x)(&e.row, &v)
				args = append(args, v)
			}
			s.aggs[i].Add(slot, args)
		}
	})
}

// untime makes the timers of a memory void.
func (s *memory) untime() {
	for part := range units {
		s.timer(part).set = false
	}
}

// keepTimers keeps those of the timers before the change that memories still want. Their
// queries may stand elsewhere now. Other owners of timers are new, and have asked for theirs.
func (t *transition) keepTimers(before []pending) {
	e := t.e
	for i := range before {
		p := before[i]
		if p.key != nil {
			if !p.key.gone && p.key.awaited {
				e.timers.Push(p)
			}
			continue
		}
		if s, ok := p.owner.(*memory); ok && p.live() {
			p.position = s.q.positionOf(int(p.part))
			e.timers.Push(p)
		}
	}
	for _, b := range e.blocks {
		b.each(b.await)
	}
}
