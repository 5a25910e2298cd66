package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// ask sends a request to the node's recovery service.
func (c *chain) ask(verb string, request, answer any) error {
	c.t.Helper()
	client := &control.Client{Conn: c.nc, Service: recovery.ServiceName, Attempt: time.Minute}
	return client.Do(c.within(), verb, request, answer)
}

// finished waits until a job has ended, and returns it.
func (c *chain) finished(verb string, request any) *recovery.Job {
	c.t.Helper()
	at := &recovery.Job{}
	if err := c.ask(verb, request, at); err != nil {
		c.t.Fatal(err)
	}
	for ctx := c.within(); ctx.Err() == nil; <-time.After(2 * time.Millisecond) {
		id := at.Job
		if at = (&recovery.Job{}); c.ask(recovery.VerbJob, recovery.JobRequest{Job: id}, at) != nil || at.State != "running" {
			return at
		}
	}
	c.t.Fatalf("the job still runs: %+v", at)
	return nil
}

func (c *chain) verifyFull(app string, epoch uint64) *recovery.VerifyReport {
	c.t.Helper()
	at := c.finished(recovery.VerbVerify, map[string]any{"app": app, "epoch": epoch, "level": "full"})
	report := &recovery.VerifyReport{}
	if err := json.Unmarshal(at.Result, report); err != nil {
		c.t.Fatalf("%+v: %v", at, err)
	}
	return report
}

