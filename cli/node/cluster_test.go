package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/services/processor"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// cluster is a NATS server with nodes that each run some services.
type cluster struct {
	t   *testing.T
	srv *natsconn.Embedded
	dir string
	set func(*config.Config) // settings of all nodes
	nc  *nats.Conn
	js  jetstream.JetStream
	ctl control.Client
}

// member is a node of a cluster.
type member struct {
	node *Node
	stop context.CancelFunc
	done chan error
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	c := &cluster{t: t, srv: srv, dir: t.TempDir()}
	if c.nc, err = nats.Connect(srv.URL()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.nc.Close)
	if c.js, err = jetstream.New(c.nc); err != nil {
		t.Fatal(err)
	}
	c.ctl.Conn = c.nc
	return c
}

func (c *cluster) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	c.t.Cleanup(cancel)
	return ctx
}

// start runs a node until its stop is called, at the latest when the test ends.
func (c *cluster) start(id string, services ...string) *member {
	c.t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.NATS.URL, cfg.WAL.Durability = c.t.TempDir(), c.srv.URL(), "fast"
	cfg.Store.URL = "file:" + c.dir
	cfg.Processor.ID = id
	cfg.Checkpoint.Interval = 100 * time.Millisecond
	if c.set != nil {
		c.set(cfg)
	}
	n, err := Open(c.within(), cfg, services, nil, "1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{node: n, stop: cancel, done: make(chan error, 1)}
	go func() { m.done <- errors.Join(n.Run(ctx, func([]*siddhiql.Plan) {}), n.Close()) }()
	c.t.Cleanup(func() {
		cancel()
		if err := <-m.done; err != nil {
			c.t.Error(err)
		}
	})
	return m
}

// end stops a node. kill stops it as a crash would, without handing anything over.
func (c *cluster) end(m *member) {
	c.t.Helper()
	m.stop()
	err := <-m.done
	m.done <- nil
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) kill(m *member) {
	c.t.Helper()
	for _, nc := range m.node.conns {
		nc.Close() // from now on, nothing it does reaches the others
	}
	m.node.skipLast = true
	m.stop()
}

// placed waits until the partitions of an app run as wanted, and returns how many each
// processor runs.
func (c *cluster) placed(app string, want func(by map[string]int) bool) map[string]int {
	c.t.Helper()
	var by map[string]int
	for ctx := c.within(); ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
		a, err := c.ctl.App(ctx, control.AppRequest{App: app})
		if err != nil {
			c.t.Fatal(err)
		}
		by = map[string]int{}
		for _, o := range a.Owners {
			if o.State == "running" {
				by[o.Processor]++
			}
		}
		if want(by) {
			return by
		}
	}
	c.t.Fatalf("the partitions of %s run at %v", app, by)
	return nil
}

func (c *cluster) publish(from, to int) {
	c.t.Helper()
	for i := from; i < to; i++ {
		payload := fmt.Appendf(nil, `{"k":"k%d","v":%d}`, i%23, i)
		for ctx := c.within(); ; <-time.After(5 * time.Millisecond) {
			_, err := c.js.Publish(ctx, "events.S", payload, jetstream.WithMsgID(fmt.Sprint(i)))
			if err == nil {
				break
			}
			if ctx.Err() != nil {
				c.t.Fatal(err)
			}
		}
	}
}

const spreadApp = `@app:name('spread') @app:partitions('4') define stream S (k string, v int);
	partition with (k of S) begin
	from S#length(3) select k, sum(v) as total insert into Out; end;`

// results returns up to n rows of an app by key, each key's rows in order.
func (c *cluster) results(app string, n int) map[string][]string {
	c.t.Helper()
	return c.resultsOf(app, 4, n)
}

// allResults waits for n rows of an app, and returns them by key.
func (c *cluster) allResults(app string, n int) (rows map[string][]string) {
	c.t.Helper()
	for ctx := c.within(); ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
		have := 0
		rows = c.results(app, n)
		for _, of := range rows {
			have += len(of)
		}
		if have >= n {
			return rows
		}
	}
	c.t.Fatalf("app %s has not put out %d rows, but %v", app, n, rows)
	return nil
}

