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

	steppers     []*stepper // those that have matches
	freeSteppers []uint32

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

// Matcher matches the events of a query or, in a partition, those of one key. It offers events and
// deadlines to the matches that wait for them, and shows the matches as state. Each part has its own
// data, and uses only parts below it:
//
//	Matcher           events, deadlines, state
//	   │
//	stepper           moves matches from step to step
//	   │
//	matches           gives matches numbers, ends them
//	   │
//	entries · waitLists · deadlineQueue
type Matcher struct {
	stepper
	loaded []loadedWait // of the matches that Put added
}

// New returns a matcher without partial matches. If the pattern is Timed, Begin starts it.
func (mc *Machine) New(owner Owner) *Matcher {
	x := &Matcher{}
	x.mc, x.owner = mc, owner
	x.waiting, x.deadlines.kind = make(waitLists, len(mc.Items)), waits
	if mc.Sequence {
		x.entered = make([]uint64, len(mc.Steps)+1)
	}
	x.start()
	return x
}

// Begun reports whether the waits of a Timed pattern have started.
func (x *Matcher) Begun() bool { return x.entries.spent || !x.mc.timed }

// Begin starts the waits of a Timed pattern at ms now.
func (x *Matcher) Begin(now int64) {
	if x.Begun() {
		return
	}
	x.owner.Changing()
	x.entries.setSpent()
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
		mc.steppers[m.owner].expire(m, ts)
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
func (x *Matcher) Empty() bool { return x.entries.len() == 0 && !x.entries.spent && !x.mc.timed }

// Len returns the number of stored matches.
func (x *Matcher) Len() int { return x.entries.len() }

// Close drops all matches, because the matcher's key ends.
func (x *Matcher) Close() {
	x.drain()
	x.mc.unregister(&x.stepper)
}
