package checkpointer

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// ingests are the ingests that report to this leader. An ingest reports before it subscribes
// to anything, so that none accepts events without the leader knowing it.
type ingests struct {
	mu sync.Mutex
	of map[string]*ingest
}

type ingest struct {
	seen   time.Time
	name   string
	number uint64
	level  uint32
	apps   map[string]control.Serving
}

// hear records the report of an ingest, unless a newer one has arrived.
func (in *ingests) hear(r *control.ServingRequest, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for id, known := range in.of {
		if now.Sub(known.seen) > control.HeartbeatTimeout {
			delete(in.of, id)
		}
	}
	if known := in.of[r.Ingest]; known != nil && known.number > r.Number {
		return
	}
	one := &ingest{seen: now, name: r.Name, number: r.Number, level: r.Level, apps: map[string]control.Serving{}}
	for _, a := range r.Apps {
		one.apps[a.App] = a
	}
	in.of[r.Ingest] = one
}

// alive returns the ingests with a recent report, by name.
func (in *ingests) alive(now time.Time) (all []*ingest) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, one := range in.of {
		if now.Sub(one.seen) <= control.HeartbeatTimeout {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b *ingest) int { return cmp.Compare(a.name, b.name) })
	return all
}

// hold reports whether any ingest still serves an app.
func (in *ingests) hold(app string, now time.Time) bool {
	return slices.ContainsFunc(in.alive(now), func(one *ingest) bool {
		_, holds := one.apps[app]
		return holds
	})
}

// serving handles the report of an ingest.
func (s *Service) serving(_ context.Context, l *leader, r *control.ServingRequest) (any, error) {
	if r.Ingest == "" {
		return nil, failure(control.CodeInvalid, "an ingest without an id; it is never empty")
	}
	l.ingests.hear(r, time.Now())
	return struct{}{}, nil
}

// missing lists what prevents an app from running fully: ingests that do not accept its
// events and partitions that do not run. It returns nil if there is nothing.
func (l *leader) missing(a *appState, now time.Time) (what []string) {
	able, _, settled := l.processors.alive(now)
	if !settled {
		return []string{"the checkpointer has just become the leader and does not know all ingests and processors yet"}
	}
	all := l.ingests.alive(now)
	if len(all) == 0 {
		what = append(what, "there is no ingest; start one with eventflux serve --services ingest")
	}
	for _, one := range all {
		s, knows := one.apps[a.Name]
		switch {
		case !knows || s.Index != a.Index:
			what = append(what, fmt.Sprintf("ingest %s does not know the app yet", one.name))
		case len(a.Versions) > 0 && s.Version != a.Version:
			what = append(what, fmt.Sprintf("ingest %s serves version %d, and %d is in force", one.name, s.Version, a.Version))
		case !s.Accepts:
			what = append(what, fmt.Sprintf("ingest %s: %s", one.name, s.Why))
		}
	}
	return append(append(what, missingTasks(a, len(able))...), l.missingVersions(a, now)...)
}

// missingTasks lists the partitions that do not run, grouped by reason.
func missingTasks(a *appState, processors int) (what []string) {
	states := make([]control.TaskState, a.Partitions)
	for _, o := range a.Owners {
		states[o.Partition] = o.State
	}
	of := map[string][]uint32{}
	var reasons []string
	for p, state := range states {
		why := ""
		switch {
		case a.quarantined(uint32(p)):
			why = "in quarantine, because three processes died of a frame; eventflux app resume " + a.Name + " runs it again"
		case state == "" && processors == 0:
			why = "without a task, because there is no processor; start one with eventflux serve --services processor"
		case state == "":
			why = "without a task yet"
		case state == control.TaskStarting || state == control.TaskHalted || state == control.TaskFenced || state == control.TaskStopped:
			why = string(state)
			if state == control.TaskHalted {
				why += "; eventflux doctor says why"
			}
		default:
			continue
		}
		if of[why] == nil {
			reasons = append(reasons, why)
		}
		of[why] = append(of[why], uint32(p))
	}
	for _, why := range reasons {
		what = append(what, fmt.Sprintf("%s: %s", partitionsText(of[why]), why))
	}
	return what
}

// partitionsText names the first partitions and counts the rest.
func partitionsText(all []uint32) string {
	const namedMax = 5
	var names []string
	for _, p := range all[:min(len(all), namedMax)] {
		names = append(names, strconv.FormatUint(uint64(p), 10))
	}
	text := "partition " + names[0]
	if len(names) > 1 {
		text = "partitions " + strings.Join(names, ", ")
	}
	if more := len(all) - len(names); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
