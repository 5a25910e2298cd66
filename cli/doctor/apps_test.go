package doctor_test

import (
	"testing"
	"time"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/shared/control"
)

func TestFaultsOfApps(t *testing.T) {
	testFaults(t, map[string]fault{
		"a text that a deploy refuses": {
			fault: func(w *ward) {
				text := "@app:name('old') @source(subject='mine.>') define stream T (v int); from T insert into U;"
				if _, err := w.control.Deploy(w.t.Context(), control.DeployRequest{Text: text}); err != nil {
					w.t.Fatal(err)
				}
				w.cfg.NATS.Inbox = "mine" // the rule is newer than the app
			},
			check: "texts", severity: doctor.Warning, meaning: "overlaps `mine.>`",
		},
		"checkpoints are aborted": {
			fault: func(w *ward) {
				w.breakStore()
				w.publish(1)
				for range 3 {
					if o := w.checkpoint(); o.Committed {
						w.t.Errorf("%+v", o)
					}
				}
			},
			check: "checkpoints", severity: doctor.Error, meaning: "the last 3 checkpoints were aborted: partition 0: ",
		},
		"task has halted": {
			fault: func(w *ward) {
				if _, err := w.js.Publish(w.within(), "ef.wal.w.0", []byte("no frame")); err != nil {
					w.t.Fatal(err)
				}
				w.await("halted")
			},
			check: "tasks", severity: doctor.Error, meaning: "has halted: ",
		},
		"no leader": {
			idle: true,
			fault: func(w *ward) {
				peers := []control.Peer{{ID: "a", Voter: true}, {ID: "b", Voter: true}, {ID: "c", Voter: true}}
				w.announce("checkpointer", "1.2.3", map[string]string{"raft_id": "a"}, nil)
				w.answer("ef.checkpointer.node.a.status", control.Status{ID: "a", State: "candidate", Peers: peers, Time: time.Now()})
			},
			check: "leader", severity: doctor.Error, meaning: "with 1 of 3 voters up",
		},
		"a member is away": {
			idle: true,
			fault: func(w *ward) {
				peers := []control.Peer{{ID: "a", Voter: true}, {ID: "b", Voter: true, Address: "b:1"}}
				w.announce("checkpointer", "1.2.3", map[string]string{"raft_id": "a"}, nil)
				w.answer("ef.checkpointer.node.a.status", control.Status{ID: "a", State: "leader", Leader: "a", Peers: peers, Time: time.Now()})
				w.answer("ef.checkpointer.apps", control.AppList{})
			},
			check: "leader", severity: doctor.Warning, meaning: "the member at b:1 does not answer; 2 of 2 voters must be up",
		},
		"partition has no task": {
			idle: true,
			fault: func(w *ward) {
				w.announce("checkpointer", "1.2.3", nil, nil)
				w.answer("ef.checkpointer.apps", control.AppList{Apps: []control.App{{Name: "w", Partitions: 1, Deployed: time.Now()}}})
				w.answer("ef.checkpointer.checkpoints", control.CheckpointList{})
			},
			check: "tasks", severity: doctor.Error, meaning: "no processor runs it",
		},
		"checkpoint is old": {
			idle: true,
			fault: func(w *ward) {
				w.cfg.Checkpoint.Interval = time.Second
				w.announce("checkpointer", "1.2.3", nil, nil)
				w.answer("ef.checkpointer.apps", control.AppList{Apps: []control.App{{Name: "w", Partitions: 1}}})
				old := control.CheckpointInfo{State: "committed", CheckpointRef: control.CheckpointRef{Epoch: 7, Time: time.Now().Add(-time.Hour)}}
				w.answer("ef.checkpointer.checkpoints", control.CheckpointList{Checkpoints: []control.CheckpointInfo{old}})
			},
			check: "checkpoints", severity: doctor.Error, meaning: "longer than retention.span",
		},
	})
}
