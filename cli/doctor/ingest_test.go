package doctor_test

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/services/ingest"
)

func TestFaultsOfIngest(t *testing.T) {
	testFaults(t, map[string]fault{
		"publishers are about to be turned away": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), BytesWaiting: 95, BytesWaitingMax: 100, DeadLost: 1})
			},
			check: "ingest", severity: doctor.Warning, meaning: "95 % of what may wait",
		},
		"a task cannot keep up": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Closed: []ingest.ClosedLog{{App: "w", Reason: ingest.Lagging, Text: "app w, partition 0 is 12s behind"}}})
			},
			check: "ingest", severity: doctor.Warning, meaning: "events are refused: app w, partition 0 is 12s behind",
		},
		"the disk is full": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), NoRoom: "the disk of data is full"})
			},
			check: "ingest", severity: doctor.Error, meaning: "the disk of data is full",
		},
		"a record is damaged": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Damaged: []string{"EFW_w_0 at byte 7"}})
			},
			check: "ingest", severity: doctor.Warning, meaning: "EFW_w_0 at byte 7",
		},
		"an app is left out": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Apps: []ingest.AppState{{App: "w", State: ingest.LeftOut, Reason: "NATS refuses the subscription to orders.>"}}})
			},
			check: "ingest", severity: doctor.Error, meaning: "app w is left out, and it takes no events: NATS refuses the subscription to orders.>",
		},
		"an app waits": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Apps: []ingest.AppState{{App: "w", State: ingest.Waiting, Reason: "its log is gone"}}})
			},
			check: "ingest", severity: doctor.Warning, meaning: "events for app w are refused: its log is gone",
		},
		"a log takes nothing": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Stalled: []string{"log of w/0 takes no frames"}})
			},
			check: "ingest", severity: doctor.Error, meaning: "log of w/0 takes no frames",
		},
	})
}
