package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nuid"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store/file"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// restored is the app that the tests restore. Its results depend only on the order of events, and
// one of its output streams has a row for each event.
const restored = "Turns"

const (
	retained    = 60   // checkpoints of the app
	eventsFirst = 1200 // published before the first kill
	perKill     = 60   // published for each kill
	killsAPhase = 15   // number of kills after which the test checks everything
	placesAhead = 120  // targets lie up to this many frames after a checkpoint
)

// merging makes the merger fold chains after each checkpoint, and sweep garbage at once.
var merging = []string{
	"--checkpoint.interval=20ms", "--checkpoint.timeout=5s", "--checkpoint.full_every=100",
	fmt.Sprintf("--retention.checkpoints=%d", retained), "--retention.span=1ms",
	"--merger.chain_max=1", "--merger.interval=100ms", "--dedup.window=2h",
}

var shortSpans = []string{"span grace 2s", "span sweep 200ms", "span lease 500ms"}

// TestKillMergesAndRestores kills the merger, recovery, checkpointers and the processor in the
// middle of merges, sweeps and restores, while events are published. The app is restored again and
// again. Whatever dies, each request creates one generation or none. Every generation has the
// results of a replay of the same events, without a loss; every checkpoint is sound, and neither
// log nor store keep garbage.
func TestKillMergesAndRestores(t *testing.T) {
	for name, members := range map[string]int{"one checkpointer": 1, "three checkpointers": 3} {
		t.Run(name, func(t *testing.T) {
			h := newHavoc(t, members, *restores/2)
			for i := range *restores / 2 {
				h.kill(i)
				if (i+1)%killsAPhase == 0 {
					h.rest()
				}
			}
			h.end()
		})
	}
}

// havoc kills processes of a cluster.
type havoc struct {
	*cluster
	t        *testing.T
	rnd      *rand.Rand
	pub      *publisher
	history  *history
	services map[string]*process // all but checkpointers
	began    time.Time

	died, asked, refused map[string]int
}

func newHavoc(t *testing.T, members, kills int) *havoc {
	h := &havoc{
		t: t, rnd: random(t), services: map[string]*process{}, began: time.Now(),
		died: map[string]int{}, asked: map[string]int{}, refused: map[string]int{},
	}
	messages := trades(h.rnd, eventsFirst+perKill*kills)
	h.pub = newPublisher(t, h.rnd, messages)
	h.cluster = newClusterArmed(t, members, shortSpans, merging...)
	h.deploy(restored)
	h.watch.end()
	h.services["processor"] = h.begun[0]
	for _, name := range []string{"merger", "recovery"} {
		h.startService(name)
	}
	h.history = newHistory(h.cluster, messages)
	must(t, h.pub.run(h.url, h.quota(0), 16))
	return h
}

func (h *havoc) startService(name string) {
	h.t.Helper()
	if name == "processor" {
		h.services[name] = h.startProcessor("p1")
		return
	}
	h.services[name] = h.serve(name, h.t.TempDir())
	h.begun = append(h.begun, h.services[name])
}

// deathPoints are the fault points that kill each process.
var deathPoints = map[string][]faultpoint.Point{
	"merger":   slices.Concat(faultpoint.OfMerger, []faultpoint.Point{faultpoint.StorePut, faultpoint.FileWritten}),
	"recovery": slices.Concat(faultpoint.OfJob, []faultpoint.Point{faultpoint.StoreGet}),
	"checkpointer": slices.Concat(faultpoint.OfSwap, faultpoint.OfRestore, faultpoint.OfRestore, []faultpoint.Point{
		faultpoint.CommitBefore, faultpoint.CommitDone, faultpoint.FileCommitted, faultpoint.RetireDone,
	}),
	"processor": slices.Concat(faultpoint.OfLoad, faultpoint.OfLoad, faultpoint.OfTask),
}

// onceARestore are the points that a restore passes only once.
var onceARestore = slices.Concat(faultpoint.OfRestore, faultpoint.OfJob, faultpoint.OfLoad)

