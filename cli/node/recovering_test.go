package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// restorer records the restores that it is asked for.
type restorer struct {
	mu    sync.Mutex
	asked []control.RestoreRequest
	err   error
}

func (r *restorer) Restore(_ context.Context, request control.RestoreRequest) (control.Restored, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asked = append(r.asked, request)
	return control.Restored{Generation: 2, Epoch: 99}, r.err
}

func (r *restorer) last() control.RestoreRequest {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.asked[len(r.asked)-1]
}

// withRestorer makes the chain's node ask the restorer instead of the checkpointer.
func withRestorer(c *chain) *restorer {
	r := &restorer{}
	withRecovery(c, func(cfg *recovery.Config) { cfg.Restorer = r })
	return r
}

// withRecovery changes the configuration of the recovery service of the chain's node.
func withRecovery(c *chain, change func(*recovery.Config)) {
	c.adapt = func(n *Node) {
		cfg := n.recoveryConfig(n.conns[len(n.conns)-1])
		change(&cfg)
		var err error
		if n.recovery, err = recovery.New(cfg); err != nil {
			c.t.Fatal(err)
		}
	}
}

const twoQueries = `@app:name('w') define stream S (k string, v int);
	@info(name='win') from S#length(20) select k, sum(v) as total insert into Mid;
	@info(name='all') from S select k, count() as n group by k insert into Out;`

// digestsAt returns the digests of all components of app w as of a target, by id.
func (c *chain) digestsAt(target recovery.Target) map[string]state.Digest {
	c.t.Helper()
	_, m := c.manifest(c.newest())
	digests := map[string]state.Digest{}
	for _, k := range m.Partitions[0].Components {
		digests[k.ID] = c.state(recovery.StateRequest{App: "w", Component: k.ID, Target: target}).Partitions[0].Digest
	}
	return digests
}

func (c *chain) newest() state.Epoch {
	c.t.Helper()
	list, err := c.node.control.Checkpoints(c.within(), control.AppRequest{App: "w"})
	if err != nil || len(list.Checkpoints) == 0 {
		c.t.Fatal(list, err)
	}
	return list.Checkpoints[0].Epoch
}

// restore runs a restore and returns its job and result.
func (c *chain) restore(request recovery.RestoreRequest) (*recovery.Job, *recovery.RestoreResult) {
	c.t.Helper()
	at := c.finished(recovery.VerbRestore, request)
	result := &recovery.RestoreResult{}
	if err := json.Unmarshal(at.Result, result); err != nil {
		c.t.Fatalf("%+v: %v", at, err)
	}
	return at, result
}

// A component that is restored alone gets its state at the instant, and the others do not change. A
// fork includes all components that are not bound to the log.
func TestRestoreOfComponents(t *testing.T) {
	t.Parallel()
	c := newChain(t, twoQueries)
	asked := withRestorer(c)
	c.start()
	defer c.end()
	c.publishAll(0, 30)
	c.trigger("w")
	c.publishAll(30, 50)
	target := recovery.Target{At: recovery.At(fmt.Sprintf("seq:%d", c.logEnd()-5))}
	c.publishAll(50, 60)
	newest := c.trigger("w")
	want := c.digestsAt(target)
	for name, x := range map[string]struct {
		components []string
		after      string
		replaced   []string
	}{
		"window":   {[]string{"win/window"}, recovery.AfterResume, []string{"win/window"}},
		"query":    {[]string{"0/win"}, recovery.AfterHold, []string{"win/aggregate", "win/window"}},
		"operator": {nil, recovery.AfterFork, []string{"all/aggregate", "clock", "win/aggregate", "win/window"}},
	} {
		t.Run(name, func(t *testing.T) {
			at, result := c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{
				App: "w", Target: target, Components: x.components, After: x.after, Verify: recovery.VerifyFull,
			}})
			if at.State != "done" || result.Generation != 2 || result.Plan.Onto != newest {
				t.Fatalf("%+v, %+v", at, result)
			}
			r := asked.last()
			var replaced []string
			for _, k := range r.Components[0] {
				replaced = append(replaced, k.ID)
				if k.Digest != want[k.ID] {
					t.Errorf("%s has the digest %s, want %s", k.ID, k.Digest, want[k.ID])
				}
				entries, err := checkpoint.LoadChain(c.within(), c.node.store, k.Runs, 1)
				if err != nil || state.DigestOf(entries) != k.Digest {
					t.Errorf("%s is stored as %v, %v", k.ID, entries, err)
				}
			}
			slices.Sort(replaced)
			if !slices.Equal(replaced, x.replaced) || r.Epoch != newest || (r.After == control.Hold) != (x.after == recovery.AfterHold) || len(r.Starts) > 0 {
				t.Errorf("replaced %q, %+v", replaced, r)
			}
		})
	}
	c.refused(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Components: []string{"log/writers"}}}, "leave --components out")
	c.refused(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Components: []string{"wim"}}}, "there are S/ids, all/aggregate")
}

