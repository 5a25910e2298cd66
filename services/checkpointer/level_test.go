package checkpointer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
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

// A change is refused while a voter is connected that lacks its semantics level. One that does not
// answer is not connected: it will halt at the change.
func TestChangeIsRefusedWhileAnOlderVoterIsConnected(t *testing.T) {
	r := newRig(t)
	up := &upgrader{leadership: &leadership{cfg: &r.s.cfg}}
	answers := func(level uint32) *nats.Subscription {
		sub, err := r.nc.Subscribe(natsconn.ServiceSubject(control.Service, "node.old."+control.VerbStatus), func(m *nats.Msg) {
			_ = m.Respond(fmt.Appendf(nil, `{"id":"old","level":%d}`, level)) // the asker reports what is missing
		})
		must(t, err)
		return sub
	}
	older := answers(engine.Level - 1)
	members := []string{"gone", "old"}
	err := up.membersKnow(r.within(), members, engine.Level)
	if control.Code(err) != control.CodeInvalid || !strings.Contains(err.Error(), "checkpointer old runs a build") || !strings.Contains(err.Error(), "run version "+thisVersion+" there first") {
		t.Error(err)
	}
	must(t, older.Unsubscribe())
	answers(engine.Level)
	if err := up.membersKnow(r.within(), members, engine.Level); err != nil {
		t.Errorf("of this build: %v", err)
	}
}
