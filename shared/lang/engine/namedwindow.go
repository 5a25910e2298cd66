package engine

import (
	"github.com/eventflux/eventflux/shared/lang/join"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
)

// namedWindow is a window that queries fill and read by its name. Its state is the memory of
// a query without a number, which has the window and nothing else.
type namedWindow struct {
	plan *siddhiql.NamedWindow
	q    *query
	rows []window.Row // that came out of the window, and its readers have not had yet
	ends []int        // of the chunks in rows

	// The indexes of the joins that look up rows by a key: one for each different key, shared by
	// queries and partition keys.
	indexes map[string]*indexed
}

func (w *namedWindow) stateID() string { return namedWindowID(w.plan) }

func namedWindowID(p *siddhiql.NamedWindow) string { return "window/" + p.Stream.Name }

// makeNamedWindows creates the named windows of the plan. kept returns the query that continues
// from an earlier version of the app, or nil.
func (e *Engine) makeNamedWindows(kept func(*siddhiql.NamedWindow) *query) {
	e.named = nil
	for _, p := range e.plan.Windows {
		w := &namedWindow{plan: p, indexes: map[string]*indexed{}}
		if w.q = kept(p); w.q == nil {
			w.q = newQuery(e, p.Query)
		}
		w.q.named = w
		if w.q.memories == nil {
			w.q.memories = []*memory{w.q.newMemory(nil)}
		}
		e.named = append(e.named, w)
	}
}

func (w *namedWindow) memory() *memory { return w.q.memories[0] }

func (w *namedWindow) searched() window.Searched { return w.memory().win.(window.Searched) }

// receive implements subscriber: a query inserts a chunk.
func (w *namedWindow) receive(from *siddhiql.Stream, chunk []window.Row) {
	w.memory().receive(from, chunk)
	w.flush()
}

// keep stores a chunk from the window. Its readers get it after the window has changed.
func (w *namedWindow) keep(chunk []window.Row) {
	for i := range chunk {
		switch chunk[i].Kind {
		case window.Current:
			if !w.plan.Current {
				continue
			}
		case window.Expired:
			if !w.plan.Expired {
				continue
			}
		default: // a reset stays inside
			continue
		}
		w.rows = append(w.rows, chunk[i])
	}
	if n := len(w.ends); len(w.rows) > 0 && (n == 0 || w.ends[n-1] < len(w.rows)) {
		w.ends = append(w.ends, len(w.rows))
	}
}

// flush passes the emitted rows to the readers, chunk by chunk.
func (w *namedWindow) flush() {
	e, from := w.q.e, 0
	for _, end := range w.ends {
		e.work.step(end - from)
		for _, sub := range e.streams[w.plan.Stream.ID] {
			sub.receive(w.plan.Stream, w.rows[from:end])
		}
		from = end
	}
	w.rows, w.ends = w.rows[:0], w.ends[:0]
}

// flush passes on the rows that the memory's window emitted, if it is a named one.
func (s *memory) flush() {
	if s.q.named != nil {
		s.q.named.flush()
	}
}

// finder returns the finder of a join that has the window as side i.
func (w *namedWindow) finder(j *joined, i int) finder {
	if !j.keyed {
		return namedFinder{w: w}
	}
	exprs, classes := j.plan.KeysOf(i)
	id := fingerprint(exprs) + fingerprint(classes)
	x := w.indexes[id]
	if x == nil {
		x = &indexed{key: newRowKey(exprs, classes), exact: j.exact, probe: &row{}, index: join.New()}
		w.indexes[id] = x
		w.follow()
	}
	return namedFinder{w: w, indexed: x}
}

// follow fills the indexes, and keeps them up to date from now on.
func (w *namedWindow) follow() {
	if len(w.indexes) == 0 {
		return
	}
	s := w.searched()
	s.Follow(w)
	for _, x := range w.indexes { // the order makes no difference
		x.w, x.scanned = s, scanned{s}
		x.loaded()
	}
}

// Enter implements window.Follower.
func (w *namedWindow) Enter(id uint64, r window.Row) {
	for _, x := range w.indexes {
		x.Enter(id, r)
	}
}

// Leave implements window.Follower.
func (w *namedWindow) Leave(id uint64, r window.Row) {
	for _, x := range w.indexes {
		x.Leave(id, r)
	}
}

// namedFinder finds rows in a named window for a join. Joins of several queries and partition
// keys share an index.
type namedFinder struct {
	w       *namedWindow
	indexed *indexed // nil: the join has no key
}

func (f namedFinder) each(visit func(window.Row) bool) { scanned{f.w.searched()}.each(visit) }

func (f namedFinder) with(hash uint64, key *rowKey, visit func(window.Row) bool) {
	f.indexed.with(hash, key, visit)
}

func (namedFinder) reset()  {}
func (namedFinder) loaded() {}

// namedIndexes are the indexes of a named window, for its memory.
type namedIndexes struct{ w *namedWindow }

func (x namedIndexes) reset(int) {
	for _, i := range x.w.indexes {
		i.reset()
	}
}

func (x namedIndexes) loaded(int) { x.w.follow() }

// namedOf returns the named window that a stream stands for; nil for none.
func (e *Engine) namedOf(s *siddhiql.Stream) *namedWindow {
	if s.Window == nil {
		return nil
	}
	return e.named[s.Window.ID]
}
