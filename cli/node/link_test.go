package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The same queries as two apps, where the second reads the results of the first, and as one app.
const (
	firstApp = `@app:name('first') define stream S (k string, v int);
		%s from S#length(5) select k, v as total insert all events into Mid;`
	secondApp = `@app:name('second') @source(subject='out.first.Mid.0') define stream Mid (k string, total int);
		from Mid#lengthBatch(3) select k, sum(total) as total, count() as n insert into Out;`
	bothApp = `@app:name('both') define stream S (k string, v int);
		from S#length(5) select k, v as total insert all events into Mid;
		from Mid#lengthBatch(3) select k, sum(total) as total, count() as n insert into Out;`
)

// chain is a node that a test stops and starts while it publishes events.
type chain struct {
	t    *testing.T
	cfg  *config.Config
	apps []string
	// adapt changes a node before it runs.
	adapt func(*Node)

	node *Node
	nc   *nats.Conn
	js   jetstream.JetStream
	stop context.CancelFunc
	done chan error
}

func (c *chain) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	c.t.Cleanup(cancel)
	return ctx
}

func (c *chain) start() {
	c.t.Helper()
	n, err := Open(c.within(), c.cfg, Services, c.apps, "1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		c.t.Fatal(err)
	}
	if c.adapt != nil {
		c.adapt(n)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready := make(chan struct{})
	once := sync.OnceFunc(func() { close(ready) }) // ready is called again when apps change
	c.node, c.stop, c.done = n, cancel, make(chan error, 1)
	go func() { c.done <- n.Run(ctx, func([]*siddhiql.Plan) { once() }) }()
	select {
	case <-ready:
	case err := <-c.done:
		c.t.Fatal("start:", err)
	}
	if c.nc, err = nats.Connect(n.URL()); err != nil {
		c.t.Fatal(err)
	}
	if c.js, err = jetstream.New(c.nc); err != nil {
		c.t.Fatal(err)
	}
}

func (c *chain) end() {
	c.t.Helper()
	c.nc.Close()
	c.stop()
	if err := errors.Join(<-c.done, c.node.Close()); err != nil {
		c.t.Fatal("stop:", err)
	}
}

// publish publishes event i and retries until it is acknowledged.
func (c *chain) publish(i int) {
	c.t.Helper()
	payload := fmt.Appendf(nil, `{"k":"k%d","v":%d}`, i%3, i*i%101)
	if _, err := c.js.Publish(c.within(), "events.S", payload, jetstream.WithMsgID(fmt.Sprint(i))); err != nil {
		c.t.Fatal(err)
	}
}

// forget makes the server lose acknowledged results of the first app, as a kill does.
func (c *chain) forget() {
	c.t.Helper()
	stream, err := c.js.Stream(c.within(), natsconn.OutStream("first", 0))
	if err != nil {
		c.t.Fatal(err)
	}
	names := stream.ConsumerNames(c.within())
	for name := range names.Name() {
		err := stream.DeleteConsumer(c.within(), name)
		if err != nil && !errors.Is(err, jetstream.ErrConsumerNotFound) { // its reader may have deleted it
			c.t.Fatal(err)
		}
	}
	if err := names.Err(); err != nil {
		c.t.Fatal(err)
	}
}

// rows returns the results of an app once there are n rows.
func (c *chain) rows(app string, n int) []string {
	c.t.Helper()
	ctx := c.within()
	stream, err := c.js.Stream(ctx, natsconn.OutStream(app, 0))
	if err != nil {
		c.t.Fatal(err)
	}
	consumer, err := stream.OrderedConsumer(ctx, jetstream.OrderedConsumerConfig{FilterSubjects: []string{natsconn.OutSubject(app, "Out", 0)}})
	if err != nil {
		c.t.Fatal(err)
	}
	messages, err := consumer.Messages()
	if err != nil {
		c.t.Fatal(err)
	}
	defer messages.Stop()
	var rows []string
	for len(rows) < n {
		m, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			c.t.Fatalf("%d of %d rows: %v", len(rows), n, err)
		}
		rows = append(rows, string(m.Data()))
	}
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(natsconn.OutSubject(app, "Out", 0)))
	if err != nil {
		c.t.Fatal(err)
	}
	if stored := info.State.Subjects[natsconn.OutSubject(app, "Out", 0)]; stored != uint64(n) {
		c.t.Errorf("app %s put out %d rows, want %d", app, stored, n)
	}
	return rows
}

// Whichever process stops, and whenever it stops, two apps joined by a subject give the results of
// one app with all their queries.
func TestAppsJoinedByASubject(t *testing.T) {
	t.Parallel()
	for name, sink := range map[string]string{"plain": "", "packed": "@sink(stream='Mid', pack='ndjson')"} {
		t.Run(name, func(t *testing.T) { testJoined(t, fmt.Sprintf(firstApp, sink)) })
	}
}

func testJoined(t *testing.T, firstApp string) {
	events, stops := 600, 8
	if testing.Short() {
		events, stops = 200, 3
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := &chain{t: t, cfg: config.Default()}
	c.cfg.Data, c.cfg.Listen, c.cfg.WAL.Durability = t.TempDir(), "127.0.0.1:0", "fast"
	// Shorter than a stop, so that the tables of message ids do not hide repeats.
	c.cfg.Dedup.Window = time.Millisecond
	c.apps = []string{firstApp, secondApp, bothApp}
	c.cfg.Checkpoint.Interval = 50 * time.Millisecond
	c.cfg.Retention.Checkpoints, c.cfg.Retention.Span = 2, time.Millisecond // trim as much as possible
	var when []int
	for range stops {
		when = append(when, random.IntN(events))
	}
	c.start()
	for i := range events {
		c.publish(i)
		if slices.Contains(when, i) {
			if random.IntN(2) == 0 {
				c.forget()
			}
			c.end()
			c.start()
		}
	}
	// Each event makes two rows of Mid; the first five make one each.
	want := c.rows("both", (2*events-5)/3)
	got := c.rows("second", len(want))
	c.end()
	for i := range want {
		if got[i] != want[i] {
			t.Fatalf("row %d is %s, want %s", i, got[i], want[i])
		}
	}
}
