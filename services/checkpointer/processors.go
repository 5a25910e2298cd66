package checkpointer

import (
	"slices"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// processors are the processors that send heartbeats to this leader.
type processors struct {
	mu    sync.Mutex
	of    map[string]*processor
	since time.Time // start of the leadership or end of a pause: this leader got no heartbeats before
	awake time.Time // when stayAwake was called last
}

type processor struct {
	incarnation string
	former      []string // the last incarnations under the same name before this one
	seen        time.Time
	leaving     bool
	level       uint32 // the newest semantics level that it knows
	tasks       map[slot]control.TaskState
	versions    map[slot]uint32          // versions of the app in force
	lags        map[string]time.Duration // by app: the largest lag of its tasks
}

const formerKept = 8

func newProcessors(now time.Time) *processors {
	return &processors{of: map[string]*processor{}, since: now, awake: now}
}

// pauseMax is far longer than the time between two calls of stayAwake while the leader
// runs, and shorter than any silence that matters.
const pauseMax = control.HeartbeatTimeout / 5

// stayAwake records that the leader runs. A leader that was frozen has received no
// heartbeats in that time, which does not mean that the processors are dead: it gives all of
// them time to send one.
func (p *processors) stayAwake(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now.Sub(p.awake) > pauseMax {
		p.since = now
	}
	p.awake = now
}

// hear records a heartbeat. It fails if a newer process has started under the same name.
func (p *processors) hear(r *control.HeartbeatRequest, now time.Time) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	known := p.of[r.Processor]
	if known == nil {
		known = &processor{incarnation: r.Incarnation}
		p.of[r.Processor] = known
	}
	if known.incarnation != r.Incarnation {
		if slices.Contains(known.former, r.Incarnation) {
			return failure(control.CodeFenced, "another process has started as processor %q; give each its own processor.id", r.Processor)
		}
		known.former = append(known.former, known.incarnation)
		known.former = known.former[max(0, len(known.former)-formerKept):]
		known.incarnation = r.Incarnation
	}
	known.seen, known.leaving = now, r.Leaving
	known.level = r.Level
	known.tasks, known.versions = make(map[slot]control.TaskState, len(r.Tasks)), make(map[slot]uint32, len(r.Tasks))
	known.lags = map[string]time.Duration{}
	for _, t := range r.Tasks {
		known.tasks[slot{t.App, t.Partition}] = t.State
		known.versions[slot{t.App, t.Partition}] = t.Version
		known.lags[t.App] = max(known.lags[t.App], time.Duration(t.LagMillis)*time.Millisecond)
	}
	return nil
}

// lag returns the largest lag of the app's tasks, as processors report them.
func (p *processors) lag(app string, now time.Time) (most time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.of {
		if now.Sub(k.seen) <= control.HeartbeatTimeout {
			most = max(most, k.lags[app])
		}
	}
	return most
}

// alive returns the processors with a recent heartbeat. heardAll says that all live
// processors have had the time to send one, so the others are probably dead.
func (p *processors) alive(now time.Time) (able, leaving []string, heardAll bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.of {
		switch {
		case now.Sub(k.seen) > control.HeartbeatTimeout:
		case k.leaving:
			leaving = append(leaving, name)
		default:
			able = append(able, name)
		}
	}
	slices.Sort(able)
	slices.Sort(leaving)
	return able, leaving, now.Sub(p.since) > control.HeartbeatTimeout
}

// quiet returns the processors without a heartbeat for QuietTimeout, which is enough for a
// standby to take over.
func (p *processors) quiet(now time.Time) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.of {
		if now.Sub(k.seen) > control.QuietTimeout && now.Sub(p.since) > control.QuietTimeout {
			names = append(names, name)
		}
	}
	return names
}

// standing returns the standby of each slot, as processors report them.
func (p *processors) standing(now time.Time) map[slot]string {
	p.mu.Lock()
	defer p.mu.Unlock()
	of := map[slot]string{}
	for name, k := range p.of {
		if now.Sub(k.seen) > control.HeartbeatTimeout {
			continue // another processor may be the standby by now
		}
		for s, state := range k.tasks {
			if state == control.TaskStandby {
				of[s] = name
			}
		}
	}
	return of
}

// state returns the state of a processor's task; "" if it is not known.
func (p *processors) state(name string, s slot, now time.Time) control.TaskState {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.of[name]; k != nil && now.Sub(k.seen) <= control.HeartbeatTimeout {
		return k.tasks[s]
	}
	return ""
}

// version returns the version of the app that a processor's task has in force; 0 if it is
// not known.
func (p *processors) version(name string, s slot, now time.Time) uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.of[name]; k != nil && now.Sub(k.seen) <= control.HeartbeatTimeout {
		return k.versions[s]
	}
	return 0
}

// lacking returns the names of the processors that do not know a semantics level.
func (p *processors) lacking(level uint32, now time.Time) (names []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for name, k := range p.of {
		if now.Sub(k.seen) <= control.HeartbeatTimeout && k.level < level {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// runs reports whether any processor runs a task of an app.
func (p *processors) runs(app string, now time.Time) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, k := range p.of {
		for s := range k.tasks {
			if s.app == app && now.Sub(k.seen) <= control.HeartbeatTimeout {
				return true
			}
		}
	}
	return false
}
