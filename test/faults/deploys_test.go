package faults

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

var (
	rounds     = flag.Int("deploys", 2, "number of deploys, and of removals, under load")
	partitions = flag.Int("partitions", 16, "number of partitions of the app that is deployed")
)

// apps returns the names of the deployed apps.
func (o *operator) apps() (names []string) {
	o.t.Helper()
	list, err := o.ctl.Apps(o.within())
	must(o.t, err)
	for _, a := range list.Apps {
		names = append(names, a.Name)
	}
	return names
}

// TestKillAtDeploysAndRemovals kills the process between each two steps of a deployment and of a
// removal. After the next start the app is either fully deployed or absent, and can be deployed
// again without leftovers. Another app gets each result exactly once.
func TestKillAtDeploysAndRemovals(t *testing.T) {
	const parts = 3
	data := t.TempDir()
	other, late := write(t, "other.siddhi", counting("Other", 1, "Orders")), write(t, "late.siddhi", counting("Late", parts, "Lates"))
	published := 0
	begin := func() *operator {
		t.Helper()
		o := operate(serving(t, data, other, "--checkpoint.interval=1h")) // a checkpoint would trim the first frame
		o.accepted("events.Orders", `{"k":1}`)
		published++
		return o
	}
	// killed arms a fault point, sends a request, and waits until the process has died.
	killed := func(o *operator, rule string, do func(context.Context) error) {
		t.Helper()
		o.p.arm("kill " + rule)
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- do(ctx) }()
		if code := o.p.end(); code != -1 {
			t.Fatalf("%s: ended with code %d", rule, code)
		}
		cancel()
		<-ended // a removal may be answered before the process dies
	}
	// works publishes to the deployed app, and checks that its state and log start empty.
	works := func(o *operator, when string) {
		t.Helper()
		a, err := o.ctl.App(o.within(), control.AppRequest{App: "Late"})
		must(t, err)
		o.checkFirstFrames(&a)
		for k := range 10 {
			o.accepted("events.Lates", fmt.Sprintf(`{"k":%d}`, k))
		}
		if ones := o.ints("Late", "n", parts, 10); len(ones) != 10 || slices.Max(ones) != 1 {
			t.Errorf("%s: results %v, want ten of 1", when, ones)
		}
	}
	gone := func(o *operator, when string) {
		t.Helper()
		if names := o.apps(); slices.Contains(names, "Late") {
			t.Fatalf("%s: the apps are %v", when, names)
		}
		for name := range o.js.StreamNames(o.within()).Name() {
			if slices.Contains(natsconn.AppStreams("Late", parts), name) {
				t.Errorf("%s: stream %s is left", when, name)
			}
		}
		if left := manifests(data, "Late"); left > 0 {
			t.Errorf("%s: %d checkpoints are left", when, left)
		}
	}
	deploy := func(o *operator) { t.Helper(); o.command("app", "deploy", late) }
	text, err := os.ReadFile(late)
	must(t, err)

	var rules []string
	for _, p := range faultpoint.OfDeploy {
		rules = append(rules, fmt.Sprintf("%s 1", p))
	}
	for _, rule := range some(append(rules, fmt.Sprintf("%s 2", faultpoint.DeployFrame), fmt.Sprintf("%s %d", faultpoint.DeployFrame, parts))) {
		o := begin()
		killed(o, rule, func(ctx context.Context) error {
			_, err := o.ctl.Deploy(ctx, control.DeployRequest{Text: string(text)})
			return err
		})
		o = begin()
		if known := slices.Contains(o.apps(), "Late"); known != !strings.HasPrefix(rule, string(faultpoint.DeployStreams)) {
			t.Fatalf("%s: the app is known: %v", rule, known)
		} else if known {
			eventually(t, "the app is served that was deployed as "+rule, func() bool {
				a, err := o.ctl.App(o.within(), control.AppRequest{App: "Late"})
				must(t, err)
				return len(a.Missing) == 0
			})
		}
		deploy(o)
		works(o, rule)
		o.command("app", "rm", "Late", "--yes")
		gone(o, rule)
		o.p.stop()
	}

	rules = nil
	for _, p := range faultpoint.OfRemove {
		rules = append(rules, fmt.Sprintf("%s 1", p))
	}
	for _, rule := range some(append(rules, fmt.Sprintf("%s 2", faultpoint.RemoveStream), fmt.Sprintf("%s %d", faultpoint.RemoveStream, len(natsconn.AppStreams("Late", parts))))) {
		o := begin()
		deploy(o)
		works(o, rule)
		o.command("checkpoint", "trigger", "Late")
		if manifests(data, "Late") == 0 {
			t.Fatalf("%s: there is no checkpoint", rule)
		}
		killed(o, rule, func(ctx context.Context) error {
			return o.ctl.Do(ctx, control.VerbRemove, control.AppRequest{App: "Late"}, nil)
		})
		o = begin()
		eventually(t, "the removal is complete that was killed at "+rule, func() bool { return !slices.Contains(o.apps(), "Late") })
		gone(o, rule)
		deploy(o)
		works(o, rule)
		o.command("app", "rm", "Late", "--yes")
		o.p.stop()
	}

	o := begin()
	got := o.ints("Other", "n", 1, published)
	for i := range got {
		if got[i] != int64(i+1) {
			t.Fatalf("result %d of the other app is %d", i+1, got[i])
		}
	}
	if len(got) != published {
		t.Errorf("%d results of the other app, want %d", len(got), published)
	}
	o.p.stop()
}

