package doctor

import (
	"context"
	"time"
)

// A task's clock is the largest arrival stamp in its log. A clock that is ahead moves it
// permanently: timers go off early and windows end early until the other clocks catch up.
const (
	skewWarning = 500 * time.Millisecond
	skewError   = 5 * time.Second
)

// skew returns how far a clock is ahead of ours at least, or 0 if the round trip could explain
// the difference.
func (h *heard) skew() time.Duration {
	switch {
	case h.theirs.IsZero():
		return 0 // the version does not report its time
	case h.theirs.After(h.to):
		return h.theirs.Sub(h.to)
	case h.theirs.Before(h.from):
		return -h.from.Sub(h.theirs)
	}
	return 0
}

func (p *examination) checkClocks(_ context.Context, r *report) {
	var all []heard
	for i := range p.processors {
		all = append(all, p.processors[i].heard)
	}
	for i := range p.intakes {
		all = append(all, p.intakes[i].heard)
	}
	for i := range p.members {
		all = append(all, p.members[i].heard)
	}
	servers := map[string]bool{}
	for _, name := range sortedNames(p.streams) {
		if s := p.streams[name]; !servers[s.who] {
			servers[s.who] = true
			all = append(all, s.heard)
		}
	}
	judgeClocks(r, all)
}

// judgeClocks reports the clocks that differ from ours. If all do, ours is wrong.
func judgeClocks(r *report, all []heard) {
	for _, h := range all {
		skew := h.skew()
		direction := "ahead of"
		if skew < 0 {
			skew, direction = -skew, "behind"
		}
		if skew < skewWarning {
			continue
		}
		severity := Warning
		if skew >= skewError {
			severity = Error
		}
		r.add(severity, h.who, "run a time service there (chrony, systemd-timesyncd); if every service has this warning, run it here",
			"its clock is %s %s the one here. Arrival times are stamped by ingest, and the largest is a task's clock: windows end and timers go off too early or too late", skew.Round(time.Millisecond), direction)
	}
	r.fine("clocks", "%d differ from the one here by less than %s", len(all), skewWarning)
}
