package engine

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// Task runs one partition of an app as a function of its log: it applies the frames one by
// one and holds everything that decides what the next one does.
type Task struct {
	*Engine
	partition uint32
	settings  Settings
	version   inForce
	chain     *frame.Chain
	ids       []*dedup // by stream: each has its own message ids
	links     []*links // by stream: nil for those that do not read results
	stamp     int64    // the largest arrival stamp in the log so far
	next      []int    // by block of the current frame: its first row not yet applied
	blocks    []*siddhiql.Stream
}

// Applied says what became of a frame.
type Applied struct {
	// Repeated: the writer had appended the frame before; nothing was done.
	Repeated bool
	// Duplicates is the number of messages whose id was seen before.
	Duplicates int
	// Events is the number of events that were applied.
	Events int
}

// NewTask returns the task of one partition with an empty state. The settings are the
// deployment's.
func NewTask(plan *siddhiql.Plan, partition uint32, settings Settings) (*Task, error) {
	e, err := New(plan)
	if err != nil {
		return nil, err
	}
	e.Limit(settings.Limits)
	t := &Task{Engine: e, partition: partition, settings: settings, chain: frame.NewChain(plan.Name, partition), ids: make([]*dedup, len(plan.Streams)), links: make([]*links, len(plan.Streams))}
	for i := range t.ids {
		t.ids[i] = newDedup(settings.DedupWindow)
		if linked(plan.Streams[i].Subject) {
			t.links[i] = newLinks()
		}
	}
	return t, nil
}

// Apply applies the frame at sequence seq of the task's log. Outputs returns the results
// until ResetOutputs. After an error the task must not be used again. The error says why:
// the log is damaged, was written for another app, needs another build (ErrLevel), or asks
// for more than the app's limits allow (a *LimitError). ErrInterrupted says that Interrupt
// was called.
func (t *Task) Apply(seq uint64, f *frame.Frame) (done Applied, err error) {
	if fresh, err := t.check(seq, f); err != nil || !fresh {
		return Applied{Repeated: !fresh && err == nil}, err
	}
	defer t.caught(&err)
	t.work.beginFrame()
	if f.Kind == frame.Events {
		t.apply(f, &done)
		return done, nil
	}
	t.stamp = max(t.stamp, f.Stamp)
	if now, moves := t.moves(f); moves {
		t.Advance(now)
	}
	return done, nil
}

// check examines a frame before any of it is applied. It returns false for a frame that the
// log already had.
func (t *Task) check(seq uint64, f *frame.Frame) (fresh bool, err error) {
	if f.Kind == frame.Deploy {
		// A deploy frame belongs to no chain: its number says whether it is a repetition.
		return t.deploy(f)
	}
	if err := t.admit(f); err != nil {
		return false, err
	}
	verdict, err := t.chain.Check(seq, &f.Header, f.CRC)
	if err != nil || verdict == frame.Duplicate {
		return false, err
	}
	return true, t.bind(f)
}

// Skip passes over a record. If it is a frame that follows its writer's last, that writer's
// next frame follows it: ingest goes on, whether the task can apply a frame or not.
func (t *Task) Skip(seq uint64, d *frame.Decoder, data []byte) {
	f, err := d.Decode(data)
	if err != nil || f.Kind == frame.Deploy || t.admit(f) != nil {
		return
	}
	_, _ = t.chain.Check(seq, &f.Header, f.CRC) // with an error, the chain is as before
}

// moves returns the time that the clock moves to after the frame's events; false if the
// frame does not move it. A tick may have a clock of its own. Otherwise stamps drive the
// clock, or, in playback, only events.
func (t *Task) moves(f *frame.Frame) (int64, bool) {
	if f.HasClock {
		return f.Clock, true
	}
	return t.stamp, !t.plan.Playback
}

// bind finds the streams of the frame's blocks. It refuses frames that do not fit
// the app, before anything is applied.
func (t *Task) bind(f *frame.Frame) error {
	t.blocks, t.next = t.blocks[:0], t.next[:0]
	for i := range f.Blocks {
		schema := f.Blocks[i].Batch.Schema
		s := t.plan.Stream(schema.Name)
		if s == nil || !s.Defined {
			return fmt.Errorf("the log has events of stream %s, which app %q does not define (any more); deploy the changed app under another @app:name", schema, t.plan.Name)
		}
		if !s.Schema.Same(schema) {
			return fmt.Errorf("the log has events of %s, but app %q defines %s; deploy the changed app under another @app:name", schema, t.plan.Name, s.Schema)
		}
		t.blocks, t.next = append(t.blocks, s), append(t.next, 0)
	}
	return nil
}

// apply applies the events of a frame. Each chunk moves the clock by itself, even a
// repeated one: how events are divided into frames makes no difference.
func (t *Task) apply(f *frame.Frame, done *Applied) {
	events := uint64(0) // of the frame so far
	for i := range f.Runs {
		run := &f.Runs[i]
		block := &f.Blocks[run.Block]
		from := t.next[run.Block]
		end := from + run.Rows
		t.next[run.Block] = end
		size := 1
		if run.Chunk {
			size = run.Rows
		}
		stream := t.blocks[run.Block]
		stamps := block.Stamps()
		for first := from; first < end; first += size {
			now := t.arrive(stamps[first : first+size])
			if first == from && run.ID != "" && t.seen(stream.ID, run.ID) {
				done.Duplicates++
				t.skip(stamps[from:end])
				break
			}
			t.Send(stream, block.Batch, first, first+size, now)
			t.number(events+uint64(first-from)+1, size)
			done.Events += size
		}
		events += uint64(run.Rows)
	}
}

// arrive records the arrival stamps of a chunk and returns the largest.
func (t *Task) arrive(stamps []int64) int64 {
	now := stamps[0]
	for _, stamp := range stamps[1:] {
		now = max(now, stamp)
	}
	t.stamp = max(t.stamp, now)
	return now
}

// skip lets time pass for repeated events, because they did arrive.
func (t *Task) skip(stamps []int64) {
	if now := t.arrive(stamps); !t.plan.Playback {
		t.Advance(now)
	}
}

// number sets the event numbers of the late events of the chunk that was just sent. The
// chunk's first event is number first of its frame.
func (t *Task) number(first uint64, size int) {
	n := len(t.late)
	if n == 0 || t.late[n-1].Event > 0 {
		return
	}
	for i := range size {
		t.late[n-size+i].Event = first + uint64(i)
	}
}

// seen reports whether a message with the id was already applied to the stream, and
// remembers the id if not. Ids age by the largest arrival stamp.
func (t *Task) seen(stream int, id string) bool {
	if l := t.links[stream]; l != nil {
		if seen, ok := l.seen(id); ok {
			return seen
		}
	}
	ids := t.ids[stream]
	ids.forget(t.stamp)
	return ids.seen(id, t.stamp)
}

// NextTick returns when, in ms, a tick is needed if the log stays idle; false if none is.
// In playback only events move the clock.
func (t *Task) NextTick() (int64, bool) {
	if t.plan.Playback {
		return 0, false
	}
	return t.NextTimer()
}