func (c *cluster) resultsOf(app string, partitions uint32, n int) map[string][]string {
	c.t.Helper()
	rows := map[string][]string{}
	for p := range partitions {
		stream, err := c.js.Stream(c.within(), natsconn.OutStream(app, p))
		if err != nil {
			c.t.Fatal(err)
		}
		consumer, err := stream.OrderedConsumer(c.within(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubjects(app, p)}})
		if err != nil {
			c.t.Fatal(err)
		}
		batch, err := consumer.FetchNoWait(n)
		if err != nil {
			c.t.Fatal(err)
		}
		for m := range batch.Messages() {
			text := string(m.Data())
			key := text[:strings.Index(text, ",")]
			rows[key] = append(rows[key], text)
		}
	}
	return rows
}

// Partitions spread over processors and move when processors come, go and die. The results
// equal those of an undisturbed processor.
func TestProcessorsComeAndGo(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("", "checkpointer", "ingest")
	if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: spreadApp}); err != nil {
		t.Fatal(err)
	}
	first := c.start("first", "processor")
	c.publish(0, 200)
	c.placed("spread", func(by map[string]int) bool { return by["first"] == 4 })
	second := c.start("second", "processor")
	c.publish(200, 400)
	c.placed("spread", func(by map[string]int) bool { return by["first"] == 2 && by["second"] == 2 })
	c.kill(first)
	c.publish(400, 600)
	c.placed("spread", func(by map[string]int) bool { return by["second"] == 4 })
	third := c.start("third", "processor")
	c.publish(600, 700)
	c.placed("spread", func(by map[string]int) bool { return by["third"] == 2 })
	c.end(second)
	c.publish(700, 800)
	c.placed("spread", func(by map[string]int) bool { return by["third"] == 4 })
	c.end(third)
	got := c.results("spread", 800)

	alone := newCluster(t)
	alone.start("alone", "checkpointer", "ingest", "processor")
	if _, err := alone.ctl.Deploy(c.within(), control.DeployRequest{Text: spreadApp}); err != nil {
		t.Fatal(err)
	}
	alone.publish(0, 800)
	for ctx := c.within(); ; <-time.After(10 * time.Millisecond) {
		want := alone.results("spread", 800)
		n := 0
		for _, rows := range want {
			n += len(rows)
		}
		if n < 800 && ctx.Err() == nil {
			continue
		}
		for key, rows := range want {
			if !slices.Equal(rows, got[key]) {
				t.Errorf("%s: %d rows, want %d:\n%v\n%v", key, len(got[key]), len(rows), got[key], rows)
			}
		}
		return
	}
}

// A standby takes over with its own state: results that the owner published appear once, and
// the standby publishes the missing ones.
func TestStandby(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.set = func(cfg *config.Config) { cfg.Processor.Standby = "on" }
	c.start("", "checkpointer", "ingest")
	if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: spreadApp}); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]*member{}
	for _, id := range []string{"a", "b"} {
		nodes[id] = c.start(id, "processor")
	}
	c.placed("spread", func(by map[string]int) bool { return by["a"] == 2 && by["b"] == 2 })
	published, promoted := 0, 0
	rounds := 3
	if testing.Short() {
		rounds = 1
	}
	for range rounds {
		for _, id := range []string{"a", "b"} {
			c.publish(published, published+100)
			published += 100
			c.standing(4)
			c.publish(published, published+50)
			published += 50
			c.kill(nodes[id])
			c.placed("spread", func(by map[string]int) bool { return by[id] == 0 && by["a"]+by["b"] == 4 })
			promoted += c.tasks(func(task processor.TaskInfo) bool { return task.Promoted })
			nodes[id] = c.start(id, "processor")
		}
	}
	if promoted == 0 {
		t.Error("no standby was promoted")
	}
	c.publish(published, published+50)
	published += 50
	c.standing(4)
	if _, err := c.ctl.Trigger(c.within(), control.AppRequest{App: "spread"}); err != nil {
		t.Fatal(err)
	}
	got := c.allResults("spread", published)
	for key := range 23 {
		var want []string
		for i, last := key, []int{}; i < published; i += 23 {
			last = append(last, i)
			total := 0
			for _, v := range last[max(0, len(last)-3):] {
				total += v
			}
			want = append(want, fmt.Sprintf(`{"k":"k%d","total":%d}`, key, total))
		}
		if rows := got[fmt.Sprintf(`{"k":"k%d"`, key)]; !slices.Equal(rows, want) {
			t.Errorf("key %d:\n%q, want\n%q", key, rows, want)
		}
	}
}

