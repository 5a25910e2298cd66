package checkpointer

import (
	"reflect"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/shadow"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// withCheckpoints returns an app of generation 1 and version 1 that has these checkpoints.
func withCheckpoints(epochs ...state.Epoch) *appState {
	a := &appState{App: control.App{Name: "a", Version: 1, Level: 1, Generation: 1, Partitions: 1}}
	for _, e := range epochs {
		a.Committed = append(a.Committed, committed{CheckpointRef: control.CheckpointRef{Epoch: e, Generation: 1}})
		a.Newest, a.Decided = e, e
	}
	return a
}

// A shadow starts from a retained checkpoint of the generation and the newest version.
func TestShadowStarts(t *testing.T) {
	cases := map[string]struct {
		change func(*appState)
		shadow control.Shadow
		want   string
	}{
		"retained":                        {nil, control.Shadow{Version: 1, Checkpoint: 2}, ""},
		"retired":                         {nil, control.Shadow{Version: 1, Checkpoint: 9}, "checkpoint 9 of app a was retired"},
		"older generation":                {func(a *appState) { a.Generation = 2 }, control.Shadow{Version: 1, Checkpoint: 2}, "was retired"},
		"another version":                 {nil, control.Shadow{Version: 2, Checkpoint: 2}, "has version 1 by now"},
		"removing":                        {func(a *appState) { a.Removing = true }, control.Shadow{Version: 1, Checkpoint: 2}, "is being removed"},
		"scaling":                         {func(a *appState) { a.Scaling = &control.Scaling{To: 3} }, control.Shadow{Version: 1, Checkpoint: 2}, "is being scaled"},
		"approval for one that has ended": {nil, control.Shadow{ID: 5, Version: 1, Checkpoint: 2}, "has ended"},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			a := withCheckpoints(1, 2, 3)
			if c.change != nil {
				c.change(a)
			}
			no := refused(a.shadow(&c.shadow, 7))
			switch {
			case c.want == "" && (no != "" || a.Shadow == nil || a.Shadow.ID != 7):
				t.Error(no, a.Shadow)
			case c.want != "" && (!strings.Contains(no, c.want) || a.Shadow != nil):
				t.Errorf("%q, want %q", no, c.want)
			}
		})
	}
}

// Approvals add up, and do not change the copies of an app that others hold.
func TestShadowApprovals(t *testing.T) {
	a := withCheckpoints(1)
	a.shadow(&control.Shadow{Version: 1, Checkpoint: 1}, 7)
	for i := 0; i < 2; i++ { // a repeated command changes nothing
		before := a.clone()
		a.shadow(&control.Shadow{ID: 7, Approved: map[string][]shadow.Kind{"S": {shadow.OnlyOld}}}, 8)
		a.shadow(&control.Shadow{ID: 7, Approved: map[string][]shadow.Kind{"S": {shadow.OnlyNew}, "R": {shadow.OnlyOld}}}, 9)
		want := map[string][]shadow.Kind{"S": {shadow.OnlyNew, shadow.OnlyOld}, "R": {shadow.OnlyOld}}
		if !reflect.DeepEqual(a.Shadow.Approved, want) || a.Shadow.ID != 7 {
			t.Errorf("%+v", a.Shadow)
		}
		if i == 0 && len(before.Shadow.Approved) > 0 {
			t.Errorf("the copy has %v", before.Shadow.Approved)
		}
	}
}

// The checkpoint of a shadow is not retired, whatever changes the app ends the shadow, and a snapshot
// has the newest format only while there is one.
func TestShadowEnds(t *testing.T) {
	format := func(a *appState) int {
		return (&machine{Apps: map[string]*appState{"a": a}}).format()
	}
	ends := map[string]func(*appState){
		"stop":    func(a *appState) { a.shadow(nil, 8) },
		"upgrade": func(a *appState) { a.upgrade(&control.Version{Number: 2, Plan: "x"}, nil) },
		"scaling": func(a *appState) { a.scale(&command{Upgrade: &control.Version{Number: 2}, To: 3}) },
		"restore": func(a *appState) {
			a.Open = &openEpoch{Epoch: 4}
			k := committed{CheckpointRef: control.CheckpointRef{Epoch: 4, Generation: checkpoint.Generation(2)}}
			a.commit(&command{Commit: &k}, 9)
		},
	}
	for name, end := range ends {
		t.Run(name, func(t *testing.T) {
			a := withCheckpoints(1, 2, 3)
			without := format(a)
			a.shadow(&control.Shadow{Version: 1, Checkpoint: 2}, 7)
			if format(a) != machineFormat {
				t.Errorf("format %d with a shadow", format(a))
			}
			a.retire([]state.Epoch{1, 2})
			if len(a.Committed) != 2 || a.Committed[0].Epoch != 2 {
				t.Errorf("after it was retired: %+v", a.Committed)
			}
			end(a)
			if a.Shadow != nil {
				t.Error("it has not ended")
			}
			if name == "stop" && format(a) != without {
				t.Errorf("format %d, before it %d", format(a), without)
			}
			a.retire([]state.Epoch{2})
			if a.Committed[0].Epoch == 2 {
				t.Error("its checkpoint is still kept")
			}
		})
	}
}
