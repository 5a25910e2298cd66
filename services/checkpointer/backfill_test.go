package checkpointer

import (
	"slices"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
)

// backfillApp is an app with two partitions and two checkpoints.
func backfillApp() *appState {
	a := &appState{App: control.App{Name: "a", Partitions: 2, Version: 1, Level: 1}}
	for i, barriers := range [][]uint64{{10, 20}, {30, 25}} {
		a.Committed = append(a.Committed, committed{CheckpointRef: control.CheckpointRef{Epoch: state.Epoch(i + 1)}, Barriers: barriers})
	}
	return a
}

// A change that reads logs is refused if they may be trimmed by now.
func TestBackfillNeedsTheLog(t *testing.T) {
	for name, c := range map[string]struct {
		first []uint64
		says  string
	}{
		"the oldest":          {[]uint64{11, 21}, ""},
		"the barriers":        {[]uint64{10, 20}, ""},
		"newer":               {[]uint64{40, 40}, ""},
		"trimmed in one":      {[]uint64{11, 19}, "was trimmed after the change was planned; plan it again"},
		"too few":             {[]uint64{11}, "plan it again"},
		"none, and no demand": {nil, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := backfillApp()
			got := refused(a.upgrade(&control.Version{Number: 2, Plan: "p"}, c.first))
			if c.says == "" && (got != "" || len(a.Versions) != 2 || len(a.Backfills) != min(1, len(c.first))) ||
				c.says != "" && (!strings.Contains(got, c.says) || len(a.Versions) > 0 || len(a.Backfills) > 0) {
				t.Errorf("%q, %d versions, %v", got, len(a.Versions), a.Backfills)
			}
		})
	}
}

// Logs are kept for a backfill as long as a retained checkpoint lies before the change in any
// partition.
func TestBackfillKeepsTheLog(t *testing.T) {
	a := backfillApp()
	if no := a.upgrade(&control.Version{Number: 2, Plan: "p"}, []uint64{11, 21}); no != nil {
		t.Fatal(refused(no))
	}
	kept := func(want ...uint64) {
		t.Helper()
		if got := []uint64{a.keptFor(0, 100), a.keptFor(1, 100)}; !slices.Equal(got, want) {
			t.Errorf("the logs are kept from %v, want %v", got, want)
		}
	}
	kept(11, 21)
	add := func(epoch state.Epoch, versions ...uint32) {
		a.Committed = append(a.Committed, committed{CheckpointRef: control.CheckpointRef{Epoch: epoch}, Barriers: []uint64{50, 50}, Versions: versions})
	}
	add(3, 2, 1)
	add(4, 2, 2)
	a.retire([]state.Epoch{1})
	kept(11, 21)
	a.retire([]state.Epoch{2})
	kept(11, 21) // the third one lies before it in partition 1
	if m := (&machine{Apps: map[string]*appState{"a": a}}); m.format() != backfillFormat {
		t.Errorf("format %d", m.format())
	}
	a.retire([]state.Epoch{3})
	kept(100, 100)
	if m := (&machine{Apps: map[string]*appState{"a": a}}); m.format() != changedFormat {
		t.Errorf("format %d after it", m.format())
	}
	if got := a.keptFor(7, 100); got != 100 {
		t.Errorf("another partition: %d", got)
	}
}
