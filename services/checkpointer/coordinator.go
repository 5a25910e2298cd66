package checkpointer

import (
	"cmp"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// coordinator runs the checkpoints of one app while its process leads the group. It is
// pure: it receives time and answers as messages, reads the app in Raft, and returns effects
// for the leader to carry out. It keeps no copy of what Raft knows.
//
//	idle ──open──▶ opening ──opened──▶ collecting ──all prepared──▶ storing ──stored──▶ committing
//	  ▲                                   │ late, failed               │ failed             │
//	  └────────── aborting ◀──────────────┴────────────────────────────┘                    │
//	  └─────────────────────────────────────────────────────────────────────── committed ───┘
type coordinator struct {
	app                      raftApp
	interval, pause, timeout time.Duration
	term                     checkpoint.Term

	phase    phase
	epoch    state.Epoch
	reason   string        // why the epoch is aborted
	whole    bool          // the next checkpoint must be full
	opened   time.Time     // when the current epoch was opened
	ended    time.Time     // when the previous epoch ended
	lag      time.Duration // the largest lag of a task since the epoch was opened, within the timeout
	parts    map[uint32]*checkpoint.Partition
	waiting  []answerID // tasks that have prepared the epoch
	pauses   []answerID // restores that want the coordinator to pause
	triggers []answerID // triggers that wait for the current epoch
	later    []answerID // triggers that wait for the next epoch
}

// raftApp is an app in Raft, as a coordinator reads it.
type raftApp interface {
	newest() state.Epoch                // the epoch opened last
	partitions() uint32                 // how many the app has
	assignment(partition uint32) uint64 // of the partition's task; 0: it has none
	paused() bool                       // no checkpoint is made until the app is released
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
	paused     phase = "paused"  // while a restore makes its own epoch
)

// answerID identifies a request that waits for its answer; 0 means none.
type answerID int

// message is an input of a coordinator. now is the leader's time.
type message struct {
	kind   string
	now    time.Time
	epoch  state.Epoch
	part   *checkpoint.Partition // prepared
	answer answerID              // prepared, failed, trigger
	reason string                // pause, failed, and results of effects: the error; "" for success
	found  bool                  // found: the manifest of the epoch is in the store
	gone   bool                  // stored: runs that the parts refer to are gone or damaged
	lag    time.Duration         // tick: the largest lag of the app's tasks
}

// lagTimes is how many times the lag an epoch gets in addition to its timeout. A task
// reaches a barrier only after it has applied the log before it, and the lag is an estimate.
const lagTimes = 2

// The kinds of messages.
const (
	msgTick      = "tick"
	msgPause     = "pause" // answered when no epoch is open; then no epoch is opened until msgGo
	msgGo        = "go"
	msgTrigger   = "trigger"
	msgOpened    = "opened"
	msgBarrier   = "barrier" // an append has ended
	msgPrepared  = "prepared"
	msgFailed    = "failed"
	msgStored    = "stored"
	msgCommitted = "committed"
	msgAborted   = "aborted"
	msgFound     = "found"
)

// effect is an action that the leader must carry out for a coordinator.
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
	doStore   = "store"
	doCommit  = "commit"
	doAbort   = "abort"
	doAnswer  = "answer"
	doTidy    = "tidy"
	doLook    = "look"
	doPaused  = "paused" // answer a msgPause
)

// newCoordinator takes an app over from the former leader. It commits an open epoch if the
// manifest of the epoch exists, and aborts it otherwise.
func newCoordinator(app raftApp, open *openEpoch, term checkpoint.Term, now time.Time, interval, timeout time.Duration) (*coordinator, []effect) {
	c := &coordinator{
		app: app, term: term,
		interval: interval, pause: max(interval/10, time.Millisecond), timeout: timeout,
		phase: idle, epoch: app.newest(), ended: now,
	}
	if open == nil {
		return c, nil
	}
	// The epoch's own time is from another machine, whose clock may be an hour ahead.
	c.phase, c.epoch, c.opened = looking, open.Epoch, now
	return c, []effect{{do: doLook, epoch: c.epoch}}
}

