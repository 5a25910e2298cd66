package node

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

// traced starts a member of a cluster that exports its spans to the test.
func (c *cluster) traced(id string, spans sdktrace.SpanExporter, services ...string) *member {
	c.t.Helper()
	cfg := config.Default()
	cfg.Data, cfg.NATS.URL, cfg.WAL.Durability = c.t.TempDir(), c.srv.URL(), "fast"
	cfg.Store.URL, cfg.Processor.ID, cfg.Checkpoint.Interval = "file:"+c.dir, id, time.Hour
	n := &Node{cfg: cfg, services: services, self: &control.Self{Version: "1.0.0"}, log: slog.New(slog.DiscardHandler)}
	n.seen.exporter = obs.NewExporter(sdktrace.WithSyncer(spans))
	if err := n.open(c.within()); err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &member{node: n, stop: cancel, done: make(chan error, 1)}
	go func() {
		err := n.Run(ctx, func([]*siddhiql.Plan) {})
		if closing := n.Close(); err == nil {
			err = closing
		}
		m.done <- err
	}()
	c.t.Cleanup(func() {
		cancel()
		if err := <-m.done; err != nil {
			c.t.Error(err)
		}
	})
	return m
}

// outline prints the spans of each trace as a tree, in the order of their start.
func outline(spans tracetest.SpanStubs, root string) []string {
	slices.SortStableFunc(spans, func(a, b tracetest.SpanStub) int { return a.StartTime.Compare(b.StartTime) })
	var trees []string
	for _, s := range spans {
		if s.Name == root && !s.Parent.SpanID().IsValid() {
			var b strings.Builder
			branch(&b, spans, s, "")
			trees = append(trees, b.String())
		}
	}
	return trees
}

func branch(b *strings.Builder, spans tracetest.SpanStubs, s tracetest.SpanStub, indent string) {
	fmt.Fprintf(b, "%s%s", indent, s.Name)
	for _, a := range s.Attributes {
		if key := string(a.Key); key == "partition" || key == "committed" || key == "epoch" && s.Name == "checkpoint" {
			fmt.Fprintf(b, " %s=%s", key, a.Value.String())
		}
	}
	if s.Status.Code == codes.Error {
		fmt.Fprint(b, " failed")
	}
	b.WriteByte('\n')
	for _, child := range spans {
		if child.Parent.SpanID() == s.SpanContext.SpanID() && child.SpanContext.TraceID() == s.SpanContext.TraceID() {
			branch(b, spans, child, indent+"  ")
		}
	}
}

// The spans of leader and tasks, in different processes, form one trace.
func TestCheckpointIsOneTrace(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	spans := tracetest.NewInMemoryExporter()
	c.traced("c", spans, "checkpointer")
	c.traced("p", spans, "processor")
	if _, err := c.ctl.Deploy(c.within(), control.DeployRequest{Text: `@app:name('two') @app:partitions('2')
		define stream S (k string, v int);
		partition with (k of S) begin from S#length(5) select k, sum(v) as total insert into Out; end;`}); err != nil {
		t.Fatal(err)
	}
	c.placed("two", func(by map[string]int) bool { return by["p"] == 2 })
	if o, err := c.ctl.Trigger(c.within(), control.AppRequest{App: "two"}); err != nil || !o.Committed {
		t.Fatalf("%+v, %v", o, err)
	}
	part := func(p int) string {
		return fmt.Sprintf("  partition partition=%d committed=true\n    cut\n    thaw\n    store\n    results durable\n    prepared\n", p)
	}
	leader := []string{"  open\n", "  barriers\n", "  manifest\n", "  commit\n"}
	restores := "restore partition=%d\n  open\n  attach\n  fence\n  replay\n"
	var tree string
	for ctx := c.within(); ; <-time.After(5 * time.Millisecond) {
		stubs := spans.GetSpans()
		checkpoints, tasks := outline(stubs, "checkpoint"), outline(stubs, "restore")
		// A task that starts before its streams exist tries again.
		tasks = slices.DeleteFunc(tasks, func(tree string) bool { return strings.Contains(tree, "failed") })
		slices.Sort(tasks)
		if len(checkpoints) == 1 {
			tree = checkpoints[0]
		}
		ok := strings.HasPrefix(tree, "checkpoint epoch=1\n  open\n") && !strings.Contains(tree, "failed")
		for _, want := range append(leader, part(0), part(1)) {
			ok = ok && strings.Contains(tree, want)
		}
		ok = ok && slices.Equal(tasks, []string{fmt.Sprintf(restores, 0), fmt.Sprintf(restores, 1)})
		if ok {
			return
		}
		if ctx.Err() != nil {
			t.Fatalf("%q\nrestores\n%q", checkpoints, tasks)
		}
	}
}
