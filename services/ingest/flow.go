package ingest

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
)

// closedShown is how long a log is shown as closed after a refusal. Under overload, a log
// alternates between accepting and refusing events.
const closedShown = 5 * time.Second

// flow is what ingest knows about the task that applies a log, to decide whether the log may
// get more events.
type flow struct {
	report  atomic.Pointer[heard] // nil: nothing is known, and events are accepted
	backlog backlog
	refused atomic.Pointer[refusal] // the newest
}

// refusal is why events for a log were refused, and when.
type refusal struct {
	*problem
	at time.Time
}

// heard is a report with its time of arrival.
type heard struct {
	control.Flow
	at time.Time
}

// hearFlow keeps the newest report about a log.
func (s *Service) hearFlow(f control.Flow) {
	if u := s.unit(f.App); u != nil && int(f.Partition) < len(u.logs) {
		u.logs[f.Partition].flow.report.Store(&heard{f, time.Now()})
	}
}

// forgetFlow drops old reports: the task may be slow, or about to move to another processor.
func (s *Service) forgetFlow(now time.Time) {
	for _, u := range s.all() {
		for _, l := range u.logs {
			if r := l.flow.report.Load(); r != nil && now.Sub(r.at) > control.FlowSilence {
				l.flow.report.CompareAndSwap(r, nil)
			}
		}
	}
}

// closed returns why the log accepts no events now, because of its task; nil if it does.
func (l *log) closed(lagMax time.Duration) *problem {
	r := l.flow.report.Load()
	if r == nil {
		return nil
	}
	if r.Over != "" {
		return &problem{overLimit, fmt.Sprintf("app %s, partition %d is over its limit: %s; publish again later", l.app, l.part, r.Over)}
	}
	// The age is measured here: a task that gets no CPU time is slower than its report says.
	lag := r.Lag(l.waiting(&r.Flow))
	if lag = max(lag, l.flow.backlog.age(time.Now())); lagMax > 0 && lag > lagMax {
		return &problem{lagging, fmt.Sprintf("app %s, partition %d is %s behind, limit %s (ingest.lag_max); publish again later",
			l.app, l.part, lag.Round(100*time.Millisecond), lagMax)}
	}
	return nil
}

// waiting returns how many accepted events the task has not applied: those in the log, and
// those that this process has not written yet. For other processes it knows at most how many
// frames they have written.
func (l *log) waiting(f *control.Flow) float64 {
	written, end := l.flow.backlog.waiting(f.Applied)
	return max(float64(written), f.Waiting(end)) + float64(l.stats().PendingRows)
}

// refuses is like closed, and records a refusal.
func (l *log) refuses(lagMax time.Duration) *problem {
	p := l.closed(lagMax)
	if p != nil {
		l.flow.refused.Store(&refusal{p, time.Now()})
	}
	return p
}

// closedLately is like closed, but also returns a refusal within closedShown.
func (l *log) closedLately(lagMax time.Duration) *problem {
	if p := l.closed(lagMax); p != nil {
		return p
	}
	if r := l.flow.refused.Load(); r != nil && time.Since(r.at) < closedShown {
		return r.problem
	}
	return nil
}

// cannot returns why one of the logs of the message accepts no events now. A message goes to
// all of its logs or to none.
func (in *intake) cannot() *problem {
	for i := range in.sends {
		if p := in.sends[i].log.refuses(in.s.cfg.LagMax); p != nil {
			return p
		}
	}
	return nil
}

// stalled returns why one of the logs of the message cannot be written now, if several apps
// read the subject and the publisher waits for an answer. Then no app gets the message, and
// the publisher repeats it for all of them.
func (in *intake) stalled(m *nats.Msg, r *route) *problem {
	if !r.several || m.Reply == "" {
		return nil
	}
	for i := range in.sends {
		if err := in.sends[i].log.health(); err != nil {
			return &problem{appUnavailable, fmt.Sprintf("app %s accepts no events at the moment: %s; publish again later", in.sends[i].log.app, err)}
		}
	}
	return nil
}

// allClosed is a check before the message is decoded. It returns a problem only if a source
// has no log that accepts events, so that it does not matter where the rows go.
func (r *route) allClosed(lagMax time.Duration) *problem {
	for i := range r.decodings {
		for _, t := range r.decodings[i].targets {
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

// opened waits until all logs of the planned appends accept events.
func (in *intake) opened(ctx context.Context) error {
	if in.cannot() == nil {
		return nil
	}
	ticker := time.NewTicker(roomLookEvery)
	defer ticker.Stop()
	for in.cannot() != nil {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return nil
}
