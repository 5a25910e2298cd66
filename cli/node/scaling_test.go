package node

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

const scaledApp = `@app:name('w') define stream S (k string, v int);
partition with (k of S) begin
@info(name='win') from S#window.length(2) select k, sum(v) as total insert into Sums;
@info(name='all') from S select k, count() as n insert into Out;
end;`

// scale gives app w another number of partitions, and waits until all of it runs.
func (c *chain) scale(partitions uint32) {
	c.t.Helper()
	s, err := c.node.control.Scale(c.within(), control.ScaleRequest{App: "w", Partitions: partitions})
	if err != nil {
		tasks, _ := c.nc.Request("ef.processor.tasks", nil, time.Second)
		c.t.Fatalf("%v\n%s", err, tasks.Data)
	}
	last := ""
	defer time.AfterFunc(20*time.Second, func() { c.t.Logf("still waiting: %s", last) }).Stop()
	for ctx := c.within(); ctx.Err() == nil; <-time.After(5 * time.Millisecond) {
		a, err := c.node.control.App(ctx, control.AppRequest{App: "w"})
		if err != nil {
			c.t.Fatal(err)
		}
		if a.Scaling == nil && a.Partitions != partitions {
			tasks, _ := c.nc.Request("ef.processor.tasks", nil, time.Second)
			c.t.Fatalf("not scaled to %d: %s; %+v\n%s", partitions, a.ScalingFailed, s, tasks.Data)
		}
		if a.Scaling == nil && len(a.Missing) == 0 {
			return
		}
		last = fmt.Sprintf("%+v %v", a.Scaling, a.Missing)
	}
	c.t.Fatalf("scale to %d: %s", partitions, last)
}

// insist publishes event i until it is acknowledged.
func (c *chain) insist(ctx context.Context, i int) {
	m := &nats.Msg{Subject: "events.S", Data: fmt.Appendf(nil, `{"k":"k%d","v":%d}`, i%7, i), Header: nats.Header{"Nats-Msg-Id": {fmt.Sprint("id", i)}}}
	for ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, 2*time.Second)
		answer, err := c.nc.RequestMsgWithContext(limited, m)
		cancel()
		if err == nil && !strings.Contains(string(answer.Data), `"error"`) {
			return
		}
		<-time.After(2 * time.Millisecond)
	}
}

// counts reads the results of all partitions that the app ever had, and checks that the n of
// each key count its events, each once, in order of generation.
func (c *chain) counts(partitions uint32, events int) {
	c.t.Helper()
	for ctx := c.within(); ; <-time.After(10 * time.Millisecond) {
		rows := map[string][][]int{} // by key and generation
		total := 0
		for p := range partitions {
			stream, err := c.js.Stream(ctx, natsconn.OutStream("w", p))
			if err != nil {
				c.t.Fatal(err)
			}
			consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject("w", "Out", p)}})
			if err != nil {
				c.t.Fatal(err)
			}
			info, err := consumer.Info(ctx)
			if err != nil {
				c.t.Fatal(err)
			}
			if info.NumPending == 0 {
				continue
			}
			batch, err := consumer.Fetch(int(info.NumPending))
			if err != nil {
				c.t.Fatal(err)
			}
			for m := range batch.Messages() {
				var row struct {
					K string
					N int
				}
				at, err2 := result.Parse(m.Headers().Get("Ef-Generation") + ":" + m.Headers().Get("Ef-Position"))
				if err := json.Unmarshal(m.Data(), &row); err != nil || err2 != nil {
					c.t.Fatal(err, err2)
				}
				for uint64(len(rows[row.K])) <= at.Generation {
					rows[row.K] = append(rows[row.K], nil)
				}
				rows[row.K][at.Generation] = append(rows[row.K][at.Generation], row.N)
				total++
			}
		}
		if total < events && ctx.Err() == nil {
			continue
		}
		for key, generations := range rows {
			next := 1
			for g, list := range generations {
				for _, n := range list {
					if n != next {
						c.t.Fatalf("key %s, generation %d: result %d, want %d; all: %v", key, g, n, next, generations)
					}
					next++
				}
			}
		}
		if total != events {
			c.t.Fatalf("%d results of %d events", total, events)
		}
		return
	}
}

// An app that is scaled under load, up and down, and killed in between, has each accepted event
// in the results once, in the order of its key.
func TestScalingOfALiveApp(t *testing.T) {
	t.Parallel()
	c := newChain(t, scaledApp)
	c.start()
	next := 0
	for _, partitions := range []uint32{3, 2, 1, 4} {
		ctx, stop := context.WithCancel(c.within())
		var publishing sync.WaitGroup
		publishing.Go(func() {
			for ctx.Err() == nil {
				c.insist(c.within(), next)
				next++
			}
		})
		<-time.After(20 * time.Millisecond)
		c.scale(partitions)
		stop()
		publishing.Wait()
		if partitions == 2 {
			c.trigger("w")
			c.insist(c.within(), next)
			next++
			c.kill()
			c.start()
		}
	}
	defer c.end()
	c.counts(4, next)
	for i := range next {
		c.insist(c.within(), i) // all are repetitions
	}
	c.insist(c.within(), next)
	c.counts(4, next+1)
}