// State that is newer than a checkpoint cannot be put into it: it would count events twice, and
// refer to keys that the checkpoint lacks.
func TestRestoreOfComponentsAheadOfTheCheckpoint(t *testing.T) {
	t.Parallel()
	c := newChain(t, `@app:name('w') define stream S (k string, v int);
		partition with (k of S) begin
			@info(name='q') from S#window.length(9) select k, count() as n insert into Out;
		end;`)
	c.start()
	defer c.end()
	c.publishAll(0, 2)
	if at := c.finished(recovery.VerbRestore, c.whole(recovery.Target{})); at.State != "failed" || at.Next != "eventflux checkpoint trigger w" {
		t.Errorf("without a checkpoint: %+v", at)
	}
	c.trigger("w")
	c.publishAll(2, 10) // the third key is new
	part := recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Components: []string{"q"}}}
	c.refused(part, "the target is after the newest checkpoint")
	c.refused(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", After: recovery.AfterFork}}, "the target is after the newest checkpoint")
	newest := c.trigger("w")
	want := c.digestsAt(recovery.Target{})
	if at, result := c.restore(part); at.State != "done" || result.Plan.Onto != newest {
		t.Fatalf("%+v, %+v", at, result)
	}
	c.runs(2)

	// The first checkpoint of a generation has the state of the checkpoint before the target.
	back := recovery.Target{At: recovery.At(fmt.Sprintf("seq:%d", c.logEnd()-3))}
	if at, result := c.restore(c.whole(back)); at.State != "done" || result.Generation != 3 {
		t.Fatalf("%+v, %+v", at, result)
	}
	c.runs(3)
	part.Target = recovery.Target{To: newest}
	c.refused(part, "the target is after the newest checkpoint")
	c.trigger("w")
	if at, _ := c.restore(part); at.State != "done" {
		t.Fatalf("%+v", at)
	}
	c.runs(4)
	if got := c.digestsAt(recovery.Target{}); got["q/window"] != want["q/window"] || got["q/aggregate"] != want["q/aggregate"] {
		t.Errorf("there is %v, want %v", got, want)
	}
}

// refused runs a restore that must be refused.
func (c *chain) refused(request recovery.RestoreRequest, want string) {
	c.t.Helper()
	if at := c.finished(recovery.VerbRestore, request); at.State != "failed" || !strings.Contains(at.Error, want) {
		c.t.Errorf("%+v, want %q", at, want)
	}
}

func (c *chain) logEnd() uint64 {
	c.t.Helper()
	log, err := c.js.Stream(c.within(), natsconn.WALStream("w", 0))
	if err != nil {
		c.t.Fatal(err)
	}
	return log.CachedInfo().State.LastSeq
}

