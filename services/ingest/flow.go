package ingest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
)

// closedShown is for how long after a refusal a log is shown as closed: under overload, its
// task takes events and refuses them by turns.
const closedShown = 5 * time.Second

// flow is what is known of the task that applies a log: whether it can take more.
type flow struct {
	report  atomic.Pointer[heard] // nil: nothing is known, and events are taken
	backlog backlog
	refused atomic.Pointer[refusal] // the newest
}

// refusal is why events for a log were refused, and when.
type refusal struct {
	*problem
	at time.Time
}

// heard is a report with the time at which it came.
type heard struct {
	control.Flow
	at time.Time
}

// hearFlow keeps a report for the log that it is about.
func (s *Service) hearFlow(f control.Flow) {
	if u := s.unit(f.App); u != nil && int(f.Partition) < len(u.logs) {
		u.logs[f.Partition].flow.report.Store(&heard{f, time.Now()})
	}
}

// forgetFlow drops reports that are too old to say anything: whether the task is slow,
// or is about to be run by another processor, is not known then.
func (s *Service) forgetFlow(now time.Time) {
	for _, u := range s.all() {
		for _, l := range u.logs {
			if r := l.flow.report.Load(); r != nil && now.Sub(r.at) > control.FlowSilence {
				l.flow.report.CompareAndSwap(r, nil)
			}
		}
	}
}

// closed returns why the task of the log takes no events now; nil if it takes them.
func (l *log) closed(lagMax time.Duration) *problem {
	r := l.flow.report.Load()
	if r == nil {
		return nil
	}
	if r.Over != "" {
		return &problem{overLimit, fmt.Sprintf("app %s, partition %d is over its limit: %s; publish again later", l.app, l.part, r.Over)}
	}
	// The pace is measured: a task that gets no processor time becomes slower than it says.
	lag := r.Lag(l.waiting(&r.Flow))
	if lag = max(lag, l.flow.backlog.age(time.Now())); lagMax > 0 && lag > lagMax {
		return &problem{lagging, fmt.Sprintf("app %s, partition %d is %s behind, limit %s (ingest.lag_max); publish again later",
			l.app, l.part, lag.Round(100*time.Millisecond), lagMax)}
	}
	return nil
}

// waiting returns how many accepted events the task has not applied: those in the log, and
// those that this process has not written yet. Of other processes it knows only how
// many frames they have written, if anything.
func (l *log) waiting(f *control.Flow) float64 {
	written, end := l.flow.backlog.waiting(f.Applied)
	return max(float64(written), f.Waiting(end)) + float64(l.stats().PendingRows)
}

// refuses is closed, and notes a refusal.
func (l *log) refuses(lagMax time.Duration) *problem {
	p := l.closed(lagMax)
	if p != nil {
		l.flow.refused.Store(&refusal{p, time.Now()})
	}
	return p
}

// closedLately is closed, or why the log took no events a moment ago.
func (l *log) closedLately(lagMax time.Duration) *problem {
	if p := l.closed(lagMax); p != nil {
		return p
	}
	if r := l.flow.refused.Load(); r != nil && time.Since(r.at) < closedShown {
		return r.problem
	}
	return nil
}

// cannot returns why one of the logs that the message is for takes no events now.
// A message goes to all of its logs or to none.
func (in *intake) cannot() *problem {
	for i := range in.sends {
		if p := in.sends[i].log.refuses(in.s.cfg.LagMax); p != nil {
			return p
		}
	}
	return nil
}

// stalled returns why one of the logs that the message is for cannot be written now, if
// several apps read the subject and the publisher waits: it repeats the message for all of
// them, and no app has it before.
func (in *intake) stalled(m *nats.Msg, r *route) *problem {
	if !r.several || m.Reply == "" {
		return nil
	}
	for i := range in.sends {
		if err := in.sends[i].log.health(); err != nil {
			return &problem{appUnavailable, fmt.Sprintf("app %s takes no events at the moment: %s; publish again later", in.sends[i].log.app, err)}
		}
	}
	return nil
}

// allClosed is closed before the rows of the message are known: it returns a problem only
// if no log of a source takes events, wherever the rows go.
func (r *route) allClosed(lagMax time.Duration) *problem {
	for i := range r.lanes {
		for _, t := range r.lanes[i].targets {
			var p *problem
			for _, l := range t.logs {
				if p = l.refuses(lagMax); p == nil {
					break
				}
			}
			if p != nil {
				return p
			}
		}
	}
	return nil
}

// opened waits until all logs of the result take events.
func (f *follower) opened(ctx context.Context) error {
	if f.in.cannot() == nil {
		return nil
	}
	ticker := time.NewTicker(roomLookEvery)
	defer ticker.Stop()
	for f.in.cannot() != nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
