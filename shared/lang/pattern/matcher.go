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
	count  func(n int)
	tick   uint64    // number of the newest event or deadline; never stored
	expiry timeQueue // by the first event, over all keys

	slabs     []*slab // all matches, by id
	free      uint32  // the id of the first free match, from 1
	furthers  []*[nodesPerSlab]furtherNode
	freeNodes []ref
	memory    arena // of events and keys

	matchers     []*Matcher // those that have matches
	freeMatchers []uint32

	scratch, slots []byte
	key, held      []byte
	arrived        []uint64
	ahead          ahead
}

// NewMachine returns the machine of a query. It calls count with the number of matches that entered
// the state or, if negative, left it.
func NewMachine(spec *Spec, env *window.Env, eval Evaluator, count func(n int)) *Machine {
	return &Machine{Spec: spec, env: env, eval: eval, count: count}
}

// Matcher holds the partial matches of a query or, in a partition, those of one key.
type Matcher struct {
	mc        *Machine
	owner     Owner
	waiting   []waiting // by item
	deadlines timeQueue
	id        uint32     // in Machine.matchers
	all       []numbered // the stored matches by number, with gaps
	head      int        // only gaps come before it
	gaps      int
	fresh     *match   // a match without events: it waits at the first step and is not stored
	spent     bool     // the only attempt, or the wait at the start, has started
	entered   []uint64 // of a sequence, by step and for rows: the last tick in which a match arrived or stayed
	firing    bool     // a deadline is passing
	arming    bool     // a match without events is arriving at the first step

	registered bool // id is set

	loaded []loadedWait // of the matches that Put added

	tracked bool     // Changed was called, so changes are recorded
	dirty   []uint32 // ids
	gone    []uint64 // numbers of matches that ended after they were shown
	changed bool     // spent has changed
}

// numbered refers to a stored match by its id plus one; 0 once the match has ended. The number is in
// two halves, so that the list has no padding.
type numbered struct{ high, low, match uint32 }

func number(n uint64, match uint32) numbered { return numbered{uint32(n >> 32), uint32(n), match} }

func (n numbered) number() uint64 { return uint64(n.high)<<32 | uint64(n.low) }

// New returns a matcher without partial matches. If the pattern is Timed, Begin starts it.
func (mc *Machine) New(owner Owner) *Matcher {
	x := &Matcher{mc: mc, owner: owner, waiting: make([]waiting, len(mc.Items)), deadlines: timeQueue{kind: waits}}
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
		t, ok := mc.expiry.next(mc)
		if !ok || t.at >= bound {
			return
		}
		m := mc.match(uint32(t.subject))
		mc.expiry.pop(t)
		mc.matchers[m.owner].expire(m, ts)
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
func (x *Matcher) expire(m *match, ts int64) {
	x.owner.Changing()
	again := x.mc.restarted && x.unfinished(m, 0) && !x.mc.Sequence
	x.release(m)
	if again {
		x.arm(ts)
	}
}

// unfinished reports whether a match has not finished a group yet, so that the group must start
// again.
func (x *Matcher) unfinished(m *match, group int) bool {
	g := x.mc.Groups[group]
	if g.lazy {
		return int(m.lo) <= g.Last
	}
	return int(m.hi) <= g.Last
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
	if w.head == none && w.used == 0 || item.Own && !mc.eval.Own(i, e) {
		return
	}
	r := w.head
	var p probe
	if item.Keyed {
		var ok bool
		if mc.key, ok = mc.eval.Key(i, e, mc.key[:0]); !ok {
			return
		}
		p = newProbe(mc.key)
		r = w.find(p.hash)
	}
	for r != none {
		n := mc.node(r)
		if n.born == mc.tick {
			return
		}
		next := n.next
		if !item.Keyed || mc.fits(n, &p) {
			m := mc.matchOf(r)
			switch {
			case item.Rest && !mc.eval.Rest(i, e, Match{mc, m}):
			case item.Absent:
				x.violate(m, i, e)
			default:
				x.take(m, i, e)
			}
		}
		r = next
	}
}

// Due returns when Fire must be called next, and the number that orders it among timers of the same
// ms; false if never.
func (x *Matcher) Due() (at int64, seq uint64, ok bool) {
	t, ok := x.deadlines.next(x.mc)
	return t.at, t.seq, ok
}

// overdue handles deadlines that were set in the past.
func (x *Matcher) overdue() {
	if !x.mc.waits {
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

// Fire handles one deadline. Call it when the clock has reached the time from Due.
func (x *Matcher) Fire() {
	mc := x.mc
	t, ok := x.deadlines.next(mc)
	if !ok || t.at > mc.env.Now {
		return // the match that requested it is gone
	}
	x.deadlines.pop(t)
	m := mc.match(uint32(t.subject / 2))
	x.owner.Changing()
	mc.tick++
	if mc.Within != NoLimit && m.is(hasFirst) && minus(t.at, mc.Within) > m.first {
		x.expire(m, t.at)
		return
	}
	x.firing = true
	x.pass(m, int(t.subject%2), t.at)
	x.firing = false
}

// Empty reports whether a new matcher would behave the same from now on.
func (x *Matcher) Empty() bool { return len(x.all) == x.gaps && !x.spent && !x.mc.timed }

// Len returns the number of stored matches.
func (x *Matcher) Len() int { return len(x.all) - x.gaps }
