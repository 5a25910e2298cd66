package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// One, two and three processors give the same results.
func TestAnyNumberOfProcessors(t *testing.T) {
	const events = 300
	text := strings.Replace(spreadApp, "partitions('4')", "partitions('8')", 1)
	var want map[string][]string
	for n := 1; n <= 3; n++ {
		c := newCluster(t)
		c.start("", "checkpointer", "ingest")
		if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: text}); err != nil {
			t.Fatal(err)
		}
		for i := range n {
			c.start(fmt.Sprint("p", i), "processor")
		}
		c.placed("spread", func(by map[string]int) bool {
			running := 0
			for _, partitions := range by {
				running += partitions
				if partitions < 8/n {
					return false
				}
			}
			return running == 8 && len(by) == n
		})
		c.publish(0, events)
		got := c.awaitResults("spread", 8, events)
		if want == nil {
			want = got
		}
		if !maps.EqualFunc(want, got, slices.Equal) {
			t.Errorf("%d processors give other results than one:\n%v\n%v", n, got, want)
		}
	}
}

// awaitResults returns the results once there are n.
func (c *cluster) awaitResults(app string, partitions uint32, n int) map[string][]string {
	c.t.Helper()
	for ctx := c.within(); ctx.Err() == nil; <-time.After(10 * time.Millisecond) {
		all, rows := c.resultsOf(app, partitions, n), 0
		for _, of := range all {
			rows += len(of)
		}
		if rows >= n {
			return all
		}
	}
	c.t.Fatalf("fewer than %d results of %s came", n, app)
	return nil
}

// A process runs a hundred apps, and continues with them after a restart.
func TestHundredApps(t *testing.T) {
	t.Parallel()
	const apps = 100
	var texts []string
	for i := range apps {
		texts = append(texts, fmt.Sprintf("@app:name('a%d') define stream S%d (v int); from S%d select sum(v) as total insert into Out;", i, i, i))
	}
	cfg := config.Default()
	cfg.Data, cfg.Listen, cfg.WAL.Durability = t.TempDir(), "127.0.0.1:0", "fast"
	for round := 1; round <= 2; round++ {
		n, err := Open(t.Context(), cfg, Services, texts, "1.0.0", slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(context.Background())
		ready, done := make(chan struct{}), make(chan error, 1)
		go func() { done <- errors.Join(n.Run(ctx, func([]*siddhiql.Plan) { close(ready) }), n.Close()) }()
		select {
		case <-ready:
		case err := <-done:
			t.Fatal(err)
		}
		addToEach(t, n.URL(), apps, round)
		cancel()
		if err := <-done; err != nil {
			t.Fatal(err)
		}
	}
}

// addToEach publishes 1 to each app, and checks the sum.
func addToEach(t *testing.T, url string, apps, sum int) {
	t.Helper()
	nc, err := nats.Connect(url)
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	sub, err := nc.SubscribeSync("out.*.Out.0")
	if err != nil {
		t.Fatal(err)
	}
	for i := range apps {
		if _, err := nc.Request(natsconn.InputSubject(fmt.Sprint("S", i)), []byte(`{"v":1}`), time.Minute); err != nil {
			t.Fatalf("app %d: %v", i, err)
		}
	}
	for range apps {
		m, err := sub.NextMsg(time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if want := fmt.Sprintf(`{"total":%d}`, sum); string(m.Data) != want {
			t.Errorf("%s: %s, want %s", m.Subject, m.Data, want)
		}
	}
}
