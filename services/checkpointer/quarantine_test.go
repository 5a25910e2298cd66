package checkpointer

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
)

// If three processes in a row die of one frame, its partition goes into quarantine. A death
// at another frame restarts the count, a repeated report counts once, and a process that
// applies the frame clears it.
func TestDeathsAreCounted(t *testing.T) {
	died := func(by string, partition uint32, seq uint64) *control.Died {
		return &control.Died{Incarnation: by, Frames: []control.AtWork{{App: "a", Index: 1, Partition: partition, Sequence: seq}}}
	}
	a := &appState{App: control.App{Name: "a", Index: 1, Partitions: 2}}
	count := func(partition uint32) int {
		if d := a.death(partition); d != nil {
			return d.Count
		}
		return 0
	}
	a.died(died("p1", 1, 7))
	a.died(died("p1", 1, 7))
	if count(1) != 1 || count(0) != 0 {
		t.Fatalf("%+v", a.Deaths)
	}
	a.died(died("p2", 1, 9))
	if count(1) != 1 || a.death(1).Sequence != 9 {
		t.Fatalf("another frame goes on with the count: %+v", a.Deaths)
	}
	a.died(died("p3", 1, 9))
	a.died(died("p3", 0, 4))
	if a.quarantined(1) || count(1) != 2 || count(0) != 1 {
		t.Fatalf("%+v", a.Deaths)
	}
	a.passed([]control.Death{*a.death(0)})
	a.passed([]control.Death{{Partition: 1, Sequence: 9, Count: 1, Incarnation: "p2"}}) // was overtaken
	if count(0) != 0 || count(1) != 2 {
		t.Fatalf("%+v", a.Deaths)
	}
	a.died(&control.Died{Incarnation: "p4", Frames: []control.AtWork{{App: "a", Index: 2, Partition: 1, Sequence: 9}, {App: "a", Index: 1, Partition: 5, Sequence: 9}}})
	if count(1) != 2 || len(a.Deaths) != 1 {
		t.Fatalf("another deployment, or no partition of it, counts: %+v", a.Deaths)
	}
	a.died(died("p5", 1, 9))
	if !a.quarantined(1) || a.quarantined(0) {
		t.Fatalf("%+v", a.Deaths)
	}
	a.died(died("p6", 1, 11))
	if !a.quarantined(1) || a.death(1).Sequence != 9 {
		t.Fatalf("what is in quarantine stays there: %+v", a.Deaths)
	}
}

// A deploy checks the limits of apps and partitions, but accepts an app that is deployed
// already.
func TestAppsAndPartitionsAreBounded(t *testing.T) {
	r := newRig(t)
	r.s.cfg.AppsMax, r.s.cfg.PartitionsMax = 2, 3
	deploy := func(app string, partitions int) error {
		_, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: textOf(app, partitions)})
		return err
	}
	must(t, deploy("a", 3))
	if err := deploy("b", 4); control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), "limits.partitions_max") {
		t.Errorf("four partitions: %v", err)
	}
	must(t, deploy("b", 1))
	if err := deploy("c", 1); control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), "limits.apps_max") {
		t.Errorf("three apps: %v", err)
	}
	r.s.cfg.PartitionsMax = 1
	must(t, deploy("a", 3))
}

// A partition in quarantine is not assigned; other partitions are. A request ends the
// quarantine.
func TestQuarantineIsHeldUntilResumed(t *testing.T) {
	r := newRig(t)
	r.run("a", 2)
	index := r.fsm.app("a").Index
	beat := func(died *control.Died, applied uint64) (partitions []uint32, suspect uint64) {
		t.Helper()
		b, err := r.ctl.Heartbeat(r.within(), control.HeartbeatRequest{
			Processor: "p", Incarnation: "1", Died: died, Tasks: []control.TaskReport{{App: "a", Partition: 1, State: "running", Applied: applied}},
		})
		must(t, err)
		for _, as := range b.Assigned {
			partitions = append(partitions, as.Partition)
			suspect = max(suspect, as.Suspect)
		}
		return partitions, suspect
	}
	die := func(by string) ([]uint32, uint64) {
		return beat(&control.Died{Incarnation: by, Frames: []control.AtWork{{App: "a", Index: index, Partition: 1, Sequence: 9}}}, 0)
	}
	if got, suspect := die("x"); len(got) != 2 || suspect != 9 {
		t.Fatalf("after one death %v are assigned, suspected is %d", got, suspect)
	}
	if got, suspect := beat(nil, 9); len(got) != 2 || suspect != 0 {
		t.Fatalf("after the frame was applied %v are assigned, suspected is %d", got, suspect)
	}
	die("y")
	die("z")
	if got, _ := die("z"); len(got) != 2 {
		t.Fatalf("after two deaths %v are assigned", got)
	}
	if got, _ := die("q"); len(got) != 1 || got[0] != 0 {
		t.Fatalf("after three deaths %v are assigned", got)
	}
	a, err := r.ctl.App(r.within(), control.AppRequest{App: "a"})
	must(t, err)
	if len(a.Deaths) != 1 || !a.Deaths[0].Quarantined() {
		t.Errorf("the app is shown as %+v", a.Deaths)
	}
	_, err = r.ctl.Resume(r.within(), control.AppRequest{App: "a"})
	must(t, err)
	if got, suspect := beat(nil, 0); len(got) != 2 || suspect != 0 {
		t.Errorf("after it was resumed %v are assigned, suspected is %d", got, suspect)
	}
}
