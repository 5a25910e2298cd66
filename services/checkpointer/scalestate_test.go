package checkpointer

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
)

// A scaling starts only if nothing else changes the app.
func TestScaleIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		made func(a *appState)
		to   uint32
		says string
	}{
		"a removal":              {func(a *appState) { a.Removing = true }, 3, "is being removed"},
		"another scaling":        {func(a *appState) { a.Scaling = &control.Scaling{From: 2, To: 5} }, 3, "is being scaled to 5 partitions"},
		"an upgrade":             {func(a *appState) { a.Versions = []control.Version{{Number: 1}, {Number: 2}} }, 3, "is being changed to version 2"},
		"a restore":              {func(a *appState) { a.Open = &openEpoch{Restore: &restoredAs{}} }, 3, "is being restored"},
		"the number that it has": {func(*appState) {}, 2, "plan the scaling again"},
		"no partitions":          {func(*appState) {}, 0, "plan the scaling again"},
		"nothing":                {func(*appState) {}, 3, ""},
		"a checkpoint":           {func(a *appState) { a.Open = &openEpoch{} }, 3, ""},
	} {
		t.Run(name, func(t *testing.T) {
			a := &appState{App: control.App{Name: "a", Partitions: 2, Version: 1}}
			c.made(a)
			scaling := a.Scaling
			no := refused(a.scale(&command{Kind: kindScale, To: c.to, Upgrade: &control.Version{Number: 2}}))
			switch {
			case c.says == "" && (no != "" || a.Scaling == nil || a.Scaling.To != c.to):
				t.Errorf("refused: %q, %+v", no, a.Scaling)
			case c.says != "" && (!strings.Contains(no, c.says) || a.Scaling != scaling):
				t.Errorf("refused: %q, want %q; %+v", no, c.says, a.Scaling)
			}
		})
	}
}

// Before the commit, a scaling keeps the number of partitions; only its leader ends it. After the
// commit it cannot be aborted.
func TestScalingEnds(t *testing.T) {
	a := &appState{App: control.App{Name: "a", Partitions: 2, Version: 1}}
	end := &command{Kind: kindScaled, Upgrade: &control.Version{Number: 2}, Reason: "someone wanted it"}
	if no := a.scale(&command{Kind: kindScale, To: 3, Upgrade: &control.Version{Number: 2}}); no != nil {
		t.Fatal(no)
	}
	a.Open = &openEpoch{Scale: true}
	if a.scaled(end); a.Scaling == nil {
		t.Fatal("it was aborted while its epoch is open")
	}
	a.Open = nil
	if a.scaled(end); a.Scaling != nil || a.Scaled != nil || a.Partitions != 2 || a.ScalingFailed != end.Reason {
		t.Fatalf("not aborted: %+v", a)
	}
	if no := a.scale(&command{Kind: kindScale, To: 3, Upgrade: &control.Version{Number: 2}}); no != nil || a.ScalingFailed != "" {
		t.Fatal(no, a.ScalingFailed)
	}
	a.rescale()
	if a.Partitions != 3 || a.Version != 2 || a.Scaling == nil || !a.Scaling.Committed || a.streams() != 3 {
		t.Fatalf("not committed: %+v", a)
	}
	if a.scaled(end); a.Scaling != nil || a.Partitions != 3 || a.ScalingFailed != "" {
		t.Fatalf("not ended: %+v", a)
	}
}