// some returns every fifth step in short mode, and all of them in long mode.
func some(steps []string) []string {
	if !testing.Short() {
		return steps
	}
	var chosen []string
	for i := 0; i < len(steps); i += 5 {
		chosen = append(chosen, steps[i])
	}
	return chosen
}

// manifests counts the manifests of an app in the store.
func manifests(data, app string) (n int) {
	_ = filepath.WalkDir(filepath.Join(data, "checkpoints", "apps", app, "checkpoints"), func(_ string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			n++
		}
		return nil // files that are gone do not count
	})
	return n
}

// checkFirstFrames checks that the first frame of each log is the app's deploy frame.
func (o *operator) checkFirstFrames(a *control.App) {
	o.t.Helper()
	for p := range a.Partitions {
		m, err := natsconn.MessageAt(o.within(), o.nc, natsconn.WALStream(a.Name, p), 1)
		must(o.t, err)
		f, err := new(frame.Decoder).Decode(m.Data)
		must(o.t, err)
		if f.Kind != frame.Deploy || f.Stamp != a.Stamp || f.Deploy.Text != a.Text || f.Deploy.Number != a.Version {
			o.t.Errorf("the first frame of partition %d is a %s, stamp %d, want the deploy frame of %d", p, f.Kind, f.Stamp, a.Stamp)
		}
	}
}

// TestDeploysUnderLoad deploys and removes an app with many partitions again and again while others
// publish. One of their subjects is read by that app, too. No event is lost, and every request is
// acknowledged.
func TestDeploysUnderLoad(t *testing.T) {
	steady := write(t, "steady.siddhi", `@app:name('Steady') define stream Own (id long); define stream Shared (id long);
		from Own select id insert into OfOwn; from Shared select id insert into OfShared;`)
	large := write(t, "large.siddhi", fmt.Sprintf(`@app:name('Large') @app:partitions('%d') define stream Shared (id long); define stream Lone (id long);
		partition with (id of Shared, id of Lone) begin from Shared select id insert into OfShared; from Lone select id insert into OfLone; end;`, *partitions))
	o := operate(serving(t, t.TempDir(), steady))

	loads := []*steadyLoad{newSteadyLoad(o, "Own"), newSteadyLoad(o, "Shared")}
	var deploys, removals []time.Duration
	for i := range *rounds {
		began := time.Now()
		o.command("app", "deploy", large)
		deploys = append(deploys, time.Since(began))
		o.accepted("events.Lone", fmt.Sprintf(`{"id":%d}`, i)) // the app accepts events as soon as the deploy returns
		began = time.Now()
		o.command("app", "rm", "Large", "--yes")
		removals = append(removals, time.Since(began))
	}
	for _, l := range loads {
		l.end()
	}
	for _, l := range loads {
		l.check()
		t.Logf("events.%s: %d events without and %d with an answer; longest time between two acknowledgements %s",
			l.stream, l.silent, l.asked, l.pause.Round(time.Millisecond))
	}
	t.Logf("%d deploys of %d partitions in %s, %d removals in %s; the slowest took %s and %s", *rounds, *partitions,
		sum(deploys), *rounds, sum(removals), slices.Max(deploys).Round(time.Millisecond), slices.Max(removals).Round(time.Millisecond))
	o.p.stop()
}

func sum(all []time.Duration) (total time.Duration) {
	for _, d := range all {
		total += d
	}
	return total.Round(time.Millisecond)
}

// steadyLoad publishes to a stream with two clients: one sends thousands of events per second
// without asking for answers, the other waits for each answer.
type steadyLoad struct {
	o      *operator
	stream string
	stop   chan struct{}
	ended  sync.WaitGroup

	silent, asked int64
	pause         time.Duration // the longest between two acknowledgements
}

