package checkpointer

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// TestMissing: the list of what an app lacks follows from the last report of each live ingest
// and from the tasks of its partitions.
func TestMissing(t *testing.T) {
	start := time.Now()
	now := start.Add(2 * control.HeartbeatTimeout)
	l := &reports{processors: newProcessors(start), ingests: ingests{of: map[string]*ingest{}}}
	a := &appState{App: control.App{Name: "A", Index: 7, Partitions: 8}}
	check := func(when string, want ...string) {
		t.Helper()
		if got := l.missing(a, now); !slices.Equal(got, want) {
			t.Errorf("%s:\n%s\nwant:\n%s", when, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	serving := func(id string, number uint64, apps ...control.Serving) {
		l.ingests.hear(&control.ServingRequest{Ingest: id, Name: "at " + id, Number: number, Apps: apps}, now)
	}
	if got := l.missing(a, start); len(got) != 1 || !strings.Contains(got[0], "has just become the leader") {
		t.Errorf("at the start of a leadership: %q", got)
	}
	noTask := "partitions 0, 1, 2, 3, 4 and 3 more: without a task, because there is no processor; start one with eventflux serve --services processor"
	check("nothing runs", "there is no ingest; start one with eventflux serve --services ingest", noTask)

	serving("x", 1)
	serving("y", 1, control.Serving{App: "A", Index: 7, Accepts: true})
	check("one ingest does not know the app", "ingest at x does not know the app yet", noTask)
	serving("x", 2, control.Serving{App: "A", Index: 6, Accepts: true})
	check("one ingest has a former deployment", "ingest at x does not know the app yet", noTask)
	serving("x", 3, control.Serving{App: "A", Index: 7, Why: "waiting: no log"})
	check("one ingest cannot", "ingest at x: waiting: no log", noTask)
	serving("x", 4, control.Serving{App: "A", Index: 7, Accepts: true})
	serving("x", 3, control.Serving{App: "A", Index: 7, Why: "waiting: no log"})
	check("a report came late", noTask)
	if !l.ingests.serve("A", now) || l.ingests.serve("B", now) {
		t.Error("A is held, and B is not")
	}

	now = now.Add(2 * control.HeartbeatTimeout)
	serving("x", 5, control.Serving{App: "A", Index: 7, Accepts: true})
	check("a silent ingest does not count", noTask)

	states := []control.TaskState{"running", "replaying", "starting", "halted", "held", "starting", "", "running"}
	for p, state := range states {
		a.Owners = append(a.Owners, control.Owner{Partition: uint32(p), Processor: "p", State: state})
	}
	a.Deaths = []control.Death{{Partition: 7, Sequence: 3, Count: control.QuarantineAfter}}
	if err := l.processors.hear(&control.HeartbeatRequest{Processor: "p", Incarnation: "1"}, now); err != nil {
		t.Fatal(err)
	}
	check("some tasks do not run", "partitions 2, 5: starting", "partition 3: halted; eventflux doctor says why", "partition 6: without a task yet",
		"partition 7: in quarantine, because three processes died of a frame; eventflux app resume A runs it again")
}
