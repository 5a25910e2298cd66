package checkpointer

import (
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// coordinator leads the checkpoints of one app while its process leads the group. It
// is pure: time and answers come in as messages, and what is to be done goes out as
// effects, so the same messages always give the same effects.
//
//	idle ──open──▶ opening ──opened──▶ collecting ──all prepared──▶ storing ──stored──▶ committing
//	  ▲                                   │ late, failed               │ failed             │
//	  └────────── aborting ◀──────────────┴────────────────────────────┘                    │
//	  └─────────────────────────────────────────────────────────────────────── committed ───┘
type coordinator struct {
	app                      string
	partitions               uint32
	interval, pause, timeout time.Duration
	term                     checkpoint.Term

	phase    phase
	epoch    state.Epoch
	reason   string        // why it is aborted
	whole    bool          // and the next one is to be whole
	opened   time.Time     // of the epoch at hand
	ended    time.Time     // of the one before
	lag      time.Duration // the largest that a task had with the epoch at hand, within the timeout
	owned    map[uint32]uint64
	parts    map[uint32]*checkpoint.Partition
	waiting  []answerID // tasks that have prepared the epoch
	pauses   []answerID // that want the coordinator to stand still
	held     bool       // no checkpoint is made before the app is released
	triggers []answerID // that wait for the epoch at hand
	later    []answerID // that wait for the next one
}

type phase string

const (
	idle       phase = "idle"
	opening    phase = "opening"
	collecting phase = "collecting"
	storing    phase = "storing"
	committing phase = "committing"
	aborting   phase = "aborting"
	looking    phase = "looking" // for the manifest of an epoch that a former leader opened
	paused     phase = "paused"  // while a restore makes an epoch of its own
)

// answerID is a request that waits for its answer; 0 stands for none.
type answerID int

// message is what a coordinator is told. now is the leader's time.
type message struct {
	kind   string
	now    time.Time
	epoch  state.Epoch
	part   *checkpoint.Partition // prepared
	answer answerID              // prepared, failed, trigger
	reason string                // failed; why something did not work; "" where it did
	found  bool                  // found: the manifest of the epoch is in the store
	gone   bool                  // stored: what the parts stand on is not there any more
	number uint64                // attached: the assignment
	place  uint32                // attached: the partition
	owned  map[uint32]uint64     // go: the assignments
	held   bool                  // go, released
	lag    time.Duration         // tick: the largest that a task of the app has
}

// A task comes to a barrier once it has applied what its log held before. So an epoch gets
// this many times the lag besides the timeout: the lag is an estimate.
const lagTimes = 2

// The kinds of messages.
const (
	msgTick      = "tick"
	msgPause     = "pause" // answered when nothing is under way; then nothing is begun until msgGo
	msgGo        = "go"
	msgTrigger   = "trigger"
	msgAttached  = "attached"
	msgOpened    = "opened"
	msgBarrier   = "barrier" // an append has ended
	msgPrepared  = "prepared"
	msgFailed    = "failed"
	msgStored    = "stored"
	msgCommitted = "committed"
	msgAborted   = "aborted"
	msgFound     = "found"
)

// effect is what a coordinator wants done.
type effect struct {
	do      string
	epoch   state.Epoch
	reason  string
	parts   []*checkpoint.Partition
	answers []answerID
	outcome control.Outcome
}

// The kinds of effects.
const (
	doOpen    = "open"
	doBarrier = "barriers"
	doNote    = "note" // that a partition is prepared
	doStore   = "store"
	doCommit  = "commit"
	doAbort   = "abort"
	doAnswer  = "answer"
	doTidy    = "tidy"
	doLook    = "look"
	doPaused  = "paused" // answer
)

// newCoordinator takes an app over from whoever led before. An epoch that is open then
// is committed if its manifest exists, and else aborted.
func newCoordinator(a *appState, term checkpoint.Term, now time.Time, interval, timeout time.Duration) (*coordinator, []effect) {
	c := &coordinator{
		app: a.Name, partitions: a.Partitions, term: term,
		interval: interval, pause: max(interval/10, time.Millisecond), timeout: timeout,
		phase: idle, epoch: a.Newest, ended: now, owned: map[uint32]uint64{}, held: a.Held,
	}
	for p, t := range a.Tasks {
		c.owned[p] = t.Assignment
	}
	if a.Open == nil {
		return c, nil
	}
	// When that was, the clock of another machine has said: it may be an hour ahead.
	c.phase, c.epoch, c.opened = looking, a.Open.Epoch, now
	return c, []effect{{do: doLook, epoch: c.epoch}}
}

// step applies one message and returns what must be done about it.
func (c *coordinator) step(m message) []effect {
	switch m.kind {
	case msgTick:
		return c.tick(m)
	case msgTrigger:
		return c.trigger(m)
	case msgAttached:
		// Assignments only grow. What is said of two may come in another order.
		c.owned[m.place] = max(c.owned[m.place], m.number)
		return nil
	case msgPause:
		return c.standStill(m)
	case msgGo:
		c.owned, c.held = m.owned, m.held
		if c.phase == paused {
			c.phase, c.epoch, c.ended, c.opened = idle, m.epoch, m.now, m.now
		}
		return c.stand()
	}
	if m.epoch != c.epoch {
		return c.stale(m)
	}
	switch m.kind {
	case msgFound:
		return c.whenFound(m)
	case msgOpened:
		return c.whenOpened(m)
	case msgBarrier:
		if c.phase == collecting && m.reason != "" {
			return c.abort(reasonBarrier + m.reason)
		}
	case msgPrepared:
		return c.whenPrepared(m)
	case msgFailed:
		return c.whenFailed(m)
	case msgStored:
		return c.whenStored(m)
	case msgCommitted:
		return c.whenCommitted(m)
	case msgAborted:
		return c.whenAborted(m)
	}
	return nil
}

// stale answers what is about another epoch. It changes nothing: what a task stored for
// it is garbage that the sweep removes.
func (c *coordinator) stale(m message) []effect {
	if m.answer == 0 {
		return nil
	}
	return []effect{{do: doAnswer, epoch: m.epoch, answers: []answerID{m.answer}, outcome: control.Outcome{
		Epoch: m.epoch, Reason: "the epoch is over",
	}}}
}

func (c *coordinator) tick(m message) []effect {
	switch c.phase {
	case idle:
		due := m.now.Sub(c.ended) >= c.pause && m.now.Sub(c.opened) >= c.interval
		if due || len(c.later) > 0 {
			return c.open(m.now)
		}
	case collecting:
		if waited := m.now.Sub(c.opened); waited < c.timeout {
			c.lag = max(c.lag, m.lag)
		} else if waited >= c.timeout+lagTimes*c.lag {
			return c.abort(reasonLate + c.missing())
		}
	case paused:
	case opening, storing, committing, aborting, looking:
		// The shell repeats these until they are done.
	}
	return nil
}

// open begins an epoch, if every partition has a task to prepare it.
func (c *coordinator) open(now time.Time) []effect {
	if c.held {
		return nil
	}
	for p := range c.partitions {
		if c.owned[p] == 0 {
			return nil
		}
	}
	c.phase, c.epoch, c.opened, c.lag = opening, c.epoch+1, now, 0
	c.parts, c.waiting, c.reason = map[uint32]*checkpoint.Partition{}, nil, ""
	c.whole = false
	c.triggers, c.later = append(c.triggers, c.later...), nil
	return []effect{{do: doOpen, epoch: c.epoch}}
}

// trigger joins the epoch that has no barrier yet, or waits for the next.
func (c *coordinator) trigger(m message) []effect {
	if c.phase == opening {
		c.triggers = append(c.triggers, m.answer)
		return nil
	}
	c.later = append(c.later, m.answer)
	if c.phase == idle {
		return c.open(m.now)
	}
	return nil
}

// standStill stands still as soon as it can: an epoch that can still be given up is.
func (c *coordinator) standStill(m message) []effect {
	c.pauses = append(c.pauses, m.answer)
	if c.phase == collecting {
		return c.abort("the app is being restored")
	}
	return c.stand()
}

// stand tells one of those who want the coordinator to stand still that it does.
func (c *coordinator) stand() []effect {
	if c.phase != idle || len(c.pauses) == 0 {
		return nil
	}
	next := c.pauses[0]
	c.phase, c.pauses = paused, c.pauses[1:]
	return []effect{{do: doPaused, epoch: c.epoch, answers: []answerID{next}, outcome: control.Outcome{Epoch: c.epoch}}}
}

func (c *coordinator) whenFound(m message) []effect {
	if c.phase != looking {
		return nil
	}
	if m.found {
		c.phase = committing
		return []effect{{do: doCommit, epoch: c.epoch}}
	}
	c.opened = time.Time{} // the next one is due
	return c.abort(reasonLeader)
}

func (c *coordinator) whenOpened(m message) []effect {
	if c.phase != opening {
		return nil
	}
	if m.reason != "" {
		o := control.Outcome{Epoch: c.epoch, Reason: m.reason}
		c.epoch-- // it was refused, so the number is still free
		return c.finish(m.now, o, nil)
	}
	c.phase = collecting
	return []effect{{do: doBarrier, epoch: c.epoch}}
}

func (c *coordinator) whenPrepared(m message) []effect {
	switch c.phase {
	case idle, opening, looking, paused:
		return c.stale(m)
	case collecting, storing, committing, aborting:
	}
	c.waiting = append(c.waiting, m.answer)
	if c.phase != collecting || c.owned[m.part.Partition] != m.part.Assignment {
		return nil
	}
	if c.parts[m.part.Partition] != nil {
		return nil // it asks again for the outcome
	}
	c.parts[m.part.Partition] = m.part
	effects := []effect{{do: doNote, epoch: c.epoch, parts: []*checkpoint.Partition{m.part}}}
	if len(c.parts) < int(c.partitions) {
		return effects
	}
	c.phase = storing
	return append(effects, effect{do: doStore, epoch: c.epoch, parts: c.ordered()})
}

func (c *coordinator) ordered() []*checkpoint.Partition {
	parts := make([]*checkpoint.Partition, 0, c.partitions)
	for p := range c.partitions {
		parts = append(parts, c.parts[p])
	}
	return parts
}

func (c *coordinator) whenFailed(m message) []effect {
	if c.phase == collecting {
		c.waiting = append(c.waiting, m.answer)
		return c.abort(m.reason)
	}
	return c.stale(m)
}

func (c *coordinator) whenStored(m message) []effect {
	if c.phase != storing {
		return nil
	}
	if m.reason != "" {
		c.whole = m.gone
		return c.abort(reasonStore + m.reason)
	}
	c.phase = committing
	return []effect{{do: doCommit, epoch: c.epoch}}
}

func (c *coordinator) abort(reason string) []effect {
	c.phase, c.reason = aborting, reason
	return []effect{{do: doAbort, epoch: c.epoch, reason: reason}}
}

func (c *coordinator) whenCommitted(m message) []effect {
	if c.phase != committing {
		return nil
	}
	took := float64(m.now.Sub(c.opened).Microseconds()) / 1000
	return c.finish(m.now, control.Outcome{Epoch: c.epoch, Committed: true, Milliseconds: took}, []effect{{do: doTidy}})
}

func (c *coordinator) whenAborted(m message) []effect {
	if c.phase != aborting {
		return nil
	}
	return c.finish(m.now, control.Outcome{Epoch: c.epoch, Reason: c.reason, Whole: c.whole}, nil)
}

// finish ends the epoch and tells those who wait for it. Whoever wants the next one
// gets it at once.
func (c *coordinator) finish(now time.Time, o control.Outcome, then []effect) []effect {
	answers := append(c.waiting, c.triggers...)
	c.phase, c.ended, c.parts, c.waiting, c.triggers = idle, now, nil, nil, nil
	var effects []effect
	if len(answers) > 0 {
		effects = append(effects, effect{do: doAnswer, epoch: o.Epoch, answers: answers, outcome: o})
	}
	effects = append(effects, then...)
	effects = append(effects, c.stand()...)
	if c.phase == idle && len(c.later) > 0 {
		effects = append(effects, c.open(now)...)
	}
	return effects
}

// missing names the partitions that have not prepared.
func (c *coordinator) missing() string {
	names := ""
	for p := range c.partitions {
		if c.parts[p] == nil {
			if names != "" {
				names += ", "
			}
			names += "partition " + decimal(p)
		}
	}
	return names
}
