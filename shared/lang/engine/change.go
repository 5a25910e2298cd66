package engine

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/table"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// transition is the change of a running engine's plan. Queries and blocks that continue are
// redefined in place, so that kept state costs nothing, however large it is.
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

// change switches the engine to the next plan, whose names are those in the state, as m says. It
// converts the state of every component, and emits the outputs that result immediately. again has
// what is built from the log; nil if nothing is. After an error the engine must not be used again.
func (e *Engine) change(next *siddhiql.Plan, m *Migration, again *Engine) error {
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
	unbegun := e.waiting && waiting != nil // the first event in the order of time has not come
	e.timers = timerHeap{}
	t.redefineTables(next)
	e.streams = make([][]subscriber, len(next.Streams))
	t.define()
	e.makeTriggers()
	t.dropTimers()
	if err := t.moveEntries(); err != nil {
		return err
	}
	t.adaptMemories()
	if err := t.takeOver(again); err != nil {
		return err
	}
	t.keepTimers(timers)
	for _, s := range m.Steps {
		m.fresh[s.ID] = m.fresh[s.ID] || s.Outcome != OutcomeKept
	}
	e.fromChange()
	e.reorderAfter(waiting, m)
	e.fromChange()
	e.trim(t.rowsTaken)
	if e.env.Now != window.NoTime {
		if !unbegun || e.reorder == nil {
			e.begin(e.env.Now) // what the upgrade adds starts at its clock
		}
		e.advance(e.env.Now)
	}
	return nil
}

// redefineTables makes next the plan, and makes its tables. Those that are kept go on.
func (t *transition) redefineTables(next *siddhiql.Plan) {
	e := t.e
	old, tables, buckets := e.plan, e.tables, e.buckets
	e.plan = next
	e.makeTables(func(p *siddhiql.Table) (*table.Table, *bucketTable) {
		i := slices.IndexFunc(old.Tables, func(o *siddhiql.Table) bool { return o.Name == p.Name })
		if i < 0 || t.outcomes["table/"+p.Name] != OutcomeKept {
			return nil, nil
		}
		return tables[i], buckets[i]
	})
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

// redefine gives a query that continues its next definition. Its memories stay.
func (q *query) redefine(p *siddhiql.Query) {
	next := newQuery(q.e, p)
	next.memories, next.block, next.place = q.memories, q.block, q.place
	next.touched, next.freezing, next.tellUnit = q.touched, q.freezing, q.tellUnit
	*q = *next
	q.sel.q = q
}

// defineBlock gives a block that continues its next queries. If they differ, every key gets new
// memories for them.
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

// dropTimers invalidates the timers of queries that do not continue. Keys of a block that continues
// have the memories of its next queries already: defineBlock has invalidated those of the others.
func (t *transition) dropTimers() {
	for _, q := range t.queries {
		if _, on := t.before[q]; !on && (q.block == nil || !slices.Contains(t.e.blocks, q.block)) {
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

// saveEntries copies the entries of queries whose memories do not continue, and drops their
// partial matches. A block that continues gives its keys new memories.
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
	if s, ok := a.(tableSource); ok {
		n, ok := b.(tableSource)
		return ok && s.Table == n.Table
	}
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

// adaptMemories converts the state of the queries that continue, and of the named windows.
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

// adaptMemory converts the state of a query that continues. windowID and aggregateID are its
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

// trim expires the rows that do not fit into windows that became smaller.
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
		e.endChunk()
	}
}

// untime invalidates the timers of a memory.
func (s *memory) untime() {
	for part := range units {
		s.timer(part).set = false
	}
}

// keepTimers keeps the timers from before the change that memories still want. Their queries may
// have moved in the text. Other owners of timers are new, and have requested theirs.
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
