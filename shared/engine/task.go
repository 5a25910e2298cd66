package engine

import (
	"fmt"

	"eventflux/shared/frame"
	"eventflux/shared/siddhiql"
)

// Task is an app's partition as a function of its log: it takes the frames one
// by one and holds everything that decides what the next one does.
type Task struct {
	*Engine
	chain  *frame.Chain
	ids    []*dedup // by stream: each has its own message ids
	links  []*links // by stream: nil for those that do not read results
	stamp  int64    // the largest arrival stamp in the log so far
	next   []int    // by block of the frame at hand: its first row not yet applied
	blocks []*siddhiql.Stream
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

// NewTask returns the task of one partition with an empty memory. Of the
// messages published to a stream with the same id, one is applied within
// dedupWindow ms of the log's time.
func NewTask(plan *siddhiql.Plan, partition uint32, dedupWindow int64) (*Task, error) {
	e, err := New(plan)
	if err != nil {
		return nil, err
	}
	t := &Task{Engine: e, chain: frame.NewChain(plan.Name, partition), ids: make([]*dedup, len(plan.Streams)), links: make([]*links, len(plan.Streams))}
	for i := range t.ids {
		t.ids[i] = newDedup(dedupWindow)
		if linked(plan.Streams[i].Subject) {
			t.links[i] = newLinks()
		}
	}
	return t, nil
}

// Apply applies the frame at sequence seq of the task's log. What follows from it is in Outputs
// until ResetOutputs. After an error the task must not be used again: the log is
// damaged, was written for another app, or asks for more than the app's limits allow (a
// *LimitError), and the error says which. ErrInterrupted says that Interrupt was called.
func (t *Task) Apply(seq uint64, f *frame.Frame) (done Applied, err error) {
	verdict, err := t.chain.Check(seq, &f.Header, f.CRC)
	if err != nil || verdict == frame.Duplicate {
		return Applied{Repeated: verdict == frame.Duplicate}, err
	}
	if err := t.bind(f); err != nil {
		return Applied{}, err
	}
	defer t.caught(&err)
	t.work.beginFrame()
	t.stamp = max(t.stamp, f.Stamp)
	switch f.Kind {
	case frame.Events:
		t.apply(f, &done)
	case frame.Tick, frame.Barrier:
	}
	if !t.plan.Playback {
		t.Advance(t.stamp)
	}
	return done, nil
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

func (t *Task) apply(f *frame.Frame, done *Applied) {
	for i := range f.Runs {
		run := &f.Runs[i]
		block := &f.Blocks[run.Block]
		from := t.next[run.Block]
		to := from + run.Rows
		t.next[run.Block] = to
		stamps := block.Stamps()
		if run.ID != "" && t.seen(t.blocks[run.Block].ID, run.ID, stamps[from]) {
			done.Duplicates++
			continue
		}
		done.Events += run.Rows
		if run.Chunk {
			t.Send(t.blocks[run.Block], block.Batch, from, to, stamps[from])
			continue
		}
		for row := from; row < to; row++ {
			t.Send(t.blocks[run.Block], block.Batch, row, row+1, stamps[row])
		}
	}
}

// seen reports whether a message with the id was applied to the stream before, and
// remembers it if it was not.
func (t *Task) seen(stream int, id string, stamp int64) bool {
	if l := t.links[stream]; l != nil {
		if seen, ok := l.seen(id); ok {
			return seen
		}
	}
	ids := t.ids[stream]
	ids.forget(stamp)
	return ids.seen(id, stamp)
}

// NextTick returns the ms at which a tick is needed if the log stays idle; false
// if none is. In playback time comes from events alone.
func (t *Task) NextTick() (int64, bool) {
	if t.plan.Playback {
		return 0, false
	}
	return t.NextTimer()
}
