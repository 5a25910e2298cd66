package checkpointer

import (
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
)

// A change is refused while a processor, one with only standbys included, or an ingest is connected
// that lacks its semantics level. The error names it, and the version to run there.
func TestChangeIsRefusedWhileAnOlderBuildIsConnected(t *testing.T) {
	r := newRig(t)
	seen := time.Now().Add(time.Hour) // so it is connected, however slow the test is
	for name, c := range map[string]struct {
		hear func(*reports, uint32) error
		says string
	}{
		"a processor": {func(re *reports, level uint32) error {
			return re.processors.hear(&control.HeartbeatRequest{Processor: "p1", Incarnation: "1", Level: level}, seen)
		}, "processor p1"},
		"a standby": {func(re *reports, level uint32) error {
			return re.processors.hear(&control.HeartbeatRequest{
				Processor: "p2", Incarnation: "1", Level: level, Tasks: []control.TaskReport{{App: "A", State: control.TaskStandby}},
			}, seen)
		}, "processor p2"},
		"an ingest": {func(re *reports, level uint32) error {
			re.ingests.hear(&control.ServingRequest{Ingest: "1", Name: "i1", Level: level}, seen)
			return nil
		}, "ingest i1"},
	} {
		up := &upgrader{leadership: &leadership{cfg: &r.s.cfg}, reports: &reports{
			cfg: &r.s.cfg, processors: newProcessors(seen), ingests: ingests{of: map[string]*ingest{}},
		}}
		must(t, c.hear(up.reports, engine.Level-1))
		err := up.levelKnown(r.within(), engine.Level)
		if control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "run version "+thisVersion+" there first") {
			t.Errorf("%s: %v", name, err)
		}
		must(t, c.hear(up.reports, engine.Level))
		if err := up.levelKnown(r.within(), engine.Level); err != nil {
			t.Errorf("%s of this build: %v", name, err)
		}
	}
}
