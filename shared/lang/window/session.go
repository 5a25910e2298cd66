package window

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/shrink"
)

func init() {
	Register(Spec{
		Name:    "session",
		Version: "1.0.0",
		Usage:   "session(gap time [, key string [, allowedLatency time]])",
		Check:   checkSession,
		Keys:    []int{1},
		New:     newSession,
	})
}

func checkSession(p []Param) error {
	if err := arity(p, 1, 3); err != nil {
		return err
	}
	if err := checkSpan(p, 0); err != nil {
		return err
	}
	if len(p) > 1 && (p[1].Constant() || p[1].Type != event.String) {
		return fmt.Errorf("parameter 2: expected an attribute of type string as key, found %s", p[1].describe())
	}
	if len(p) < 3 {
		return nil
	}
	if !p[2].constantTime() || p[2].Int < 0 {
		return fmt.Errorf("parameter 3: expected a constant time such as 5 sec, found %s", p[2].describe())
	}
	if p[2].Int > p[0].Int {
		return fmt.Errorf("parameter 3: the allowed latency of %d ms is longer than the gap of %d ms", p[2].Int, p[0].Int)
	}
	return nil
}

func newSession(c Config) Window {
	w := &sessions{env: c.Env, refused: c.Refused, gap: c.Params[0].Int, key: -1, pool: newPool(c), runs: map[uint64]*run{}}
	if len(c.Params) > 1 {
		w.key = c.Params[1].Attr
	}
	if len(c.Params) > 2 {
		w.latency = c.Params[2].Int
	}
	w.visit = w.visitPlaces
	return w
}

// sessions keeps together the rows of each key that follow one another within gap ms, by
// their own timestamps. Rows pass at once; a session that has ended expires as a whole.
// With a latency, it first waits that long, as the previous session of its key, for rows
// that come late.
type sessions struct {
	env     *Env
	refused func(Row)
	gap     int64
	latency int64
	key     int // attribute, or -1: one session for all
	pool    pool
	keys    shrink.Map[string, *sessionKey]
	null    *sessionKey
	all     []*sessionKey // those with sessions, in an arbitrary order that never shows
	opened  uint64
	runs    map[uint64]*run // those with blocks, by id
	timers  Heap[sessionTimer, *sessionTimer]
	closing []*session
	tracked bool          // Changed was called, so changes are recorded
	touched []*sessionKey // changed since then
	blocks  []runBlock    // came or went since then
	loaded  map[runBlock][]int32
	visit   func(func(*int32))
	chunk   []Row
	found   foundRows
}

type sessionKey struct {
	name     string
	null     bool
	touched  bool
	place    int // in all
	now      *session
	previous *session
}

// session has its rows in the order of their expiry: first those that were merged into it,
// then those that came on time.
type session struct {
	key        *sessionKey
	start, end int64
	merged     []*run // all but the last are sealed
	onTime     run
	opened     uint64
	endSeq     uint64 // orders the timer of its end
	expirySeq  uint64 // orders the timer of its expiry
	gone       bool
}

// sessionTimer is when a session wants attention, or wanted it before it grew.
type sessionTimer struct {
	at      int64
	seq     uint64
	session *session
}

// Before orders timers by time, then in the order of the requests.
func (t *sessionTimer) Before(o *sessionTimer) bool {
	return t.at < o.at || t.at == o.at && t.seq < o.seq
}