// standing waits until n tasks are standbys. It fails if a standby's state differs from its
// owner's.
func (c *cluster) standing(n int) {
	c.t.Helper()
	found := 0
	for ctx := c.within(); ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
		found = c.tasks(func(task processor.TaskInfo) bool {
			if task.Mismatches > 0 {
				c.t.Errorf("%+v", task)
			}
			return task.State == "standby"
		})
		if found == n {
			return
		}
	}
	c.t.Fatalf("%d tasks stand by, want %d", found, n)
}

// tasks counts the tasks of up to two processors.
func (c *cluster) tasks(count func(processor.TaskInfo) bool) (n int) {
	c.t.Helper()
	inbox := nats.NewInbox()
	sub, err := c.nc.SubscribeSync(inbox)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = sub.Unsubscribe() }()
	if err := c.nc.PublishRequest("ef.processor.tasks", inbox, nil); err != nil {
		c.t.Fatal(err)
	}
	for range 2 {
		m, err := sub.NextMsg(500 * time.Millisecond)
		if err != nil {
			return n
		}
		var list struct{ Tasks []processor.TaskInfo }
		if err := json.Unmarshal(m.Data, &list); err != nil {
			c.t.Fatal(err)
		}
		for _, task := range list.Tasks {
			if count(task) {
				n++
			}
		}
	}
	return n
}

// If a processor starts with the name of another, the new one runs and the other ends.
func TestProcessorNameIsTaken(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("", "checkpointer")
	first := c.start("same", "processor")
	if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: spreadApp}); err != nil {
		t.Fatal(err)
	}
	c.placed("spread", func(by map[string]int) bool { return by["same"] == 4 })
	c.start("same", "processor")
	err := <-first.done
	first.done <- nil
	if control.Code(err) != control.CodeFenced || !strings.Contains(err.Error(), "processor.id") {
		t.Errorf("the first one ended with %v", err)
	}
}

// A removed app leaves no data, and another app can be deployed under its name.
func TestRemoveApp(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("p", Services...)
	for round := range 2 {
		if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: spreadApp}); err != nil {
			t.Fatal(err)
		}
		c.publish(round*100, round*100+100)
		c.placed("spread", func(by map[string]int) bool { return by["p"] == 4 })
		o, err := c.ctl.Trigger(c.within(), control.AppRequest{App: "spread"})
		if err != nil || !o.Committed || round > 0 && o.Epoch < 2 {
			t.Fatalf("%+v, %v", o, err)
		}
		if err := c.ctl.Do(c.within(), control.VerbRemove, control.AppRequest{App: "spread"}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := c.ctl.App(c.within(), control.AppRequest{App: "spread"}); control.Code(err) != control.CodeNotFound {
			t.Errorf("the app is there: %v", err)
		}
		bucket, err := c.js.KeyValue(c.within(), natsconn.ClusterBucket)
		if err != nil {
			t.Fatal(err)
		}
		for ctx := c.within(); ; <-time.After(10 * time.Millisecond) { // the bucket is updated after Raft
			keys, err := bucket.Keys(ctx)
			if errors.Is(err, jetstream.ErrNoKeysFound) {
				break
			}
			if ctx.Err() != nil {
				t.Fatalf("in the bucket are left: %q, %v", keys, err)
			}
		}
		for name := range c.js.StreamNames(c.within()).Name() {
			if strings.HasPrefix(name, "EF") {
				t.Errorf("stream %s is left", name)
			}
		}
	}
}

