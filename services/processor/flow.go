package processor

import (
	"context"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// paceSpan is how much time of work the mean cost of a frame is taken over, about.
const paceSpan = 2 * time.Second

// pace measures what frames cost a task.
type pace struct {
	mu     sync.Mutex
	frames float64 // applied of late
	bytes  float64 // of those frames
	spent  time.Duration
	at     time.Time // when the frame that is being applied was taken up; zero: none is
}

// begin says that the task takes up a frame.
func (p *pace) begin(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.at = now
}

// end says that it has applied the frame, of so many bytes.
func (p *pace) end(now time.Time, bytes int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.spent > paceSpan {
		p.frames, p.bytes, p.spent = p.frames/2, p.bytes/2, p.spent/2
	}
	p.frames, p.bytes, p.spent = p.frames+1, p.bytes+float64(bytes), p.spent+now.Sub(p.at)
	p.at = time.Time{}
}

// look returns the mean cost and size of a frame, and for how long the task has been at
// one.
func (p *pace) look(now time.Time) (cost time.Duration, bytes float64, busy time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.at.IsZero() {
		busy = now.Sub(p.at)
	}
	if p.frames > 0 {
		cost, bytes = time.Duration(float64(p.spent)/p.frames), p.bytes/p.frames
	}
	return cost, bytes, busy
}

// reportFlow tells every ingest how far the tasks are, until ctx ends.
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

// flow is how far the task is, if it is its partition's own and applies frames.
func (t *task) flow(now time.Time) (control.Flow, bool) {
	if !t.status.owner.Load() {
		return control.Flow{}, false
	}
	switch t.status.is() {
	case stateReplaying, stateRunning:
	default:
		return control.Flow{}, false
	}
	s := &t.status
	f := control.Flow{App: t.plan.Name, Partition: t.partition, Applied: s.applied.Load(), StateBytes: s.bytes.Load()}
	f.LogEnd = max(s.tail.Load(), f.Applied)
	f.FrameTime, _, f.Busy = s.pace.look(now)
	if over := s.over.Load(); over != nil {
		f.Over = *over
	}
	return f, true
}

// setOver says that the task is over one of its limits, and why, or with "" that it is
// not. Ingest then refuses events for its partition.
func (s *status) setOver(why string) {
	if why == "" {
		s.over.Store(nil)
		return
	}
	s.over.Store(&why)
}
