package processor

import (
	"context"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// paceSpan is about how much working time the means of pace cover.
const paceSpan = 2 * time.Second

// pace measures what events cost a task. Older work counts for less.
type pace struct {
	mu    sync.Mutex
	work  work
	sent  sent
	at    time.Time // start of the frame that is being applied; zero: none
	alone bool      // no frame waits after that frame
}

// work counts what a task has applied, and how long that took.
type work struct {
	frames, events, bytes, results float64 // results are messages
	spent                          time.Duration
}

// sent counts the results that the emitter has sent while more waited, and how long that took.
type sent struct {
	results float64
	spent   time.Duration
}

// perFrame returns the mean number of events of a frame, and of bytes.
func (w *work) perFrame() (events, bytes float64) {
	if w.frames == 0 {
		return 0, 0
	}
	return w.events / w.frames, w.bytes / w.frames
}

// begin records that the task starts a frame. alone is true if no other frame waits.
func (p *pace) begin(now time.Time, alone bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at, p.alone = now, alone
}

// end records that the task has applied the frame, with its events, bytes and results. The
// time of a tick or barrier counts if frames wait after it.
func (p *pace) end(now time.Time, events, bytes int, results uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	begun := p.at
	p.at = time.Time{}
	if events == 0 && p.alone {
		return
	}
	w := &p.work
	if w.spent > paceSpan {
		w.frames, w.events, w.bytes, w.results, w.spent = w.frames/2, w.events/2, w.bytes/2, w.results/2, w.spent/2
	}
	w.frames, w.events, w.bytes = w.frames+1, w.events+float64(events), w.bytes+float64(bytes)
	w.results, w.spent = w.results+float64(results), w.spent+now.Sub(begun)
}

// emitted records that the emitter has sent so many results while more waited.
func (p *pace) emitted(results int, took time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := &p.sent
	if s.spent > paceSpan {
		s.results, s.spent = s.results/2, s.spent/2
	}
	s.results, s.spent = s.results+float64(results), s.spent+took
}

// result returns the mean time that the emitter needs for a result.
func (p *pace) result() time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sent.results == 0 {
		return 0
	}
	return time.Duration(float64(p.sent.spent) / p.sent.results)
}

// look returns the mean cost of an event, the recent work, and how long the task has been
// applying its current frame. The slower one of task and emitter determines the cost: until
// the outbox is full, the task runs faster than it can in the long run.
func (p *pace) look(now time.Time) (event time.Duration, late work, busy time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() {
		busy = now.Sub(p.at)
	}
	w, s := &p.work, &p.sent
	if w.events > 0 {
		cost := float64(w.spent)
		if s.results > 0 {
			cost = max(cost, w.results*float64(s.spent)/s.results)
		}
		event = time.Duration(cost / w.events)
	}
	return event, *w, busy
}

// reportFlow reports the progress of the tasks to every ingest until ctx ends.
func (s *Service) reportFlow(ctx context.Context) {
	tick := time.NewTicker(control.FlowEvery)
	defer tick.Stop()
	type told struct {
		control.Flow
		at time.Time
	}
	last := map[slot]told{}
	for {
		now := time.Now()
		var report control.FlowReport
		report.Processor = s.cfg.ID
		seen := map[slot]told{}
		for _, t := range s.all() {
			f, ok := t.flow(now)
			if !ok {
				continue
			}
			at := slot{f.App, f.Partition}
			before, known := last[at]
			if !known || f != before.Flow || now.Sub(before.at) >= control.FlowRepeat {
				report.Tasks = append(report.Tasks, f)
				before = told{f, now}
			}
			seen[at] = before
		}
		last = seen
		if err := control.PublishFlow(s.cfg.Conn, report); err != nil && ctx.Err() == nil {
			s.cfg.Log.Debug("flow report not sent; the next one says it again", "err", err)
			clear(last)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// flow returns the progress of the task, if it owns its partition and applies frames.
func (t *task) flow(now time.Time) (control.Flow, bool) {
	if !t.status.owner.Load() {
		return control.Flow{}, false
	}
	switch t.status.is() {
	case control.TaskReplaying, control.TaskRunning:
	default:
		return control.Flow{}, false
	}
	f, _ := t.status.flow(now)
	f.App, f.Partition = t.plan.Name, t.partition
	return f, true
}

// flow returns the progress of the task, and the mean size of recent frames in bytes.
func (s *status) flow(now time.Time) (f control.Flow, frameBytes float64) {
	f = control.Flow{Applied: s.applied.Load(), StateBytes: s.bytes.Load()}
	f.LogEnd = max(s.tail.Load(), f.Applied)
	var late work
	f.EventTime, late, f.Busy = s.pace.look(now)
	f.FrameEvents, frameBytes = late.perFrame()
	if box := s.box.Load(); box != nil {
		results, age := box.waiting(now)
		f.Results = max(age, time.Duration(results)*s.pace.result())
	}
	if over := s.over.Load(); over != nil {
		f.Over = *over
	}
	return f, frameBytes
}

// setOver sets why the task is over one of its limits, or "" if it is not. While it is,
// ingest refuses events for its partition.
func (s *status) setOver(why string) {
	if why == "" {
		s.over.Store(nil)
		return
	}
	s.over.Store(&why)
}
