package engine

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/cron"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// trigger sends an event to its stream whenever it is due. Its state is one entry, which it
// has from the first instant on.
type trigger struct {
	e       *Engine
	plan    *siddhiql.Trigger
	begun   bool
	over    bool  // it never fires again
	next    int64 // ms, unless it is over
	set     bool  // its timer is in the engine's heap
	changed bool
	row     *event.Batch
}

const (
	triggerType    = "trigger"
	triggerVersion = "1.0.0"
)

// starts is what an engine has to start at its first instant.
type starts struct {
	triggers []*trigger
	waiting  bool // triggers or periods of time may not have started
}

func newTrigger(e *Engine, plan *siddhiql.Trigger) *trigger {
	return &trigger{e: e, plan: plan, row: event.NewBatch(plan.Stream.Schema)}
}

// makeTriggers makes the triggers of the plan, without state.
func (e *Engine) makeTriggers() {
	e.triggers = nil
	for _, p := range e.plan.Triggers {
		e.triggers = append(e.triggers, newTrigger(e, p))
	}
	e.waiting = len(e.triggers) > 0 || slices.ContainsFunc(e.plan.Queries, rated)
}

// begin sets the first instant: a trigger at start fires then.
func (t *trigger) begin(at int64) {
	t.begun = true
	if t.plan.Start {
		t.next = at
	} else {
		t.following(at)
	}
	t.changed = true
	t.await()
}

// following sets when the trigger fires after an instant.
func (t *trigger) following(at int64) {
	switch p := t.plan; {
	case p.Start || p.Period > 0 && at > math.MaxInt64-p.Period:
		t.over = true
	case p.Period > 0:
		t.next = at + p.Period
	default:
		next, ok := p.Cron.Next(at)
		t.next, t.over = next, !ok
	}
	if t.over {
		t.next = 0
	}
}

func (t *trigger) await() {
	if t.begun && !t.over && !t.set {
		t.set = true
		t.e.timers.Push(pending{at: t.next, position: triggersFrom + int32(t.plan.ID), owner: t})
	}
}

// live implements owner.
func (t *trigger) live(p *pending) bool { return t.set && !t.over && t.next == p.at }

// fire implements owner. The event has the time when it was due.
func (t *trigger) fire(int) {
	due := t.next
	t.set, t.changed = false, true
	t.following(due)
	t.await()
	t.row.Reset()
	t.row.Cols[0].AppendInt(due)
	t.row.TS = append(t.row.TS, due)
	t.e.deliver(t.plan.Stream, t.row, 0, 1)
}

// begin starts what has not started: triggers, and periods of time. at is the first instant
// of the app, or, for what an upgrade adds, the clock at that moment. It returns false if
// everything had started.
func (e *Engine) begin(at int64) bool {
	e.waiting = false
	some := false
	for _, t := range e.triggers {
		if !t.begun {
			t.begin(at)
			some = true
		}
	}
	return e.beginRates(at) || some
}

// beginOn starts what has not started, before the clock moves to ms now.
func (e *Engine) beginOn(now int64) {
	if e.env.Now != window.NoTime {
		now = e.env.Now // it was added to an app that runs
	}
	e.begin(now)
}

// triggerSource is the state of a trigger.
type triggerSource struct{ t *trigger }

// definition tells when a trigger fires: state of another one does not fit.
func (s triggerSource) definition() (exact, text string) {
	p := s.t.plan
	exact = fingerprint(struct {
		Start  bool
		Period int64
		Cron   *cron.Schedule
	}{p.Start, p.Period, p.Cron})
	return exact, "trigger " + p.Stream.Name
}

// keyNext is the key of the one entry of a trigger.
const keyNext = "next"

func (s triggerSource) fields(f *window.Fields) {
	f.Bool(&s.t.over)
	f.Int(&s.t.next)
	f.Require(!s.t.over || s.t.next == 0, "a trigger that is over fires at %d", s.t.next)
}

// Changed implements state.Source.
func (s triggerSource) Changed(visit func(key []byte)) {
	if s.t.changed {
		s.t.changed = false
		visit([]byte(keyNext))
	}
}

// Keys implements state.Source.
func (s triggerSource) Keys(visit func(key []byte)) {
	if s.t.begun {
		visit([]byte(keyNext))
	}
}

// Append implements state.Source.
func (s triggerSource) Append(dst, key []byte) ([]byte, bool) {
	if !s.t.begun || string(key) != keyNext {
		return dst, false
	}
	return window.WriteFields(dst, s.fields), true
}

// Reset implements state.Source.
func (s triggerSource) Reset() {
	t := s.t
	t.begun, t.over, t.next, t.set, t.changed = false, false, 0, false, false
}

// Put implements state.Source.
func (s triggerSource) Put(key, value []byte) error {
	if string(key) != keyNext || s.t.begun {
		return fmt.Errorf("key %q is none of a trigger, or is there twice", key)
	}
	s.t.begun = true
	return window.ReadFields(value, s.fields)
}

// Ready implements state.Source. It asks for the timer again. The clock is loaded before.
func (s triggerSource) Ready() error {
	if t := s.t; t.begun && !t.over && t.next <= t.e.env.Now {
		return fmt.Errorf("the trigger fires next at %d, and the clock is at %d", t.next, t.e.env.Now)
	}
	s.t.e.loading.Lock()
	defer s.t.e.loading.Unlock()
	s.t.await()
	return nil
}

// Bytes implements state.Source.
func (s triggerSource) Bytes() int64 { return 32 }

// Items implements state.Lister.
func (s triggerSource) Items(visit func(state.Item)) bool {
	if t := s.t; t.begun {
		value := json.RawMessage(`{"next":null}`)
		if !t.over {
			value = fmt.Appendf(nil, `{"next":%d}`, t.next)
		}
		visit(state.Item{Key: keyNext, Entry: []byte(keyNext), Value: value})
	}
	return true
}

// Item implements state.Lister.
func (s triggerSource) Item(key string, _ []byte) (json.RawMessage, bool) { return itemOf(s, key) }
