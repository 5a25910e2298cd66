package engine

import (
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/window"
	"github.com/eventflux/eventflux/shared/state"
)

// History visits the frames of a task's log from sequence first up to the one before end, in order,
// except those that the task skips. It fails if the log lacks one of them. It returns the error
// of visit as it is.
type History func(first, end uint64, visit func(seq uint64, f *frame.Frame) error) error

// ReadAgain tells the task how to read its log again, for a change that builds state from it.
func (t *Task) ReadAgain(h History) { t.history = h }

// BackfillError says that a version cannot be put in force, because its state cannot be built from
// the log.
type BackfillError struct {
	App     string
	Version uint64
	First   uint64 // sequence that the log is read from
	Err     error
}

func (e *BackfillError) Error() string {
	return fmt.Sprintf("version %d of app %q builds state from the log, from sequence %d on: %v", e.Version, e.App, e.First, e.Err)
}

func (e *BackfillError) Unwrap() error { return e.Err }

// rerun applies the log before the deploy frame at sequence seq to a new task of the next version,
// and moves both to the same clock; nil if no component is built from the log. Nothing that follows
// from it becomes a result.
func (t *Task) rerun(u *upgrade, seq uint64) (*Engine, error) {
	if !u.migration.FromLog() {
		return nil, nil
	}
	list := u.migration.Change.Backfill
	fail := func(first uint64, err error) (*Engine, error) {
		return nil, &BackfillError{t.plan.Name, u.force.number, first, err}
	}
	if int(t.partition) >= len(list) || list[t.partition] == 0 {
		return fail(0, fmt.Errorf("the deploy frame does not name the sequence for partition %d", t.partition))
	}
	first := list[t.partition]
	if t.history == nil {
		return fail(first, fmt.Errorf("there is no log to read it from here"))
	}
	again, err := NewTask(u.plan, t.partition, u.settings)
	if err != nil {
		return nil, err
	}
	again.version, again.work.interrupt = u.force, t.work.interrupt
	again.past = slices.Clone(t.past)
	again.expect(t.plan)
	newest := map[uint64]uint64{} // number of the newest frame, by writer
	err = t.history(first, seq, func(at uint64, f *frame.Frame) error {
		if t.work.interrupt.Load() {
			return ErrInterrupted
		}
		if f.Kind != frame.Deploy && f.Writer != frame.LostWriter && f.Number <= newest[f.Writer] {
			return nil // its writer repeated it
		}
		newest[f.Writer] = f.Number
		if err := again.applyAgain(f); err != nil {
			return fmt.Errorf("log sequence %d: %w", at, err)
		}
		return nil
	})
	if err == nil {
		err = again.Try(func() { t.synchronize(again) })
	}
	if err != nil {
		return fail(first, err)
	}
	return again.Engine, nil
}

// applyAgain applies a frame that was applied before the task's version came into force. Of earlier
// versions, only their time matters.
func (t *Task) applyAgain(f *frame.Frame) (err error) {
	if err := t.bind(f); err != nil {
		return err
	}
	defer t.caught(&err)
	t.work.beginFrame()
	if f.Kind == frame.Events {
		t.apply(f, &Applied{})
	} else {
		t.stamp = max(t.stamp, f.Stamp)
		if now, moves := t.moves(f); moves {
			t.Advance(now)
		}
	}
	t.ResetOutputs()
	return nil
}

// SendEarlier sends rows that came before the engine's version, perhaps in another form of their
// stream. Rows that do not fit are left out.
func (e *Engine) SendEarlier(b *event.Batch, now int64) {
	stream := e.plan.Stream(b.Schema.Name)
	if stream != nil && stream.Defined && stream.Schema.Same(b.Schema) {
		e.Send(stream, b, 0, b.Len(), now)
		return
	}
	a := newAdapter(b.Schema, stream)
	a.adapt(b, 0, b.Len())
	if kept := a.fitting(0, b.Len()); kept.Len() > 0 {
		e.Send(a.stream, kept, 0, kept.Len(), now)
	} else if !e.plan.Playback {
		e.Advance(now)
	}
}

// synchronize moves the clocks of the task and of the one that read its log again to the later of
// the two.
func (t *Task) synchronize(again *Task) {
	now := max(t.env.Now, again.env.Now)
	if now == window.NoTime {
		return
	}
	if now > t.env.Now {
		t.advance(now)
	}
	again.work.beginFrame()
	again.advance(now)
}

// takeOver gives the components that are built from the log the entries that the other engine has.
func (t *transition) takeOver(again *Engine) error {
	if again == nil {
		return nil
	}
	for i, b := range t.e.blocks {
		if t.outcomes[b.stateID()] == OutcomeKept && slices.ContainsFunc(b.queries, t.fromLog) {
			t.unite(b, again.blocks[i])
		}
	}
	t.e.env.SeqFrom(again.env.Seq())
	built := map[string]state.Source{}
	for _, c := range again.Components() {
		built[c.ID] = c.Source
	}
	for _, c := range t.e.Components() {
		if s := t.m.stepOf(c.ID); s == nil || !s.FromLog {
			continue
		}
		if err := moveEntries(entriesOf(built[c.ID]), c.Source); err != nil {
			return fmt.Errorf("component %s: %w", c.ID, err)
		}
	}
	return nil
}

// fromLog reports whether a part of a query is built from the log.
func (t *transition) fromLog(q *query) bool {
	name := queryNames(t.e.plan)[q.id]
	return slices.ContainsFunc(t.m.Steps, func(s ComponentStep) bool {
		owner, _, _ := cutLast(s.ID)
		return s.FromLog && owner == name
	})
}

// unite gives a block that goes on the keys of the same block in the other engine, in their order
// there. Keys that only the first one has are older.
func (t *transition) unite(b, again *block) {
	var all []*instance
	b.each(func(in *instance) {
		if again.byKey.M[in.key] == nil {
			all = append(all, in)
		}
	})
	again.each(func(in *instance) {
		home := b.byKey.M[in.key]
		if home == nil {
			home = b.instance(in.key)
		}
		if in.dated && (!home.dated || in.last > home.last) {
			home.last, home.dated = in.last, true
		}
		all = append(all, home)
	})
	b.all, b.counted, b.idle = all, false, 0
	for i, in := range all {
		in.at, in.place, in.idle = i, uint64(i), false
		in.awaited = false // its timers are ordered by the place
		in.memories[0].shown[partitionKeys] = true
		t.e.undated = t.e.undated || !in.dated
		for _, s := range in.memories {
			s.untime()
			for part := range units {
				if s.unit(part) != nil {
					s.reschedule(part)
				}
			}
		}
	}
	b.touched.drain(func(*memory) {}, func([]byte) {})
	t.m.fresh[b.stateID()] = true
}
