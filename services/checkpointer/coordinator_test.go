package checkpointer

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"pgregory.net/rapid"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

var begin = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// script is a coordinator that a file drives.
type script struct {
	c    *coordinator
	app  *scriptApp
	now  time.Time
	last answerID
}

// scriptApp is the app as Raft has it.
type scriptApp struct {
	epoch state.Epoch
	tasks map[uint32]uint64
	count uint32
	held  bool
}

func (a *scriptApp) newest() state.Epoch        { return a.epoch }
func (a *scriptApp) partitions() uint32         { return a.count }
func (a *scriptApp) assignment(p uint32) uint64 { return a.tasks[p] }
func (a *scriptApp) paused() bool               { return a.held }

// TestCoordinator runs the scripts. Interval is 10 s, timeout 60 s.
func TestCoordinator(t *testing.T) {
	datadriven.Walk(t, "testdata/coordinator", func(t *testing.T, path string) {
		s := &script{now: begin}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return s.run(t, d) })
	})
}

func (s *script) run(t *testing.T, d *datadriven.TestData) string {
	arg := func(key string, def int) int {
		if d.HasArg(key) {
			d.ScanArgs(t, key, &def)
		}
		return def
	}
	reason := ""
	if d.HasArg("error") {
		d.ScanArgs(t, "error", &reason)
	}
	if d.HasArg("after") {
		var after string
		d.ScanArgs(t, "after", &after)
		wait, err := time.ParseDuration(after)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		s.now = s.now.Add(wait)
	}
	lag := time.Duration(arg("lag", 0)) * time.Second
	m := message{lag: lag, now: s.now, reason: reason, gone: d.HasArg("gone")}
	switch d.Cmd {
	case "lead":
		s.app = &scriptApp{count: uint32(arg("partitions", 1)), epoch: state.Epoch(arg("newest", 0)), tasks: map[uint32]uint64{}}
		for p := range s.app.count {
			s.app.tasks[p] = uint64(arg("assigned", 0))
		}
		var before *openEpoch
		if open := arg("open", 0); open > 0 {
			before = &openEpoch{Epoch: state.Epoch(open), Time: s.now.Add(time.Duration(arg("ahead", 0)) * time.Second)}
		}
		var effects []effect
		s.c, effects = newCoordinator(s.app, before, checkpoint.Term(arg("term", 1)), s.now, 10*time.Second, time.Minute)
		return s.format(effects)
	case "attached":
		s.app.tasks[uint32(arg("partition", 0))] = uint64(arg("assignment", 0))
		return s.format(nil)
	case msgGo:
		s.app.epoch, s.app.tasks, s.app.held = state.Epoch(arg("epoch", int(s.c.epoch))), map[uint32]uint64{}, d.HasArg("held")
		m.kind = d.Cmd
	case msgOpened:
		m.kind, m.epoch = d.Cmd, state.Epoch(arg("epoch", int(s.c.epoch)))
		if reason == "" {
			s.app.epoch = max(s.app.epoch, m.epoch)
		}
	case msgTrigger, msgPause:
		m.kind = d.Cmd
		s.last++
		m.answer = s.last
	case msgPrepared:
		m.kind, m.epoch = d.Cmd, state.Epoch(arg("epoch", int(s.c.epoch)))
		m.part = &checkpoint.Partition{Partition: uint32(arg("partition", 0)), Assignment: uint64(arg("assignment", 1))}
		s.last++
		m.answer = s.last
	case msgFailed:
		m.kind, m.epoch = d.Cmd, state.Epoch(arg("epoch", int(s.c.epoch)))
		s.last++
		m.answer = s.last
	case msgFound:
		m.kind, m.epoch, m.found = d.Cmd, state.Epoch(arg("epoch", int(s.c.epoch))), d.HasArg("there")
	default:
		m.kind, m.epoch = d.Cmd, state.Epoch(arg("epoch", int(s.c.epoch)))
	}
	return s.format(s.c.step(m))
}

// format prints effects and the phase.
func (s *script) format(effects []effect) string {
	var b strings.Builder
	for _, e := range effects {
		switch e.do {
		case doAnswer:
			what := "committed"
			if !e.outcome.Committed {
				what = "aborted: " + e.outcome.Reason
			}
			if e.outcome.Whole {
				what += ", write it as a whole"
			}
			fmt.Fprintf(&b, "answer %v epoch=%d %s\n", e.answers, e.outcome.Epoch, what)
		case doPaused:
			fmt.Fprintf(&b, "paused %v\n", e.answers)
		case doTidy:
			fmt.Fprintln(&b, "tidy")
		case doAbort:
			fmt.Fprintf(&b, "abort epoch=%d reason=%q\n", e.epoch, e.reason)
		default:
			fmt.Fprintf(&b, "%s epoch=%d\n", e.do, e.epoch)
		}
	}
	fmt.Fprintf(&b, "%s epoch=%d\n", s.c.phase, s.c.epoch)
	return b.String()
}

// TestCoordinatorNeverBothCommitsAndAborts changes leaders, and loses, repeats and delays
// messages. It checks that coordinator and state machine keep to the protocol.
func TestCoordinatorNeverBothCommitsAndAborts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld(t)
		for range rapid.SampledFrom([]int{20, 200, 600}).Draw(t, "steps") {
			w.step()
		}
		w.check()
	})
}

// world is a group with one app of two partitions. The effects of leaders wait in pending,
// in any order and perhaps forever.
type world struct {
	t       *rapid.T
	fsm     *FSM
	index   uint64
	c       *coordinator
	term    uint64
	now     time.Time
	pending []pendingEffect
	stored  map[state.Epoch]uint64 // epochs with a manifest, and the term that wrote it
	storeAt uint64                 // the newest term that the store has seen
	barrier map[state.Epoch]bool
	decided map[state.Epoch]string
	// retained are the digests of the manifests that were retained when the newest epoch was
	// opened. used are all digests that a checkpoint ever had.
	retained map[string]bool
	used     map[state.Epoch][]string
}

type pendingEffect struct {
	effect
	by *coordinator // the leadership that it belongs to
}

func newWorld(t *rapid.T) *world {
	w := &world{t: t, fsm: newFSM(t), now: begin, stored: map[state.Epoch]uint64{}, barrier: map[state.Epoch]bool{}, decided: map[state.Epoch]string{}, used: map[state.Epoch][]string{}}
	w.apply(&command{Kind: kindDeploy, App: "app", Deploy: &control.App{Name: "app", Partitions: 2, Plan: "p"}})
	for p := range uint32(2) {
		w.apply(&command{Kind: kindAttach, App: "app", Owner: &control.Owner{Partition: p, Owner: "first"}})
	}
	w.lead()
	return w
}