// A whole app is restored to a checkpoint, an instant or the end of the log. The restore starts
// from the checkpoint before the target, or from an older one if that is damaged, and reports
// progress.
func TestRestoreOfAnApp(t *testing.T) {
	t.Parallel()
	c := newChain(t, twoQueries)
	asked := withRestorer(c)
	c.start()
	defer c.end()
	c.publishAll(0, 30)
	first := c.trigger("w")
	c.publishAll(30, 50)
	between := c.state(recovery.StateRequest{App: "w", Component: "clock"}).Partitions[0]
	for time.Now().UnixMilli() <= between.Clock { // the next event has a later time
		<-time.After(time.Millisecond)
	}
	c.publishAll(50, 60)
	second := c.trigger("w")
	c.publishAll(60, 65)

	progress, err := c.nc.SubscribeSync(natsconn.JobSubject("*"))
	if err != nil {
		t.Fatal(err)
	}
	if _, result := c.restore(c.whole(recovery.Target{To: first})); result.Epoch != 99 || asked.last().Epoch != first || len(asked.last().Starts) > 0 {
		t.Errorf("to the first: %+v", asked.last())
	}
	c.restore(c.whole(recovery.Target{At: recovery.At(fmt.Sprint(between.Clock))}))
	if r := asked.last(); r.Epoch != first || len(r.Starts) != 1 || r.Starts[0].Sequence != between.At.Sequence {
		t.Errorf("to the instant %d, at %s: %+v", between.Clock, between.At, r)
	}
	c.restore(c.whole(recovery.Target{}))
	if r := asked.last(); r.Epoch != second || r.Starts[0].Sequence != c.logEnd() {
		t.Errorf("to the end: %+v", r)
	}
	if got := phases(t, progress); !slices.Contains(got, "verify") || got[len(got)-1] != "done" {
		t.Errorf("phases %q", got)
	}
	before := len(asked.asked)
	plan := &recovery.Plan{}
	dry := c.whole(recovery.Target{})
	dry.DryRun = true
	if err := c.ask(recovery.VerbRestore, dry, plan); err != nil || plan.Checkpoint != second || len(asked.asked) != before {
		t.Errorf("dry run: %+v, %v", plan, err)
	}
	if plan.Partitions[0].Events != 5 || plan.Objects == 0 || plan.Basis == "" {
		t.Errorf("%+v", plan)
	}

	// Only a full read finds a damaged block.
	c.flipRun(second, "win/window")
	_, result := c.restore(c.whole(recovery.Target{}))
	if r := asked.last(); r.Epoch != first || result.Plan.PassedOver[0].Epoch != second {
		t.Errorf("past the damage: %+v, %+v", r, result.Plan)
	}
	at, _ := c.restore(c.whole(recovery.Target{To: second}))
	if at.State != "failed" || at.Next != fmt.Sprintf("eventflux recover w --to %d", first) {
		t.Errorf("to what is damaged: %+v", at)
	}
	asked.err = errors.New("the leader has gone")
	if at, _ := c.restore(c.whole(recovery.Target{To: first})); at.State != "failed" || !strings.Contains(at.Error, "the leader has gone") {
		t.Errorf("%+v", at)
	}
	c.refused(c.whole(recovery.Target{At: "seq:100000"}), "the log ends at")
	c.refused(c.whole(recovery.Target{At: "tomorrow"}), "is not an instant")
	c.refused(c.whole(recovery.Target{To: 77}), "no checkpoint 77")
}

func (c *chain) whole(target recovery.Target) recovery.RestoreRequest {
	return recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: target}}
}

// phases returns the phases that were published so far.
func phases(t *testing.T, s *nats.Subscription) []string {
	t.Helper()
	seen := map[string]bool{}
	var list []string
	for {
		m, err := s.NextMsg(20 * time.Millisecond)
		if err != nil {
			if len(slices.Collect(maps.Keys(seen))) == 0 {
				t.Fatal(err)
			}
			return list
		}
		var at recovery.Job
		if err := json.Unmarshal(m.Data, &at); err != nil {
			t.Fatal(err)
		}
		if list = append(list, at.Phase); !seen[at.Phase] {
			seen[at.Phase] = true
		}
	}
}

// The real services restore an app: it then has the state at the target, and continues from there.
// Verify reports assembled state as unproved.
func TestRecoveryIsACheckpoint(t *testing.T) {
	t.Parallel()
	c := newChain(t, twoQueries)
	c.start()
	defer c.end()
	c.publishAll(0, 30)
	first := c.trigger("w")
	c.publishAll(30, 50)
	at := c.logEnd() - 3
	target := recovery.Target{At: recovery.At(fmt.Sprintf("seq:%d", at))}
	c.publishAll(50, 60)
	second := c.trigger("w")
	want := c.digestsAt(target)

	job, result := c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: target, After: recovery.AfterHold}})
	if job.State != "done" || result.Generation != 2 || result.Plan.Checkpoint != first {
		t.Fatalf("%+v, %+v", job, result)
	}
	if got := c.task("held"); got.Applied != at {
		t.Errorf("held at %d, want %d", got.Applied, at)
	}
	if got := c.digestsAt(target); !maps.Equal(got, want) {
		t.Errorf("generation 2 has %v at the target, want %v", got, want)
	}
	if got := c.verifyFull("w", uint64(result.Epoch)); !got.Sound {
		t.Errorf("the first of generation 2: %+v", got)
	}
	if _, err := c.node.control.Release(c.within(), control.AppRequest{App: "w"}); err != nil {
		t.Fatal(err)
	}
	c.runs(2)
	third := c.trigger("w")
	if got := c.verifyFull("w", uint64(third)); !got.Proved || got.From != result.Epoch {
		t.Errorf("the next of generation 2: %+v", got)
	}
	if got := c.verifyFull("w", uint64(second)); !got.Proved || got.From != first {
		t.Errorf("the last of generation 1: %+v", got)
	}

	// A fork continues counting from the state at the target.
	count := func(target recovery.Target) string {
		got := c.state(recovery.StateRequest{App: "w", Component: "all/aggregate", Key: "k1", Target: target})
		return string(got.Partitions[0].Items[0].Value)
	}
	before := count(target)
	job, result = c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: target, After: recovery.AfterFork}})
	if job.State != "done" || result.Generation != 3 || result.Plan.Onto != third {
		t.Fatalf("%+v, %+v", job, result)
	}
	c.runs(3)
	if got := count(recovery.Target{To: result.Epoch}); got != before {
		t.Errorf("the fork starts with %s, want %s", got, before)
	}
	if got := c.verifyFull("w", uint64(result.Epoch)); !got.Sound || got.Proved || !strings.Contains(got.Unproved, "a restore replaced some of its components") {
		t.Errorf("the fork: %+v", got)
	}
	c.publishAll(60, 70)
	fourth := c.trigger("w")
	if got := c.verifyFull("w", uint64(fourth)); !got.Proved || got.From != result.Epoch {
		t.Errorf("after the fork: %+v", got)
	}

	// Restoring one component leaves the others unchanged.
	job, result = c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{
		App: "w", Target: recovery.Target{To: result.Epoch}, Components: []string{"all/aggregate"}, Verify: recovery.VerifyNone,
	}})
	if job.State != "done" || result.Plan.Onto != fourth {
		t.Fatalf("%+v, %+v", job, result)
	}
	_, whole := c.manifest(fourth)
	_, now := c.manifest(result.Epoch)
	for i, k := range now.Partitions[0].Components {
		if before := whole.Partitions[0].Components[i]; (k.ID == "all/aggregate") == (k.Digest == before.Digest) {
			t.Errorf("%s had the digest %s, and has %s", k.ID, before.Digest, k.Digest)
		}
	}
	c.runs(4)

	// A damaged first checkpoint of a generation proves nothing about later ones, and neither does
	// a checkpoint from before the generation.
	c.publishAll(70, 75)
	last := c.trigger("w")
	file, _ := c.manifest(result.Epoch)
	flip(t, file)
	if got := c.verifyFull("w", uint64(last)); !got.Sound || got.Proved || got.Unproved == "" {
		t.Errorf("after a damaged first checkpoint: %+v", got)
	}
}

