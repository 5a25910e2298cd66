package checkpointer

import (
	"cmp"
	"context"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
)

// A frame that kills the process of its task would kill the next process too, and with each
// of them all other tasks that it runs. So a processor records which frames its tasks apply
// (services/processor), and reports them to the leader after a death. The leader counts the
// deaths at each frame in Raft, which survives even if one process is the whole cluster:
//
//	                died at frame F                died at F            died at F
//	not suspected ──────────────────▶ suspect, 1 ───────────▶ suspect, 2 ──────▶ quarantined
//	      ▲                               │                       │                  │
//	      └──────────── passed F ─────────┴───────────────────────┘◀──── resume ─────┘
//
// Several tasks may have been at work when a process died. A suspected frame is applied
// while no other frame is, so the second and the third death count only against that one.

// died counts deaths at frames. A report that was counted before changes nothing.
func (a *appState) died(d *control.Died) {
	for _, f := range d.Frames {
		if f.Index != a.Index || f.Partition >= a.Partitions {
			continue // a frame of a former app with this name
		}
		i, known := slices.BinarySearchFunc(a.Deaths, f.Partition, func(d control.Death, p uint32) int { return cmp.Compare(d.Partition, p) })
		if !known {
			a.Deaths = slices.Insert(a.Deaths, i, control.Death{Partition: f.Partition})
		}
		x := &a.Deaths[i]
		switch {
		case x.Incarnation == d.Incarnation || x.Quarantined():
			continue
		case x.Sequence == f.Sequence:
			x.Count++
		default:
			x.Sequence, x.Count = f.Sequence, 1
		}
		x.Incarnation = d.Incarnation
	}
}

// passed drops frames that are no longer suspected.
func (a *appState) passed(frames []control.Death) {
	a.Deaths = slices.DeleteFunc(a.Deaths, func(d control.Death) bool { return slices.Contains(frames, d) })
}

// death returns the suspected frame of a partition, or nil.
func (a *appState) death(partition uint32) *control.Death {
	for i := range a.Deaths {
		if a.Deaths[i].Partition == partition {
			return &a.Deaths[i]
		}
	}
	return nil
}

// quarantined reports whether no processor may run a partition.
func (a *appState) quarantined(partition uint32) bool {
	d := a.death(partition)
	return d != nil && d.Quarantined()
}

// hearDeaths records the deaths that a heartbeat reports, and the suspected frames that were
// applied without one. A processor gets no partition until its report is in Raft.
func (as *assigner) hearDeaths(ctx context.Context, r *control.HeartbeatRequest) error {
	changed := false
	if r.Died != nil {
		byApp := map[string][]control.AtWork{}
		for _, f := range r.Died.Frames {
			byApp[f.App] = append(byApp[f.App], f)
		}
		for app, frames := range byApp {
			a := as.cfg.FSM.app(app)
			if a == nil || a.Removing {
				continue
			}
			if _, err := as.propose(ctx, &command{Kind: kindDied, App: app, Died: &control.Died{Incarnation: r.Died.Incarnation, Frames: frames}}); err != nil {
				return err
			}
			changed = true
			as.sayDeaths(app, frames)
		}
	}
	passed := map[string][]control.Death{}
	for _, t := range r.Tasks {
		if t.Applied == 0 {
			continue
		}
		a := as.cfg.FSM.app(t.App)
		if a == nil {
			continue
		}
		if d := a.death(t.Partition); d != nil && !d.Quarantined() && t.Applied >= d.Sequence {
			passed[t.App] = append(passed[t.App], *d)
		}
	}
	for app, frames := range passed {
		if _, err := as.propose(ctx, &command{Kind: kindPassed, App: app, Passed: frames}); err != nil {
			return err
		}
		changed = true
	}
	if changed {
		return as.projection.project(ctx)
	}
	return nil
}

// sayDeaths logs the new counts.
func (as *assigner) sayDeaths(app string, frames []control.AtWork) {
	a := as.cfg.FSM.app(app)
	if a == nil {
		return
	}
	for _, f := range frames {
		d := a.death(f.Partition)
		switch {
		case d == nil:
		case d.Quarantined():
			as.log.Error("partition is in quarantine: no processor runs it", "app", app, "partition", d.Partition, "sequence", d.Sequence,
				"deaths", d.Count, "release", "eventflux app resume "+app)
		default:
			as.log.Warn("a processor died while it applied a frame", "app", app, "partition", d.Partition, "sequence", d.Sequence, "deaths", d.Count)
		}
	}
}

// resume ends the quarantine of an app's partitions.
func (s *Service) resume(ctx context.Context, l *leader, r *control.AppRequest) (any, error) {
	if _, err := s.cfg.FSM.known(r.App); err != nil {
		return nil, err
	}
	if _, err := l.propose(ctx, &command{Kind: kindResume, App: r.App}); err != nil {
		return nil, err
	}
	l.lookSoon()
	l.nudge()
	if err := l.projection.project(ctx); err != nil {
		return nil, err
	}
	return s.app(ctx, l, r)
}
