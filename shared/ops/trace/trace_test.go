package trace_test

import (
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/eventflux/eventflux/shared/ops/trace"
)

// All processes that know the barrier derive the same parent, and a restore is a separate
// trace.
func TestBarrierIsTheTrace(t *testing.T) {
	barrier := [16]byte{1, 2, 3}
	spans := tracetest.NewInMemoryExporter()
	tracer := func() trace.Tracer { // of another process
		return trace.New(sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans), sdktrace.WithIDGenerator(trace.IDs{})))
	}
	leader := tracer().Checkpoint(t.Context(), barrier, attribute.Int64("epoch", 7))
	leader.Next("open")
	leader.End(nil)
	_, child := tracer().Start(trace.Within(t.Context(), barrier), "partition")
	child.End()
	tracer().Steps(trace.Within(t.Context(), barrier), "restore").End(nil)
	of := map[string]tracetest.SpanStub{}
	for _, s := range spans.GetSpans() {
		of[s.Name] = s
	}
	root := of["checkpoint"].SpanContext
	if id := root.TraceID(); [16]byte(id) != barrier {
		t.Errorf("the trace is %s", id)
	}
	for _, name := range []string{"open", "partition"} {
		if p := of[name].Parent; p.SpanID() != root.SpanID() || p.TraceID() != root.TraceID() {
			t.Errorf("%s has the parent %v", name, p)
		}
	}
	if s := of["restore"]; s.Parent.IsValid() || s.SpanContext.TraceID() == root.TraceID() {
		t.Error("a restore is part of another trace")
	}
}

// Without a destination a span costs almost no memory.
func TestOffIsFree(t *testing.T) {
	tracer := trace.Off()
	ctx := t.Context()
	if n := testing.AllocsPerRun(100, func() {
		_, span := tracer.Start(ctx, "x")
		span.End()
	}); n > 3 {
		t.Errorf("%v allocations", n)
	}
}