// runs waits until the task of app w runs in the generation.
func (c *chain) runs(generation uint64) {
	c.t.Helper()
	for ctx := c.within(); c.task("running").Generation != generation; <-time.After(2 * time.Millisecond) {
		if ctx.Err() != nil {
			c.t.Fatalf("generation %d does not run", generation)
		}
	}
}

// Each partition has its own log, clock and positions.
func TestRecoveryOfPartitions(t *testing.T) {
	t.Parallel()
	c := newChain(t, `@app:name('w') @app:partitions('3') define stream S (k string, v int);
		partition with (k of S) begin
			@info(name='q') from S#length(4) select k, sum(v) as total insert into Out;
		end;`)
	asked := withRestorer(c)
	c.start()
	defer c.end()
	c.publishAll(0, 30)
	first := c.trigger("w")
	c.publishAll(30, 60)
	second := c.trigger("w")
	if got := c.verifyFull("w", uint64(second)); !got.Proved || got.From != first || got.Events != 30 {
		t.Errorf("%+v", got)
	}
	all := c.state(recovery.StateRequest{App: "w", Component: "q/aggregate"})
	groups, home := 0, uint32(0)
	for _, p := range all.Partitions {
		for _, i := range p.Items {
			groups++
			if i.Key == "k1" {
				home = p.Partition
			}
		}
	}
	if len(all.Partitions) != 3 || groups != 3 {
		t.Fatalf("%+v", all)
	}
	one := fmt.Sprintf("%d/q/aggregate", home)
	if got := c.state(recovery.StateRequest{App: "w", Component: one, Key: "k1"}); len(got.Partitions) != 1 || len(got.Partitions[0].Items) != 1 {
		t.Errorf("%+v", got)
	}
	diff := &recovery.Diff{}
	if err := c.ask(recovery.VerbDiff, recovery.DiffRequest{App: "w", From: first, To: second, Components: []string{one}, Explain: "k1"}, diff); err != nil || len(diff.Explained) != 10 {
		t.Errorf("%+v, %v", diff, err)
	}
	at, _ := c.restore(recovery.RestoreRequest{PlanRequest: recovery.PlanRequest{App: "w", Target: recovery.Target{To: first}, Components: []string{one}}})
	if r := asked.last(); at.State != "done" || len(r.Components) != 1 || len(r.Components[home]) != 3 { // the window that it aggregates is pulled in, and the keys of both
		t.Errorf("%+v, %+v", at, r)
	}
	c.refused(c.whole(recovery.Target{At: "seq:3"}), "3 partitions")
	if at, _ := c.restore(c.whole(recovery.Target{At: recovery.At(fmt.Sprint(time.Now().UnixMilli()))})); at.State != "done" || len(asked.last().Starts) != 3 {
		t.Errorf("%+v, %+v", at, asked.last())
	}
}
