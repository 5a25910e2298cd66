package checkpointer

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// reports are what processors and ingests have last reported to this leader.
type reports struct {
	cfg        *Config
	processors *processors
	ingests    ingests
}

// missing lists what prevents an app from running fully: ingests that do not accept its
// events and partitions that do not run. It returns nil if there is nothing.
func (rp *reports) missing(a *appState, now time.Time) (what []string) {
	able, _, heardAll := rp.processors.alive(now)
	if !heardAll {
		return []string{"the checkpointer has just become the leader and does not know all ingests and processors yet"}
	}
	if a.Starting() {
		what = append(what, fmt.Sprintf("the app has not been given the state of checkpoint %d yet; the same eventflux app deploy does that, or eventflux recover %s --adopt --to %[1]d", a.From, a.Name))
	}
	if a.Scaling != nil {
		what = append(what, fmt.Sprintf("it is being scaled to %d partitions", a.Scaling.To))
	}
	all := rp.ingests.alive(now)
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
	return append(append(what, missingTasks(a, len(able))...), rp.missingVersions(a, now)...)
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

// missingVersions lists the partitions that do not run the newest version.
func (rp *reports) missingVersions(a *appState, now time.Time) (what []string) {
	if len(a.Versions) == 0 {
		return nil
	}
	v := a.newest()
	if a.changing() != nil {
		return []string{fmt.Sprintf("the logs do not all have the frame of version %d yet", v.Number)}
	}
	of := map[uint32][]uint32{}
	var versions []uint32
	for _, o := range a.Owners {
		runs := rp.processors.version(o.Processor, slot{a.Name, o.Partition}, now)
		if runs >= v.Number {
			continue
		}
		if of[runs] == nil {
			versions = append(versions, runs)
		}
		of[runs] = append(of[runs], o.Partition)
	}
	for _, runs := range versions {
		what = append(what, fmt.Sprintf("%s: at version %d, and the log has version %d", partitionsText(of[runs]), runs, v.Number))
	}
	return what
}

// addStates adds the states of the app's tasks that processors have reported.
func (rp *reports) addStates(a *appState) {
	for i := range a.Owners {
		o := &a.Owners[i]
		o.State = rp.processors.state(o.Processor, slot{a.Name, o.Partition}, time.Now())
	}
}

// serving handles the report of an ingest.
func (rp *reports) serving(_ context.Context, r *control.ServingRequest) (any, error) {
	if r.Ingest == "" {
		return nil, failure(control.CodeInvalid, "an ingest without an id; it is never empty")
	}
	rp.ingests.hear(r, time.Now())
	return struct{}{}, nil
}
