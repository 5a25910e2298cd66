package engine

import (
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/event"
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
	ids       []*dedup        // by stream: each has its own message ids
	links     []*linkTracker  // by stream: nil for those that do not read results
	keys      map[int]keyFunc // by stream, as far as they were needed
	stamp     int64           // the largest arrival stamp in the log so far
	next      []int           // by block of the current frame: its first row not yet applied
	blocks    []bound
	past      []*event.Schema // of streams in earlier versions, where they were others
	adapters  []*adapter      // of events in these forms
	upgrade   *upgrade        // that the current deploy frame asks for, or nil
	upgraded  *Migration      // what the newest frame did to the components, or nil
	pinned    bool            // deploy frames do not change the version in force
	passed    uint64          // number of the newest version that was passed over
	kept      []keptSpan      // versions that do not come into force, oldest first
	history   History         // nil: the log cannot be read again
}

// Applied describes how a frame was applied.
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
	t := &Task{Engine: e, partition: partition, settings: settings, chain: frame.NewChain(plan.Name, partition)}
	t.keepIDs(nil, nil, nil)
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
	if t.upgrade != nil {
		err = t.bringInForce(seq)
	}
	return done, err
}

// check examines a frame before any of it is applied. It returns false for a frame that the
// log already had.
func (t *Task) check(seq uint64, f *frame.Frame) (fresh bool, err error) {
	t.upgraded = nil
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

// Skip skips a record. If the record is the next frame of its writer, the writer's chain
// continues from it: ingest goes on even if the task cannot apply a frame.
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

// bound is a block of the current frame with the stream that its events go to.
type bound struct {
	stream *siddhiql.Stream
	batch  *event.Batch
	from   *adapter // nil: the events have the form in force
	source *event.Batch

	announced int // events before this one are announced

	records bool            // the rows are records of a table that a KV bucket fills
	fills   *siddhiql.Table // nil: they are passed over
}

// bind finds the streams of the frame's blocks. It refuses frames that do not fit
// the app, before anything is applied.
func (t *Task) bind(f *frame.Frame) error {
	t.blocks, t.next = t.blocks[:0], t.next[:0]
	for i := range f.Blocks {
		batch := f.Blocks[i].Batch
		schema := batch.Schema
		if to, ok, err := t.bindRecords(batch); ok || err != nil {
			if err != nil {
				return err
			}
			t.blocks, t.next = append(t.blocks, to), append(t.next, 0)
			continue
		}
		s := t.plan.Stream(schema.Name)
		if a := t.adapterOf(schema, s); a != nil {
			t.blocks, t.next = append(t.blocks, bound{stream: a.stream, from: a, source: batch}), append(t.next, 0)
			continue
		}
		if s == nil || !s.Defined {
			return fmt.Errorf("the log has events of stream %s, which app %q does not define (any more); deploy the changed app under another @app:name", schema, t.plan.Name)
		}
		if !s.Schema.Same(schema) {
			return fmt.Errorf("the log has events of %s, but app %q defines %s; deploy the changed app under another @app:name", schema, t.plan.Name, s.Schema)
		}
		t.blocks, t.next = append(t.blocks, bound{stream: s, batch: batch}), append(t.next, 0)
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
		to := &t.blocks[run.Block]
		stamps := block.Stamps()
		for first := from; first < end; first += size {
			t.announce(to, first)
			now := t.arrive(stamps[first : first+size])
			if first == from && run.ID != "" && t.seen(to.stream.ID, run.ID) {
				done.Duplicates++
				t.skip(stamps[from:end])
				break
			}
			if first == from && run.ID != "" {
				if repeated := t.repeats(to, run.ID, from, end); repeated != nil {
					done.Events += t.sendRest(to, run, repeated, stamps[from:end], from, events+1)
					done.Duplicates++
					break
				}
			}
			t.send(to, first, size, now, events+uint64(first-from)+1)
			done.Events += size
		}
		events += uint64(run.Rows)
	}
}

// announce prefetches for the events of a block from the given one on, if that was not done yet.
func (t *Task) announce(to *bound, first int) {
	if first >= to.announced && to.from == nil && !to.records {
		to.announced = t.Announce(to.stream, to.batch, first)
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

// sendRest sends the rows of a message that are not marked as repetitions, and returns how many
// those are. The first row of the message is event `number` of the frame.
func (t *Task) sendRest(to *bound, run *frame.Run, repeated []bool, stamps []int64, from int, number uint64) (sent int) {
	source := to.batch
	if to.from != nil {
		source = to.source
	}
	rest := bound{stream: to.stream, from: to.from}
	for i := 0; i < len(repeated); i++ {
		now := t.arrive(stamps[i : i+1])
		if repeated[i] {
			if !t.plan.Playback {
				t.Advance(now)
			}
			continue
		}
		rows := event.NewBatch(source.Schema)
		rows.AppendRow(source, from+i)
		first := i
		for run.Chunk && i+1 < len(repeated) {
			i++
			now = max(now, t.arrive(stamps[i:i+1]))
			if !repeated[i] {
				rows.AppendRow(source, from+i)
			}
		}
		rest.batch, rest.source = rows, rows
		t.send(&rest, 0, rows.Len(), now, number+uint64(first))
		sent += rows.Len()
	}
	return sent
}

// send sends a chunk of a block. Its first event is number event in the frame.
func (t *Task) send(to *bound, first, size int, now int64, event uint64) {
	if t.trace != nil {
		t.trace.event = event
	}
	if to.records {
		t.fill(to, first, size, now)
		return
	}
	if to.from == nil {
		t.Send(to.stream, to.batch, first, first+size, now)
		t.number(event, size)
		return
	}
	a := to.from
	a.adapt(to.source, first, first+size)
	kept := a.fitting(0, size)
	if kept.Len() > 0 {
		t.Send(a.stream, kept, 0, kept.Len(), now)
	} else if !t.plan.Playback {
		t.Advance(now)
	}
	n, last := len(t.late)-1, kept.Len()
	for i := size - 1; i >= 0; i-- { // those that were late came last
		if a.bad[i] == "" && n >= 0 && t.late[n].Event == 0 && last > 0 {
			t.late[n].Event = event + uint64(i)
			n--
			last--
		}
	}
	for i, reason := range a.bad {
		if reason != "" {
			t.reject(a.stream, to.source, first+i, reason)
			t.late[len(t.late)-1].Event = event + uint64(i)
		}
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
	if stream < 0 {
		return false // its stream is gone
	}
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