func (c *chain) state(request recovery.StateRequest) *recovery.State {
	c.t.Helper()
	answer := &recovery.State{}
	if err := c.ask(recovery.VerbState, request, answer); err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// The state of a live task can be read as of the end of its log, a checkpoint or any event,
// without effect on the task.
func TestStateOfALiveTask(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	defer c.end()
	c.publishAll(0, 60)
	first := c.trigger("w")
	c.publishAll(60, 100)
	c.rows("w", 100)
	total := func(target recovery.Target) string {
		got := c.state(recovery.StateRequest{App: "w", Component: "query1/aggregate", Target: target})
		return string(got.Partitions[0].Items[0].Value)
	}
	sum := func(from, to int) (n int) {
		for i := from; i < to; i++ {
			n += i * i % 101
		}
		return n
	}
	if got, want := total(recovery.Target{}), fmt.Sprintf(`"total":%d`, sum(50, 100)); !strings.Contains(got, want) {
		t.Errorf("at the end it is %s, want %s", got, want)
	}
	if got, want := total(recovery.Target{To: first}), fmt.Sprintf(`"total":%d`, sum(10, 60)); !strings.Contains(got, want) {
		t.Errorf("at the checkpoint it is %s, want %s", got, want)
	}
	rows := c.state(recovery.StateRequest{App: "w", Component: "query1/window"}).Partitions[0]
	if len(rows.Items) != 50 || !strings.Contains(string(rows.Items[49].Value), fmt.Sprintf(`"v":%d`, 99*99%101)) {
		t.Errorf("%d rows, %+v", len(rows.Items), rows.Items[len(rows.Items)-1])
	}
	_, m := c.manifest(first)
	for _, k := range m.Partitions[0].Components {
		if got := c.state(recovery.StateRequest{App: "w", Component: k.ID, Target: recovery.Target{To: first}}).Partitions[0]; got.Digest != k.Digest {
			t.Errorf("%s has the digest %s, the checkpoint %s", k.ID, got.Digest, k.Digest)
		}
	}
	if got := c.task("running"); got.Events != 100 || got.Results != 100 {
		t.Errorf("the live task: %+v", got)
	}
}

// A checkpoint is proved from the previous one, or from the start of the log. If neither
// exists, it is reported as unproved.
func TestVerifyFull(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.cfg.Retention.Checkpoints, c.cfg.Retention.Span = 2, time.Millisecond
	c.start()
	defer c.end()
	c.publishAll(0, 60)
	first := c.trigger("w")
	c.publishAll(60, 100)
	second := c.trigger("w")
	if got := c.verifyFull("w", uint64(second)); !got.Proved || got.From != first || got.Events != 40 {
		t.Errorf("the second: %+v", got)
	}
	c.publishAll(100, 110)
	third := c.trigger("w")
	deadline := c.within()
	for got := c.verifyFull("w", uint64(second)); ; got = c.verifyFull("w", uint64(second)) {
		if !got.Proved && got.Sound && strings.Contains(got.Unproved, "trigger") {
			break // the first one and the log before the second are gone
		}
		if deadline.Err() != nil {
			t.Fatalf("%+v", got)
		}
	}
	c.flipRun(third, "query1/window")
	if got := c.verifyFull("w", uint64(third)); got.Sound || got.Problems[0].Component != "query1/window" {
		t.Errorf("damaged: %+v", got)
	}
	plan := &recovery.Plan{}
	if err := c.ask(recovery.VerbPlan, recovery.PlanRequest{App: "w"}, plan); err != nil || plan.Checkpoint != second || len(plan.PassedOver) != 1 {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
	if err := c.ask(recovery.VerbPlan, recovery.PlanRequest{App: "w", Target: recovery.Target{To: third}}, plan); err != nil || plan.Next != fmt.Sprintf("eventflux recover w --to %d", second) {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
}

// Which events count depends on dedup.window, so an app keeps the value that it was deployed with.
// If the setting changes later, a repeat within the app's own window still does not count, and the
// checkpoint still equals a replay of the log.
func TestAppKeepsItsDedupWindow(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	c.publishAll(0, 30)
	c.trigger("w")
	c.end()
	c.cfg.Dedup.Window = time.Millisecond
	c.start()
	defer c.end()
	c.publishAll(0, 60)
	epoch := c.trigger("w")
	if got := c.verifyFull("w", uint64(epoch)); !got.Sound || !got.Proved {
		t.Errorf("%+v", got)
	}
	c.rows("w", 60)
	plan := &recovery.Plan{}
	if err := c.ask(recovery.VerbPlan, recovery.PlanRequest{App: "w"}, plan); err != nil || plan.DedupWindow != config.Default().Dedup.Window.Milliseconds() {
		t.Errorf("the plan is %+v, %v", plan, err)
	}
}

// A diff shows what changed, and which events changed it.
func TestDiffExplains(t *testing.T) {
	t.Parallel()
	c := newChain(t, `@app:name('w') define stream S (k string, v int);
		from S select k, sum(v) as total group by k insert into Out;`)
	c.start()
	defer c.end()
	c.publishAll(0, 30)
	first := c.trigger("w")
	c.publishAll(30, 36)
	second := c.trigger("w")
	diff := &recovery.Diff{}
	if err := c.ask(recovery.VerbDiff, recovery.DiffRequest{App: "w", From: first, To: second, Explain: "k1"}, diff); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(diff.Components, func(d recovery.ComponentDiff) bool { return d.Component == "query1/aggregate" })
	if got := diff.Components[i]; got.Changed != 3 || got.Added != 0 || len(got.Changes) != 3 {
		t.Errorf("%+v", got)
	}
	if len(diff.Explained) != 2 {
		t.Fatalf("%+v", diff.Explained)
	}
	for n, i := range []int{31, 34} {
		if got := diff.Explained[n]; string(got.Events[0]) != fmt.Sprintf(`{"k":"k1","v":%d}`, i*i%101) || got.Stream != "S" {
			t.Errorf("%+v, %s", got, got.Events)
		}
	}
}

// State can be read while new checkpoints trim the log: a read that was planned before such a
// checkpoint starts again.
func TestStateWhileLogsAreTrimmed(t *testing.T) {
	c := newChain(t, windowApp)
	c.cfg.Retention.Checkpoints, c.cfg.Retention.Span = 1, time.Millisecond
	c.start()
	defer c.end()
	c.publishAll(0, 60)
	c.rows("w", 60)
	asking := make(chan error, 1)
	stop := make(chan struct{})
	go func() {
		defer close(asking)
		for {
			select {
			case <-stop:
				return
			default:
			}
			client := &control.Client{Conn: c.nc, Service: recovery.ServiceName, Attempt: time.Minute}
			answer := &recovery.State{}
			if err := client.Do(c.within(), recovery.VerbState, recovery.StateRequest{App: "w", Component: "query1/window"}, answer); err != nil {
				asking <- err
				return
			}
		}
	}()
	for n := range 30 {
		c.publishAll(60+n, 61+n)
		c.trigger("w")
	}
	close(stop)
	if err := <-asking; err != nil {
		t.Error(err)
	}
}