// step applies one message and returns the effects to carry out.
func (c *coordinator) step(m message) []effect {
	switch m.kind {
	case msgTick:
		return c.tick(m)
	case msgTrigger:
		return c.trigger(m)
	case msgPause:
		return c.requestPause(m)
	case msgGo:
		if c.phase == paused {
			c.phase, c.epoch, c.ended, c.opened = idle, c.app.newest(), m.now, m.now
		}
		return c.grantPause()
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

// stale answers a message about another epoch. It changes nothing: the objects that a task
// stored for that epoch are garbage, which the sweep removes.
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

// open starts an epoch if every partition has a task to prepare it.
func (c *coordinator) open(now time.Time) []effect {
	if c.app.paused() {
		return nil
	}
	for p := range c.app.partitions() {
		if c.app.assignment(p) == 0 {
			return nil
		}
	}
	c.phase, c.epoch, c.opened, c.lag = opening, c.app.newest()+1, now, 0
	c.parts, c.waiting, c.reason = map[uint32]*checkpoint.Partition{}, nil, ""
	c.whole = false
	c.triggers, c.later = append(c.triggers, c.later...), nil
	return []effect{{do: doOpen, epoch: c.epoch}}
}

// trigger joins the current epoch if it has no barrier yet, or waits for the next one.
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

// requestPause pauses the coordinator as soon as possible. It aborts an epoch that is not
// prepared yet.
func (c *coordinator) requestPause(m message) []effect {
	c.pauses = append(c.pauses, m.answer)
	if c.phase == collecting {
		return c.abort(cmp.Or(m.reason, "the app is being restored"))
	}
	return c.grantPause()
}

// grantPause pauses an idle coordinator if a request for that is waiting, and answers it.
func (c *coordinator) grantPause() []effect {
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
	c.opened = time.Time{} // the next epoch is due
	return c.abort(reasonLeader)
}

func (c *coordinator) whenOpened(m message) []effect {
	if c.phase != opening {
		return nil
	}
	if m.reason != "" {
		o := control.Outcome{Epoch: c.epoch, Reason: m.reason}
		c.epoch = c.app.newest() // opening was refused, so the number is still free
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
	if c.phase != collecting || c.app.assignment(m.part.Partition) != m.part.Assignment {
		return nil
	}
	if c.parts[m.part.Partition] != nil {
		return nil // the task asks again for the outcome
	}
	c.parts[m.part.Partition] = m.part
	if len(c.parts) < int(c.app.partitions()) {
		return nil
	}
	c.phase = storing
	return []effect{{do: doStore, epoch: c.epoch, parts: c.ordered()}}
}

func (c *coordinator) ordered() []*checkpoint.Partition {
	parts := make([]*checkpoint.Partition, 0, len(c.parts))
	for p := range uint32(len(c.parts)) {
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

// finish ends the epoch and answers the requests that wait for it. If a trigger or a pause
// waits, it starts that at once.
func (c *coordinator) finish(now time.Time, o control.Outcome, then []effect) []effect {
	answers := append(c.waiting, c.triggers...)
	c.phase, c.ended, c.parts, c.waiting, c.triggers = idle, now, nil, nil, nil
	var effects []effect
	if len(answers) > 0 {
		effects = append(effects, effect{do: doAnswer, epoch: o.Epoch, answers: answers, outcome: o})
	}
	effects = append(effects, then...)
	effects = append(effects, c.grantPause()...)
	if c.phase == idle && len(c.later) > 0 {
		effects = append(effects, c.open(now)...)
	}
	return effects
}

// missing lists the partitions that have not prepared.
func (c *coordinator) missing() string {
	names := ""
	for p := range c.app.partitions() {
		if c.parts[p] == nil {
			if names != "" {
				names += ", "
			}
			names += fmt.Sprintf("partition %d", p)
		}
	}
	return names
}