// scaling waits until a scaling of an app has come to a step, and returns the app.
func (c *cluster) scaling(app string, done func(a *control.App) bool) (a control.App) {
	c.t.Helper()
	for ctx := c.within(); ctx.Err() == nil; <-time.After(5 * time.Millisecond) {
		var err error
		if a, err = c.ctl.App(ctx, control.AppRequest{App: app}); err == nil && done(&a) {
			return a
		}
	}
	c.t.Fatalf("app %s: scaling %+v, %s; missing %q", app, a.Scaling, a.ScalingFailed, a.Missing)
	return a
}

func logsClosed(a *control.App) bool {
	return a.Scaling != nil && a.Scaling.Step == "making a checkpoint"
}

func notScaled(a *control.App) bool { return a.Scaling == nil }

// A scaling whose tasks are away keeps the logs closed, and nothing else may change the app. It can
// be aborted, and then the app goes on as it was. When the tasks come back, the scaling is completed.
func TestScalingWaitsForTasks(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.set = func(cfg *config.Config) { cfg.Limits.PartitionsMax = 64 }
	c.start("", "checkpointer", "ingest")
	named := strings.Replace(spreadApp, "from S", "@info(name='q') from S", 1)
	const plain = "@app:name('plain') define stream P (v int); from P select sum(v) as total insert into Out;"
	for _, text := range []string{named, plain} {
		if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(what string, err error, says string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %q", what, err, says)
		}
	}
	scale := func(r control.ScaleRequest) error { _, err := c.ctl.Scale(c.within(), r); return err }
	refused("no partitions", scale(control.ScaleRequest{App: "spread"}), "cannot have 0 partitions")
	refused("many partitions", scale(control.ScaleRequest{App: "spread", Partitions: 65}), "expected 1 to 64 (limits.partitions_max")
	refused("another app", scale(control.ScaleRequest{App: "nobody", Partitions: 2}), "nobody")
	refused("an app without keys", scale(control.ScaleRequest{App: "plain", Partitions: 2}), "outside `partition with`")
	refused("nothing to abort", scale(control.ScaleRequest{App: "spread", Abort: true}), "is not being scaled")
	if s, err := c.ctl.Scale(c.within(), control.ScaleRequest{App: "spread", Partitions: 4}); err != nil || s.Scaling != nil {
		t.Errorf("the number that it has: %+v, %v", s.Scaling, err)
	}
	if s, err := c.ctl.Scale(c.within(), control.ScaleRequest{App: "plain", Partitions: 2, Plan: true}); err != nil || !strings.Contains(s.Refused, "outside") {
		t.Errorf("a plan: %+v, %v", s, err)
	}

	c.publish(0, 20)
	if err := scale(control.ScaleRequest{App: "spread", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	c.scaling("spread", logsClosed)
	refused("another number", scale(control.ScaleRequest{App: "spread", Partitions: 3}), "is being scaled to 2 partitions")
	_, err := c.ctl.Upgrade(c.within(), control.UpgradeRequest{Text: strings.Replace(named, "length(3)", "length(4)", 1)})
	refused("an upgrade", err, "is being scaled to 2 partitions")
	answer, err := c.nc.Request("events.S", []byte(`{"k":"a","v":1}`), 10*time.Second)
	if err != nil || !strings.Contains(string(answer.Data), "the number of its partitions is being changed; publish again in a moment") {
		t.Errorf("an event: %s, %v", answer.Data, err)
	}
	if err := scale(control.ScaleRequest{App: "spread", Abort: true}); err != nil {
		t.Fatal(err)
	}
	if a := c.scaling("spread", notScaled); a.Partitions != 4 || !strings.Contains(a.ScalingFailed, "aborted by a request") {
		t.Errorf("after the abort: %d partitions, %s", a.Partitions, a.ScalingFailed)
	}

	c.publish(20, 40)
	if err := scale(control.ScaleRequest{App: "spread", Partitions: 2}); err != nil {
		t.Fatal(err)
	}
	c.scaling("spread", logsClosed)
	c.start("late", "processor")
	if a := c.scaling("spread", notScaled); a.Partitions != 2 {
		t.Fatalf("not scaled: %s", a.ScalingFailed)
	}
	c.publish(40, 60)
	want, last := map[string][]string{}, map[int][]int{}
	for i := range 60 {
		key := i % 23
		last[key] = append(last[key], i)
		sum := 0
		for _, v := range last[key][max(0, len(last[key])-3):] {
			sum += v
		}
		name := fmt.Sprintf(`{"k":"k%d"`, key)
		want[name] = append(want[name], fmt.Sprintf(`%s,"total":%d}`, name, sum))
	}
	got := c.awaitResults("spread", 4, 60)
	for _, rows := range [](map[string][]string){got, want} {
		for _, list := range rows { // of two generations
			slices.Sort(list)
		}
	}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("results %v, want %v", got, want)
	}

	// A rollback keeps the number of partitions.
	next := strings.NewReplacer("length(3)", "length(4)", "partitions('4')", "partitions('2')").Replace(named)
	for _, r := range []control.UpgradeRequest{{Text: next}, {App: "spread"}} {
		u, err := c.ctl.Upgrade(c.within(), r)
		if err != nil {
			t.Fatal(err)
		}
		c.scaling("spread", func(a *control.App) bool { return a.Version == u.To && len(a.Missing) == 0 })
	}
	a := c.scaling("spread", notScaled)
	if a.Version != 4 || a.Partitions != 2 || a.Text != strings.Replace(named, "partitions('4')", "partitions('2')", 1) {
		t.Errorf("after a rollback, version %d has %d partitions:\n%s", a.Version, a.Partitions, a.Text)
	}
}
