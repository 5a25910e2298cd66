package processor

import (
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// A task halts at the deploy frame of a build whose rules or settings it does not know, and
// publishes nothing.
func TestLogOfANewerBuildHalts(t *testing.T) {
	for says, change := range map[string]func(*frame.Version){
		"semantics level 2": func(v *frame.Version) { v.Level++ },
		"of_tomorrow":       func(v *frame.Version) { v.Settings = strings.Replace(v.Settings, "{", `{"of_tomorrow":7,`, 1) },
	} {
		r := newRig(t, sums)
		must(t, r.js.DeleteStream(r.within(), natsconn.WALStream("sums", 0)))
		_, err := natsconn.EnsureApp(r.within(), r.js, "sums", 1, natsconn.StreamLimits{})
		must(t, err)
		d := wal.Deployment{App: "sums", Stamp: 1, Version: frame.Version{Number: 1, Level: engine.Level, Build: "9.8.7", Settings: settings.JSON(), Text: r.text}}
		change(&d.Version)
		must(t, d.Deploy(r.within(), r.js, 0))
		r.send("S", 1000, "", "a", 1)
		s, _ := r.start()
		r.eventually("the task has halted", func() bool { return r.info(s).State == control.TaskHalted })
		if info := r.info(s); !strings.Contains(info.Error, says) || !strings.Contains(info.Error, "run version 9.8.7") {
			t.Errorf("halted with %q, want %q in it", info.Error, says)
		}
		if n := len(r.results()); n > 0 {
			t.Errorf("%d results", n)
		}
	}
}
