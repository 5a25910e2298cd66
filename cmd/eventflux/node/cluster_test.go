package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"eventflux/shared/bus"
	"eventflux/shared/config"
	"eventflux/shared/control"
	"eventflux/shared/siddhiql"
)

// cluster is a server with nodes that each run some services.
type cluster struct {
	t   *testing.T
	srv *bus.Embedded
	dir string
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
	srv, err := bus.OpenEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: bus.Fast, Log: slog.New(slog.DiscardHandler)})
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
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
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
	n, err := Open(c.within(), cfg, services, nil, "0.0.1", slog.New(slog.DiscardHandler))
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

// end stops a node; kill does it as a crash would: without a farewell.
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
		nc.Close() // whatever it does from now on reaches nobody
	}
	m.node.skipLast = true
	m.stop()
}

// placed waits until the partitions of an app run as they should, and returns by
// which processors.
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

// results waits for n rows of an app and returns them by key, in the order of each.
func (c *cluster) results(app string, n int) map[string][]string {
	c.t.Helper()
	rows := map[string][]string{}
	for p := range uint32(4) {
		stream, err := c.js.Stream(c.within(), bus.OutStream(app, p))
		if err != nil {
			c.t.Fatal(err)
		}
		consumer, err := stream.OrderedConsumer(c.within(), jetstream.OrderedConsumerConfig{FilterSubjects: []string{bus.OutSubjects(app, p)}})
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

// Partitions spread over processors, follow them when they come, go and die, and the
// results are those of one that was never disturbed.
func TestProcessorsComeAndGo(t *testing.T) {
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

// A processor that runs under the name of another one is the one that runs.
func TestProcessorNameIsTaken(t *testing.T) {
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

// An app that is removed leaves nothing behind, and can come back as another.
func TestRemoveApp(t *testing.T) {
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
		for name := range c.js.StreamNames(c.within()).Name() {
			if strings.HasPrefix(name, "EF") {
				t.Errorf("stream %s is left", name)
			}
		}
	}
}