const silentIDs = 1_000_000_000 // ids from here on are of the client that asks for no answers

func newSteadyLoad(o *operator, stream string) *steadyLoad {
	l := &steadyLoad{o: o, stream: stream, stop: make(chan struct{})}
	silent, asking := o.p.connect(), o.p.connect()
	l.ended.Go(func() { l.publish(silent) })
	l.ended.Go(func() { l.ask(asking) })
	return l
}

func (l *steadyLoad) end() {
	close(l.stop)
	l.ended.Wait()
}

func (l *steadyLoad) publish(nc *nats.Conn) {
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-pace.C:
		}
		for range 20 {
			if err := nc.Publish("events."+l.stream, fmt.Appendf(nil, `{"id":%d}`, silentIDs+l.silent)); err != nil {
				l.o.t.Error(err)
				return
			}
			l.silent++
		}
		if err := nc.Flush(); err != nil {
			l.o.t.Error(err)
			return
		}
	}
}

func (l *steadyLoad) ask(nc *nats.Conn) {
	last := time.Now()
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		a, err := requestOne(l.o.within(), nc, "events."+l.stream, fmt.Sprintf(`{"id":%d}`, l.asked))
		if err != nil || a.Error != nil {
			l.o.t.Errorf("request %d on events.%s: %+v, %v", l.asked, l.stream, a.Error, err)
			return
		}
		l.asked++
		now := time.Now()
		l.pause = max(l.pause, now.Sub(last))
		last = now
	}
}

// check waits for the results, and checks that each event has exactly one.
func (l *steadyLoad) check() {
	t := l.o.t
	t.Helper()
	seen := map[int64]int{}
	consumer, err := l.o.js.OrderedConsumer(l.o.within(), natsconn.OutStream("Steady", 0), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject("Steady", "Of"+l.stream, 0)}})
	must(t, err)
	messages, err := consumer.Messages()
	must(t, err)
	defer messages.Stop()
	for int64(len(seen)) < l.silent+l.asked {
		m, err := messages.Next(jetstream.NextMaxWait(patience))
		if err != nil {
			t.Errorf("%d of %d events of %s have a result: %v", len(seen), l.silent+l.asked, l.stream, err)
			return
		}
		var row struct{ ID int64 }
		must(t, json.Unmarshal(m.Data(), &row))
		seen[row.ID]++
	}
	for id, n := range seen {
		if n != 1 || id >= l.asked && (id < silentIDs || id >= silentIDs+l.silent) {
			t.Errorf("event %d of %s has %d results", id, l.stream, n)
		}
	}
}

// doubling returns an app that makes 2^n rows out of each event, and emits none of them.
func doubling(name string, n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "@app:name('%s') define stream Start (k int); partition with (k of Start) begin\nfrom Start select k insert into #S0;\n", name)
	for i := range n {
		for range 2 {
			fmt.Fprintf(&b, "from #S%d select k insert into #S%d;\n", i, i+1)
		}
	}
	fmt.Fprintf(&b, "from #S%d[k < 0] select k insert into Out; end;", n)
	return b.String()
}

// TestRemovalEndsAFrame removes an app whose task would need years for one frame. The task stops in
// the middle of the frame, and the app is removed.
func TestRemovalEndsAFrame(t *testing.T) {
	other, endless := write(t, "other.siddhi", counting("Other", 1, "Orders")), write(t, "endless.siddhi", doubling("Endless", 60))
	unlimited := fmt.Sprint(int64(1) << 62)
	o := operate(serving(t, t.TempDir(), other, "--limits.event_rows_max="+unlimited, "--limits.frame_rows_max="+unlimited))
	var busy atomic.Bool
	_, err := control.SubscribeFlow(o.nc, func(f control.Flow) {
		if f.App == "Endless" && f.Busy > control.FlowEvery {
			busy.Store(true)
		}
	})
	must(t, err)
	for i := range 2 {
		o.command("app", "deploy", endless)
		o.accepted("events.Start", `{"k":1}`)
		eventually(t, "the task is at the frame", func() bool { return busy.Swap(false) })
		o.command("app", "rm", "Endless", "--yes")
		eventually(t, "the task has ended", func() bool {
			list, err := tasks(o.nc)
			must(t, err)
			return !slices.ContainsFunc(list, func(one task) bool { return one.App == "Endless" })
		})
		o.accepted("events.Orders", `{"k":1}`)
		if got := o.ints("Other", "n", 1, i+1); got[i] != int64(i+1) {
			t.Errorf("results of the other app: %v", got)
		}
	}
	o.p.stop()
}
