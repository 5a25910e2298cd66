package engine_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// A log that another build applies by other rules is refused before anything of it is
// applied, and the error names the build. Tasks, standbys, replays and exports all apply
// frames by a Task.
func TestLogOfAnotherBuild(t *testing.T) {
	const text = `@app:name('A') define stream S (v int); from S select v insert into Out;`
	plan, err := siddhiql.Compile(text)
	if err != nil {
		t.Fatal(err)
	}
	settings := engine.Settings{DedupWindow: 1000}
	deploy := func(change func(*frame.Version)) *frame.Frame {
		v := frame.Version{Number: 1, Level: engine.Level, Build: "9.8.7", Settings: settings.JSON(), Text: text}
		change(&v)
		return &frame.Frame{Header: frame.Header{App: "A", Kind: frame.Deploy, Writer: 1, Number: 1, Stamp: 5}, Deploy: v}
	}
	for name, c := range map[string]struct {
		frame *frame.Frame
		says  []string
	}{
		"a newer level": {deploy(func(v *frame.Version) { v.Level++ }), []string{"semantics level 2", "this build has level 1", "version 9.8.7"}},
		"a newer setting": {
			deploy(func(v *frame.Version) { v.Settings = strings.Replace(v.Settings, "{", `{"lateness_of_tomorrow":7,`, 1) }),
			[]string{"lateness_of_tomorrow", "not all known", "version 9.8.7"},
		},
		"events before any deploy frame": {
			&frame.Frame{Header: frame.Header{App: "A", Kind: frame.Events, Writer: 1, Number: 1, Stamp: 5}},
			[]string{"before any deploy frame", "version 0.x"},
		},
	} {
		task, err := engine.NewTask(plan, 0, settings)
		if err != nil {
			t.Fatal(err)
		}
		_, err = task.Apply(1, c.frame)
		if !errors.Is(err, engine.ErrLevel) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, text := range c.says {
			if !strings.Contains(err.Error(), text) {
				t.Errorf("%s: %q does not say %q", name, err, text)
			}
		}
		if version, _ := task.Deployed(); version != 0 {
			t.Errorf("%s: version %d is in force", name, version)
		}
	}
	task, err := engine.NewTask(plan, 0, settings)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := task.Apply(1, deploy(func(*frame.Version) {})); err != nil {
		t.Errorf("a log of this build: %v", err)
	}
	if version, stamp := task.Deployed(); version != 1 || stamp != 5 {
		t.Errorf("version %d of %d is in force", version, stamp)
	}
}