// kill kills one process while the app is restored and events are published, and starts it again.
func (h *havoc) kill(i int) {
	h.t.Helper()
	victim := []string{"merger", "recovery", "checkpointer", "processor"}[h.rnd.IntN(4)]
	point, at := "anywhere", time.Duration(h.rnd.IntN(300))*time.Millisecond
	p, id := h.services[victim], ""
	if victim == "checkpointer" {
		id = h.leader()
		p = h.members[id]
	}
	if h.rnd.IntN(4) > 0 {
		all := deathPoints[victim]
		point = string(all[h.rnd.IntN(len(all))])
		at += 2 * time.Second // deadline, in case the point is not reached
		times := 1
		if !slices.Contains(onceARestore, faultpoint.Point(point)) {
			times += h.rnd.IntN(3)
		}
		p.arm(append([]string{fmt.Sprintf("kill %s %d", point, times)}, shortSpans...)...)
	}
	before := h.history.generation()
	ask := h.request(point == string(faultpoint.JobRebuilt) || point == string(faultpoint.JobStored))
	published, ended := make(chan error, 1), make(chan outcome, 1)
	go func() { published <- h.pub.run(h.url, h.quota(i+1), 1+i%16) }()
	go func() { ended <- h.restore(ask) }()
	select {
	case <-p.exited:
	case <-time.After(at):
		if strings.HasPrefix(point, "anywhere") {
			break
		}
		point += ", not reached"
	}
	p.signal(syscall.SIGKILL)
	if code := p.end(); code != -1 {
		h.t.Fatalf("%s: the %s ended with code %d", point, victim, code)
	}
	h.died[victim+" "+point]++
	if id != "" {
		h.startMember(id)
	} else {
		h.startService(victim)
	}
	o := <-ended
	must(h.t, <-published)
	h.settle(before, ask, o)
	h.t.Logf("%3d %-35s %-60s %s", i, victim+" "+point, ask, o)
}

// quota is how many messages are published after so many deaths.
func (h *havoc) quota(deaths int) int {
	n := eventsFirst + perKill*deaths
	return sort.Search(len(h.pub.messages), func(i int) bool { return h.pub.messages[i].events > n })
}

// request is a request for a restore.
type request struct {
	recovery.RestoreRequest
	place uint64 // log sequence of the target, if the request names one; else 0
}

func (r request) String() string {
	text := r.After
	if len(r.Components) > 0 {
		text += " " + strings.Join(r.Components, ",")
	}
	if r.To > 0 {
		return fmt.Sprintf("%s to %d", text, r.To)
	}
	return fmt.Sprintf("%s at %q", text, r.At)
}

// request chooses a restore at random; one that stores state if stores is set.
func (h *havoc) request(stores bool) request {
	h.t.Helper()
	r := request{RestoreRequest: recovery.RestoreRequest{ID: nuid.Next(), PlanRequest: recovery.PlanRequest{
		App: restored, Verify: []string{recovery.VerifyNone, recovery.VerifyChecksum, recovery.VerifyFull}[h.rnd.IntN(3)], After: recovery.AfterResume,
	}}}
	epoch, barrier := h.history.someCheckpoint(h.rnd)
	place := barrier + 1 + uint64(h.rnd.IntN(placesAhead))
	log, err := h.js.Stream(h.within(patience), natsconn.WALStream(restored, 0))
	must(h.t, err)
	place = min(place, log.CachedInfo().State.LastSeq)
	what := h.rnd.IntN(8)
	if stores {
		what = 6 + h.rnd.IntN(2)
	}
	switch what {
	case 0, 1:
		r.To = epoch
	case 2:
		r.At = recovery.At(fmt.Sprint(time.Now().UnixMilli() - h.rnd.Int64N(1000)))
	case 3: // the end of the log
	case 4:
		r.At = recovery.At(fmt.Sprintf("seq:%d.%d", place, 1+h.rnd.IntN(3)))
	default:
		r.At, r.place = recovery.At(fmt.Sprintf("seq:%d", place)), place
	}
	switch what {
	case 1, 5:
		r.After = recovery.AfterHold
	case 6:
		r.After = recovery.AfterFork
	case 7:
		r.Components = []string{[]string{"sliding", "tumbling"}[h.rnd.IntN(2)]}
	}
	h.asked[r.After+strings.Join(r.Components, "")]++
	return r
}