// A checkpointer exits if there are checkpointers of another major version, even if they did not
// answer when it looked for a group.
func TestCheckpointerOfAnotherMajor(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	other, err := micro.AddService(c.nc, micro.Config{
		Name: natsconn.ServiceName(control.Service), Version: "2.4.0", Metadata: map[string]string{"raft_id": "c7"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = other.Stop() }()
	m := c.start("", "checkpointer")
	err = <-m.done
	m.done <- nil
	if control.Code(err) != control.CodeVersion || !strings.Contains(err.Error(), "checkpointer c7 has version 2.4.0") {
		t.Errorf("%v", err)
	}
}

const (
	beforeApp = "@app:name('before') define stream S (k string, v int); from S select v, k insert into Mid;"
	behindApp = "@app:name('behind') @source(subject='out.before.Mid.0') define stream Mid (v int, k string); from Mid select v, k insert into Out;"
)

func (c *cluster) deploy(text string) {
	c.t.Helper()
	if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: text}); err != nil {
		c.t.Fatal(err)
	}
}

// counted waits until an app has the given number of results on its stream Out.
func (c *cluster) counted(app string, want uint64) {
	c.t.Helper()
	subject, got := natsconn.OutSubject(app, "Out", 0), uint64(0)
	for ctx := c.within(); ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
		stream, err := c.js.Stream(ctx, natsconn.OutStream(app, 0))
		if err != nil {
			continue // not created yet
		}
		info, err := stream.Info(ctx, jetstream.WithSubjectFilter(subject))
		if err == nil {
			got = info.State.Subjects[subject]
		}
		if got == want {
			return
		}
	}
	c.t.Fatalf("%d results of %s, want %d", got, app, want)
}

// An app that is removed and deployed again is a different app. An app that reads its results
// treats them as new, although the new log starts at 1 and no record is left of the newest earlier
// result.
func TestAppBehindOneThatIsDeployedAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("one", "checkpointer", "ingest", "processor")
	c.deploy(beforeApp)
	c.deploy(behindApp)
	c.publish(0, 10)
	c.counted("behind", 10)
	if err := c.ctl.Do(c.within(), control.VerbRemove, control.AppRequest{App: "before"}, nil); err != nil {
		t.Fatal(err)
	}
	c.deploy(beforeApp)
	c.publish(10, 15)
	c.counted("behind", 15)
}

// Two ingest services read the results of one app for another app, each as if it were alone. The
// reading app gets each result once.
func TestTwoIngestsReadResults(t *testing.T) {
	t.Parallel()
	const events = 1000
	c := newCluster(t)
	c.start("one", "checkpointer", "ingest", "processor")
	c.start("two", "ingest")
	c.deploy(beforeApp)
	c.deploy(behindApp)
	c.publish(0, events)
	c.counted("behind", events)
	rows := c.resultsOf("behind", 1, 2*events)
	for i := range events {
		if key := fmt.Sprintf(`{"v":%d`, i); len(rows[key]) != 1 {
			t.Errorf("%s: %q", key, rows[key])
		}
	}
}

// The process that runs a job is frozen. Another process that is asked about the job reports that,
// and does not block the request forever.
func TestJobOfAFrozenRecovery(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	c.start("one", "checkpointer", "recovery")
	if _, err := c.nc.Subscribe(natsconn.ServiceSubject("recovery", "node.frozen.job"), func(*nats.Msg) {}); err != nil {
		t.Fatal(err)
	}
	if err := c.nc.Flush(); err != nil {
		t.Fatal(err)
	}
	var m *nats.Msg
	for ctx := c.within(); ; {
		var err error
		m, err = c.nc.RequestWithContext(ctx, natsconn.ServiceSubject("recovery", "job"), []byte(`{"job":"frozen-1"}`))
		if err == nil {
			break
		}
		if !errors.Is(err, nats.ErrNoResponders) { // otherwise it is still starting
			t.Fatal(err)
		}
	}
	if code := m.Header.Get("Nats-Service-Error-Code"); code != control.CodeUnavailable {
		t.Errorf("%s: %s", code, m.Header.Get("Nats-Service-Error"))
	}
}
