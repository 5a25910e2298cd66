package pattern

import (
	"math"

	"github.com/eventflux/eventflux/shared/lang/window"
)

// Machine holds what the matchers of one query share: the compiled pattern, the order of expiry,
// and memory to reuse.
type Machine struct {
	*Spec
	env    *window.Env
	eval   Evaluator
	count  func(n int, live bool)
	tick   uint64    // number of the newest event or deadline; never stored
	expiry timeQueue // by the first event, over all keys
	wishes []uint32  // by wish
	places []uint32  // by id: the position of a stored match in Matcher.all

	slabs          [][]Match // all matches, by id
	free           []*Match
	freeNodes      []*node
	scratch, other []byte
	key            []byte
}

// NewMachine returns the machine of a query. It calls count with the number of matches that entered
// the state (or, if negative, left it). live is true if an event or a deadline caused this, false
// for loading.
func NewMachine(spec *Spec, env *window.Env, eval Evaluator, count func(n int, live bool)) *Machine {
	return &Machine{Spec: spec, env: env, eval: eval, count: count}
}

// Matcher holds the partial matches of a query or, in a partition, those of one key.
type Matcher struct {
	mc        *Machine
	owner     Owner
	waiting   []waiting // by item
	deadlines timeQueue
	all       []numbered // the stored matches by number, with gaps
	head      int        // only gaps come before it
	gaps      int
	fresh     *Match   // a match without events: it waits at the first step and is not stored
	spent     bool     // the only attempt, or the wait at the start, has started
	entered   []uint64 // of a sequence, by step and for rows: the last tick in which a match arrived or stayed
	firing    bool     // a deadline is passing
	arming    bool     // a match without events is arriving at the first step

	tracked bool // Changed was called, so changes are recorded
	dirty   []*Match
	gone    []uint64 // numbers of matches that ended after they were shown
	changed bool     // spent has changed
}

// numbered refers to a stored match by its id plus one; 0 once the match has ended.
type numbered struct {
	number uint64
	match  uint32
}

// New returns a matcher without partial matches. If the pattern is Timed, Begin starts it.
func (mc *Machine) New(owner Owner) *Matcher {
	x := &Matcher{mc: mc, owner: owner, waiting: make([]waiting, len(mc.Items))}
	if mc.Sequence {
		x.entered = make([]uint64, len(mc.Steps)+1)
	}
	x.start()
	return x
}

// start makes the first match if there must be one without events. Unless the pattern is Timed,
// that match need not be stored.
func (x *Matcher) start() {
	if x.mc.timed || x.mc.Sequence && x.mc.restarted {
		return
	}
	if x.mc.restarted || !x.spent {
		x.arm(math.MinInt64)
	}
}

// Begun reports whether the waits of a Timed pattern have started.
func (x *Matcher) Begun() bool { return x.spent || !x.mc.timed }

// Begin starts the waits of a Timed pattern at ms now.
func (x *Matcher) Begin(now int64) {
	if x.Begun() {
		return
	}
	x.owner.Changing()
	x.setSpent()
	x.arm(now)
}

// Expire removes all matches, of all keys, that exceed `within` at an event's time ts. Call it
// before the event is received.
func (mc *Machine) Expire(ts int64) {
	if mc.Within == NoLimit {
		return
	}
	bound := minus(ts, mc.Within)
	for {
		t := mc.expiry.next(mc.wishes)
		if t == nil || t.at >= bound {
			return
		}
		m := mc.match(t.wish.match())
		mc.expiry.pop()
		m.x.expire(m, ts)
	}
}

// minus returns ts - span, without overflow.
func minus(ts, span int64) int64 {
	if ts < math.MinInt64+span {
		return math.MinInt64
	}
	return ts - span
}

func plus(ts, span int64) int64 {
	if ts > math.MaxInt64-span {
		return math.MaxInt64
	}
	return ts + span
}

// expire ends a match that exceeds `within`. The current event may start the next one.
func (x *Matcher) expire(m *Match, ts int64) {
	x.owner.Changing()
	again := x.mc.restarted && x.unfinished(m, 0) && !x.mc.Sequence
	x.release(m)
	if again {
		x.arm(ts)
	}
}

// unfinished reports whether a match has not finished a group yet, so that the group must start
// again.
func (x *Matcher) unfinished(m *Match, group int) bool {
	g := x.mc.Groups[group]
	if g.lazy {
		return m.lo <= g.Last
	}
	return m.hi <= g.Last
}

// Receive matches an event of a stream.
func (x *Matcher) Receive(stream int, e *Event) {
	mc := x.mc
	if mc.Sequence {
		x.beforeEvent()
	}
	mc.tick++
	for _, i := range mc.byStream[stream] {
		x.try(i, e)
	}
	if mc.Sequence {
		x.afterEvent(e)
	}
	x.overdue()
}

// try offers an event to the matches that wait for an item, except those that arrived with this
// event.
func (x *Matcher) try(i int, e *Event) {
	mc, item, w := x.mc, &x.mc.Items[i], &x.waiting[i]
	if w.head == nil && w.used == 0 || item.Own && !mc.eval.Own(i, e) {
		return
	}
	n := w.head
	if item.Keyed {
		var ok bool
		if mc.key, ok = mc.eval.Key(i, e, mc.key[:0]); !ok {
			return
		}
		n = w.first(mc, i, mc.key)
	}
	for n != nil && n.born != mc.tick {
		next := n.next
		if (!item.Keyed || n.fits(mc.key)) && (!item.Rest || mc.eval.Rest(i, e, n.m)) {
			if item.Absent {
				x.violate(n.m, i, e)
			} else {
				x.take(n.m, i, e)
			}
		}
		n = next
	}
}

// Due returns when Fire must be called next, and the number that orders it among timers of the same
// ms; false if never.
func (x *Matcher) Due() (at int64, seq uint64, ok bool) {
	t := x.deadlines.next(x.mc.wishes)
	if t == nil {
		return 0, 0, false
	}
	return t.at, t.seq, true
}

// overdue handles deadlines that were set in the past.
func (x *Matcher) overdue() {
	if !x.mc.hasDeadlines() {
		return
	}
	for {
		at, _, ok := x.Due()
		if !ok || at > x.mc.env.Now {
			return
		}
		x.Fire()
	}
}

func (p *Spec) hasDeadlines() bool {
	for i := range p.Items {
		if p.Items[i].For != NoLimit {
			return true
		}
	}
	return false
}

// Fire handles one deadline. Call it when the clock has reached the time from Due.
func (x *Matcher) Fire() {
	if t := x.deadlines.next(x.mc.wishes); t == nil || t.at > x.mc.env.Now {
		return // the match that requested it is gone
	}
	t, mc := x.deadlines.pop(), x.mc
	m := mc.match(t.wish.match())
	x.owner.Changing()
	mc.tick++
	if mc.Within != NoLimit && m.hasFirst && minus(t.at, mc.Within) > m.first {
		x.expire(m, t.at)
		return
	}
	x.firing = true
	x.pass(m, t.wish.kind()-wishSide, t.at)
	x.firing = false
}

// Empty reports whether a new matcher would behave the same from now on.
func (x *Matcher) Empty() bool { return len(x.all) == x.gaps && !x.spent && !x.mc.timed }

// Stored returns the number of stored matches.
func (x *Matcher) Stored() int { return len(x.all) - x.gaps }