// outcome is what the client knows about a request.
type outcome struct {
	result *recovery.RestoreResult // nil if the restore failed or its outcome is unknown
	failed string
	lost   bool // together with the process that ran it
}

func (o outcome) String() string {
	switch {
	case o.lost:
		return "lost"
	case o.failed != "":
		return "failed: " + o.failed
	}
	return fmt.Sprintf("generation %d", o.result.Generation)
}

// restore requests a restore and waits for its end.
func (h *havoc) restore(ask request) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), 2*patience)
	defer cancel()
	client := control.Client{Conn: h.nc, Service: recovery.ServiceName, Attempt: time.Second}
	at := &recovery.Job{}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	err := client.Do(ctx, recovery.VerbRestore, ask.RestoreRequest, at)
	for ; err == nil && at.State == "running"; <-tick.C {
		err = client.Do(ctx, recovery.VerbJob, recovery.JobRequest{Job: at.Job}, at)
	}
	switch {
	case control.Code(err) == control.CodeNotFound:
		return outcome{lost: true}
	case err != nil:
		return outcome{failed: "no outcome: " + err.Error()}
	case at.State != "done":
		return outcome{failed: at.Error}
	}
	o := outcome{result: &recovery.RestoreResult{}}
	if err := json.Unmarshal(at.Result, o.result); err != nil {
		return outcome{failed: err.Error()}
	}
	return o
}

// settle waits until the fate of a request is decided, and checks it against the reported outcome.
func (h *havoc) settle(before checkpoint.Generation, ask request, o outcome) {
	h.t.Helper()
	ctx := h.within(2 * patience)
	// Requests are executed one at a time: once this one is answered, none is in progress.
	if _, err := h.ctl.Restore(ctx, control.RestoreRequest{App: restored, Epoch: 1 << 40}); control.Code(err) != control.CodeNotFound {
		h.t.Fatalf("a restore to a checkpoint that is not there: %v", err)
	}
	// A committed checkpoint shows that no epoch is in progress, either. A held app makes none.
	eventually(h.t, "a checkpoint is made", func() bool {
		made, err := h.ctl.Trigger(ctx, control.AppRequest{App: restored})
		if err == nil && made.Committed {
			return true
		}
		a, err := h.ctl.App(ctx, control.AppRequest{App: restored})
		if err == nil && a.Held {
			if ask.After != recovery.AfterHold || a.Generation != before+1 {
				h.t.Fatalf("%s: generation %d is held", ask, a.Generation)
			}
			_, err = h.ctl.Release(ctx, control.AppRequest{App: restored})
			must(h.t, err)
		}
		return false
	})
	a, err := h.ctl.App(ctx, control.AppRequest{App: restored})
	must(h.t, err)
	now := a.Generation
	switch {
	case now != before && now != before+1:
		h.t.Fatalf("%s: generation %d came after %d", ask, now, before)
	case o.result != nil && (now != before+1 || o.result.Generation != now):
		h.t.Fatalf("%s: generation %d was reported as started, but the app is at %d, after %d", ask, o.result.Generation, now, before)
	case o.failed != "" && now != before:
		h.t.Fatalf("%s: generation %d started, although the restore reported: %s", ask, now, o.failed)
	}
	if o.failed != "" {
		h.refused[reason(o.failed)]++
	}
	if now == before+1 {
		h.history.record(now, ask, h.plannedFrom())
	}
}

// plannedFrom returns the checkpoint that the last plan loads, from the log of its process.
func (h *havoc) plannedFrom() state.Epoch {
	h.t.Helper()
	for _, p := range slices.Backward(h.begun) {
		log := p.log.String()
		if i := strings.LastIndex(log, " from checkpoint "); i >= 0 {
			var epoch state.Epoch
			if _, err := fmt.Sscanf(log[i:], " from checkpoint %d", &epoch); err == nil {
				return epoch
			}
		}
	}
	h.t.Fatal("no plan was logged")
	return 0
}

// reason returns an error without the parts that differ each time.
func reason(text string) string {
	text = strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return -1
		}
		return r
	}, text)
	return text[:min(len(text), 60)]
}

