package engine

import (
	"errors"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/state"
)

// upgrade is a possible change that a deploy frame requests.
type upgrade struct {
	plan      *siddhiql.Plan
	settings  Settings
	force     inForce
	migration *Migration
}

// prepare plans the change to the version of a deploy frame. Nothing changes yet: the time
// up to the change passes first, by the rules of the version before.
func (t *Task) prepare(plan *siddhiql.Plan, v *frame.Version, s Settings, force inForce) (*upgrade, error) {
	c, err := parseChange(v.Change)
	if err != nil {
		return nil, fmt.Errorf("%w: %w; run version %s, which deployed the app, or a newer one", ErrLevel, err, v.Build)
	}
	if c.Kept > 0 && c.Kept == t.version.number {
		c.Drop = nil
	}
	next, err := New(plan)
	if err != nil {
		return nil, fmt.Errorf("version %d of app %q: %w", v.Number, t.plan.Name, err)
	}
	m := planMigration(t.Engine, next, c)
	if err := m.Err(); err != nil {
		return nil, fmt.Errorf("version %d of app %q: %w", v.Number, t.plan.Name, err)
	}
	return &upgrade{plan, s, force, m}, nil
}

// bringInForce makes the prepared version the one in force. seq is the sequence of its frame.
func (t *Task) bringInForce(seq uint64) error {
	u := t.upgrade
	t.upgrade = nil
	again, err := t.rerun(u, seq)
	if err != nil {
		return err
	}
	old, ids, links := t.plan, t.ids, t.links
	t.setAside(t.version.number)
	if err := t.change(u.plan, u.migration, again); err != nil {
		return fmt.Errorf("version %d of app %q: %w", u.force.number, t.plan.Name, err)
	}
	t.settings, t.version = u.settings, u.force
	t.kept = slices.DeleteFunc(t.kept, func(s keptSpan) bool { return s.Last < u.force.number })
	t.Limit(u.settings.Limits)
	t.keepIDs(old, ids, links)
	t.adapters = nil // they refer to streams of the version before
	t.expect(old)
	t.upgraded = u.migration
	return nil
}

// Replace brings another text into force at the present clock, as a deploy frame with the
// change in m does. From then on the task passes over the deploy frames of its log: time
// passes up to them, and events of those versions are adapted by name. Outputs that
// result from the change immediately are in Outputs. m must not build anything from the log. After an
// error the task must not be used again.
func (t *Task) Replace(next *siddhiql.Plan, m *Migration) (err error) {
	if err := m.Err(); err != nil {
		return err
	}
	defer t.caught(&err)
	t.work.beginFrame()
	t.pinned, t.passed = true, t.version.number
	t.upgrade = &upgrade{next, t.settings, t.version, m}
	return t.bringInForce(0)
}

// passOver records the forms of events of a version that does not come into force. It returns
// false if the log already had the frame of that version.
func (t *Task) passOver(v *frame.Version, plan *siddhiql.Plan) bool {
	if uint64(v.Number) <= t.passed {
		return false
	}
	t.passed = uint64(v.Number)
	t.expect(plan)
	return true
}

// expect records the forms of events of another version that may still come.
func (t *Task) expect(other *siddhiql.Plan) {
	for _, s := range other.Streams {
		if now := t.plan.Stream(s.Name); s.Defined && (now == nil || !now.Defined || !now.Schema.Same(s.Schema)) {
			t.remember(s.Schema)
		}
	}
}

// Upgraded returns what happened to each component if the newest frame brought the next version
// of the app into force; else nil. In that case Plan and Components have changed, and Earlier
// has the results of the previous version.
func (t *Task) Upgraded() *Migration { return t.upgraded }

// Upgrade brings the next version of an app into force at the current clock, as planned in m by
// Migrate. Results that follow immediately are in Outputs; earlier results that were not taken
// yet are in Earlier. again is an engine of the next version for what m builds from earlier events:
// it has applied those, and has the same clock; nil if m builds nothing. It must not be used again.
// After an error, neither must e.
func (e *Engine) Upgrade(next *siddhiql.Plan, m *Migration, again *Engine) (err error) {
	if err := m.Err(); err != nil {
		return err
	}
	if m.FromLog() && again == nil {
		return errors.New("engine: a change builds state from earlier events, and there are none")
	}
	defer e.caught(&err)
	e.work.beginFrame()
	e.setAside(0) // results that the caller has not taken yet have the former shape
	return e.change(next, m, again)
}

// keepIDs makes the memory of message ids for the streams of the plan. A stream that was
// there before keeps its own.
func (t *Task) keepIDs(old *siddhiql.Plan, ids []*dedup, with []*linkTracker) {
	t.keys = nil
	t.ids, t.links = make([]*dedup, len(t.plan.Streams)), make([]*linkTracker, len(t.plan.Streams))
	for i, s := range t.plan.Streams {
		t.ids[i] = newDedup(t.settings.DedupWindow)
		if s.Linked() {
			t.links[i] = newLinks()
		}
		if old == nil || !s.Defined {
			continue
		}
		if was := old.Stream(s.Name); was != nil && was.Defined {
			t.ids[i] = ids[was.ID]
			t.ids[i].span = t.settings.DedupWindow
			if t.links[i] != nil && with[was.ID] != nil {
				t.links[i] = with[was.ID]
			}
		}
	}
}

// remember records that events of this form may still be in the log.
func (t *Task) remember(s *event.Schema) {
	if t.knew(s) == nil {
		t.past = append(t.past, s)
	}
	t.adapters = nil
}

func (t *Task) knew(s *event.Schema) *event.Schema {
	for _, p := range t.past {
		if p.Name == s.Name && p.Same(s) {
			return p
		}
	}
	return nil
}

// adapterOf returns the adapter from an earlier form of a stream to the form in force; nil if the
// events have that form, or one that no version had.
func (t *Task) adapterOf(s *event.Schema, stream *siddhiql.Stream) *adapter {
	if stream != nil && stream.Defined && stream.Schema.Same(s) || t.knew(s) == nil {
		return nil
	}
	for _, a := range t.adapters {
		if a.schema == s {
			return a
		}
	}
	a := newAdapter(s, stream)
	t.adapters = append(t.adapters, a)
	return a
}

// Registry returns holders for the components of a task after the change, as Registry does.
// Components that are kept keep their holders from before, with what those know of the
// checkpoints so far; a chain of any other component starts again with a base. The caller
// thaws all holders before it applies the frame.
func (m *Migration) Registry(before *state.Registry, components []Component) *state.Registry {
	r := &state.Registry{}
	for _, c := range components {
		h, ok := before.ByID(c.ID)
		if !ok || m.fresh[c.ID] {
			h = state.NewComponent(c.Info, c.Source)
		}
		if err := r.Add(h); err != nil {
			panic(fmt.Sprintf("engine: %v", err)) // ids are made here
		}
	}
	return r
}