func (w *sessions) Add(in []Row, emit Emit) {
	w.pool.settle(w.visit)
	if at, _, ok := w.Due(); ok && at <= w.env.Now {
		w.closeDue(emit) // at the same ms, timers go before events
	}
	w.chunk = shrink.Reset(w.chunk)
	for _, r := range in {
		if w.put(r) {
			w.chunk = append(w.chunk, r)
		}
	}
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

// put adds a row to the session that it belongs to; false if it is too late for any.
// Sessions that it pushes out expire before it.
func (w *sessions) put(r Row) bool {
	k := w.keyOf(r)
	w.touch(k)
	now, before := k.now, k.previous
	switch {
	case now != nil && r.TS > now.end: // it is ahead of the clock
		w.retire(k)
		w.open(k, r)
	case now != nil && r.TS >= now.start:
		w.append(&now.onTime, w.pool.put(r))
		w.extend(now, r.TS)
	case now != nil && r.TS >= now.start-w.gap:
		w.append(now.last(), w.pool.put(r))
		now.start = r.TS
		w.merge(k)
	case before != nil && r.TS >= before.start-w.gap && (now != nil || r.TS < before.end):
		w.append(&before.onTime, w.pool.put(r))
		before.start = min(before.start, r.TS)
		w.extend(before, r.TS)
		w.merge(k)
	case now == nil:
		w.open(k, r)
	default:
		w.env.drop(r, w.refused)
		return false
	}
	return true
}

func (w *sessions) keyOf(r Row) *sessionKey {
	var slot *sessionKey
	name, null := "", w.key >= 0 && r.B.Cols[w.key].IsNull(int(r.I))
	if null {
		slot = w.null
	} else {
		if w.key >= 0 {
			name = r.B.Cols[w.key].Text(int(r.I))
		}
		slot = w.keys.M[name]
	}
	if slot != nil {
		return slot
	}
	return w.newKey(strings.Clone(name), null)
}

func (w *sessions) newKey(name string, null bool) *sessionKey {
	k := &sessionKey{name: name, null: null, place: len(w.all)}
	w.all = append(w.all, k)
	if null {
		w.null = k
	} else {
		w.keys.Put(k.name, k)
	}
	return k
}

func (w *sessions) touch(k *sessionKey) {
	if w.tracked && !k.touched {
		k.touched = true
		w.touched = append(w.touched, k)
	}
}

func (w *sessions) open(k *sessionKey, r Row) {
	w.opened++
	k.now = &session{key: k, start: r.TS, end: r.TS, opened: w.opened}
	k.now.onTime.id, k.now.onTime.of = k.now.runID(0), k.now
	w.append(&k.now.onTime, w.pool.put(r))
	w.extend(k.now, r.TS)
	w.timers.Push(sessionTimer{k.now.end, k.now.endSeq, k.now})
}

// extend moves the end of a session to a gap after ts; it never moves it back. Its timer
// finds the later end when it fires.
func (w *sessions) extend(s *session, ts int64) {
	if end := later(ts, w.gap); end > s.end || s.endSeq == 0 {
		s.end = max(s.end, end)
		s.endSeq = w.env.NextSeq()
		s.expirySeq = w.env.NextSeq()
	}
}

// merge joins the two sessions of a key once at most a gap lies between them.
func (w *sessions) merge(k *sessionKey) {
	now, before := k.now, k.previous
	if now == nil || before == nil || before.end < now.start-w.gap {
		return
	}
	if w.found.follower != nil { // they get other places in the order
		for _, r := range before.runs() {
			w.leaves(r)
		}
	}
	for _, r := range before.merged {
		w.join(now, r)
	}
	w.join(now, &before.onTime)
	now.start = min(now.start, before.start)
	if before.end > now.end {
		now.end, now.endSeq, now.expirySeq = before.end, before.endSeq, before.expirySeq
	}
	before.gone = true
	k.previous = nil
}

// retire ends the current session: it expires, or it becomes the previous one and
// that one expires.
func (w *sessions) retire(k *sessionKey) {
	if w.latency == 0 {
		w.expire(k.now)
	} else {
		if k.previous != nil {
			w.expire(k.previous)
		}
		k.previous = k.now
		w.timers.Push(sessionTimer{w.expiry(k.now), k.now.expirySeq, k.now})
	}
	k.now = nil
}

// expire appends a session's rows with their original timestamps.
func (w *sessions) expire(s *session) {
	s.gone = true
	for _, r := range s.merged {
		w.expireRun(r)
	}
	w.expireRun(&s.onTime)
}

func (w *sessions) expireRun(r *run) {
	w.drop(r)
	w.leaves(r)
	for _, place := range r.rows {
		w.chunk = append(w.chunk, w.pool.row(place, Expired))
		w.pool.leave()
	}
}

// expiry returns when a session that has ended leaves.
func (w *sessions) expiry(s *session) int64 { return later(s.end, w.latency) }

// wants returns when a session wants attention next.
func (w *sessions) wants(s *session) (at int64, seq uint64) {
	if s.key.now == s {
		return s.end, s.endSeq
	}
	return w.expiry(s), s.expirySeq
}

func (w *sessions) Due() (int64, uint64, bool) {
	for len(w.timers) > 0 {
		t := w.timers[0]
		if t.session.gone {
			w.timers.Pop()
			continue
		}
		if at, seq := w.wants(t.session); at != t.at || seq != t.seq {
			w.timers.Pop()
			w.timers.Push(sessionTimer{at, seq, t.session})
			continue
		}
		return t.at, t.seq, true
	}
	return 0, 0, false
}

// Fire expires all sessions that are due, in the order of their ends and then of their
// starts, in one chunk.
func (w *sessions) Fire(emit Emit) {
	w.pool.settle(w.visit)
	w.closeDue(emit)
}

func (w *sessions) closeDue(emit Emit) {
	w.chunk, w.closing = shrink.Reset(w.chunk), shrink.Reset(w.closing)
	for at, _, ok := w.Due(); ok && at <= w.env.Now; at, _, ok = w.Due() {
		s := w.timers.Pop().session
		k := s.key
		w.touch(k)
		if k.now == s && w.latency > 0 {
			if k.previous != nil {
				w.close(k.previous)
			}
			k.previous, k.now = s, nil
			w.timers.Push(sessionTimer{w.expiry(s), s.expirySeq, s})
			continue
		}
		w.close(s)
	}
	slices.SortFunc(w.closing, func(a, b *session) int {
		return cmp.Or(cmp.Compare(a.end, b.end), cmp.Compare(a.opened, b.opened))
	})
	for _, s := range w.closing {
		w.expire(s)
		w.forget(s.key)
	}
	clear(w.closing)
	if len(w.chunk) > 0 {
		emit(w.chunk)
	}
}

func (w *sessions) close(s *session) {
	s.gone = true
	if s.key.now == s {
		s.key.now = nil
	} else {
		s.key.previous = nil
	}
	w.closing = append(w.closing, s)
}

// forget drops a key that has no session any more.
func (w *sessions) forget(k *sessionKey) {
	if k.now != nil || k.previous != nil || k.place >= len(w.all) || w.all[k.place] != k {
		return
	}
	last := w.all[len(w.all)-1]
	w.all[k.place], last.place = last, k.place
	w.all[len(w.all)-1] = nil
	w.all = shrink.Slice(w.all[:len(w.all)-1])
	if w.null == k {
		w.null = nil
	} else {
		w.keys.Delete(k.name)
	}
}

func (w *sessions) visitPlaces(visit func(*int32)) {
	for s := range w.each {
		for _, r := range s.merged {
			r.visit(visit)
		}
		s.onTime.visit(visit)
	}
}

// each yields every session.
func (w *sessions) each(yield func(*session) bool) {
	for _, k := range w.all {
		if k.previous != nil && !yield(k.previous) || k.now != nil && !yield(k.now) {
			return
		}
	}
}

// Empty implements Window.
func (w *sessions) Empty() bool { return len(w.all) == 0 }