// rest waits until nothing is in progress, and checks everything.
func (h *havoc) rest() {
	h.t.Helper()
	h.history.awaitResults(h.pub.acknowledged())
	h.history.check(h.pub.acknowledged())
	h.checkCheckpoints()
	for name, p := range h.services {
		if dead(p) {
			h.t.Errorf("the %s has ended with code %d", name, p.code)
		}
	}
	for _, p := range h.begun {
		for _, bad := range []string{"task halted", "checkpoint cannot be used", "panic"} {
			if strings.Contains(p.log.String(), bad) {
				h.t.Errorf("a log says %q", bad)
			}
		}
	}
	h.checkBounds()
}

// checkCheckpoints verifies all retained checkpoints, and proves the newest.
func (h *havoc) checkCheckpoints() {
	h.t.Helper()
	ctx := h.within(4 * patience)
	list, err := h.ctl.Checkpoints(ctx, control.AppRequest{App: restored})
	must(h.t, err)
	for _, k := range list.Checkpoints {
		if k.State != "committed" {
			continue
		}
		var report control.VerifyReport
		err := h.ctl.Do(ctx, control.VerbVerify, control.CheckpointRequest{App: restored, Epoch: k.Epoch}, &report)
		if control.Code(err) == control.CodeNotFound {
			continue // retired in the meantime
		}
		must(h.t, err)
		if !report.Sound && h.isRetained(k.Epoch) {
			h.t.Errorf("checkpoint %d: %+v", k.Epoch, report.Problems)
		}
	}
	client := control.Client{Conn: h.nc, Service: recovery.ServiceName}
	at := &recovery.Job{}
	must(h.t, client.Do(ctx, recovery.VerbVerify, recovery.VerifyRequest{App: restored, Level: recovery.VerifyFull}, at))
	eventually(h.t, "the newest checkpoint is proved", func() bool {
		must(h.t, client.Do(ctx, recovery.VerbJob, recovery.JobRequest{Job: at.Job}, at))
		return at.State != "running"
	})
	var report recovery.VerifyReport
	if at.State == "failed" {
		h.t.Errorf("proof of the newest checkpoint: %s", at.Error)
		return
	}
	must(h.t, json.Unmarshal(at.Result, &report))
	if !report.Sound || !report.Proved {
		h.t.Errorf("proof of checkpoint %d: %+v, unproved: %s", report.Epoch, report.Problems, report.Unproved)
	}
}

func (h *havoc) isRetained(epoch state.Epoch) bool {
	h.t.Helper()
	list, err := h.ctl.Checkpoints(h.within(patience), control.AppRequest{App: restored})
	must(h.t, err)
	return slices.ContainsFunc(list.Checkpoints, func(k control.CheckpointInfo) bool { return k.Epoch == epoch && k.State == "committed" })
}

// checkBounds waits until store and log hold only what the checkpoints need.
func (h *havoc) checkBounds() {
	h.t.Helper()
	s, err := file.Open(h.store, slog.New(slog.DiscardHandler))
	must(h.t, err)
	var manifests, garbage int
	eventually(h.t, "the store is swept", func() bool {
		manifests, _, garbage = lookAtStore(h.t, s, 10*time.Second)
		return garbage == 0 && manifests <= 20*retained
	})
	oldest := h.history.oldestBarrier() // the next checkpoint makes it a later one
	eventually(h.t, "the log is trimmed", func() bool {
		log, err := h.js.Stream(h.within(patience), natsconn.WALStream(restored, 0))
		must(h.t, err)
		return log.CachedInfo().State.FirstSeq >= oldest
	})
}

// end publishes the rest, and checks everything once more.
func (h *havoc) end() {
	h.t.Helper()
	must(h.t, h.pub.run(h.url, len(h.pub.messages), 16))
	h.rest()
	var merger control.MergerStatus
	must(h.t, h.ctl.Ask(h.within(patience), control.MergerService, control.VerbMergerStatus, nil, &merger))
	h.t.Logf("deaths %v", h.died)
	h.t.Logf("restores asked for %v, refused %v", h.asked, h.refused)
	h.t.Logf("%d results of %d generations compared; the last merger made %d swaps and %d sweeps of %d objects; %.1f s",
		h.history.compared, h.history.generation(), merger.Swaps, merger.Sweeps, merger.SweptObjects, time.Since(h.began).Seconds())
	h.history.end()
}
