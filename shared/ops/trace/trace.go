// Package trace follows a checkpoint, and a restore, through the services as spans of
// OpenTelemetry. A checkpoint's trace id is the random id of its barrier, so the leader and
// all tasks write into one trace and no message has to carry the id. Package shared/ops/obs
// decides where spans go; without a destination they cost nothing.
package trace

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// Tracer makes spans; see New.
type Tracer struct{ trace.Tracer }

// New returns a tracer of the provider. If p is nil, its spans go nowhere.
func New(p trace.TracerProvider) Tracer {
	if p == nil {
		p = noop.NewTracerProvider()
	}
	return Tracer{p.Tracer("eventflux")}
}

// Off returns a tracer whose spans go nowhere.
func Off() Tracer { return New(nil) }

// rootKey is the context key for the ids of the next span without a parent.
type rootKey struct{}

type root struct {
	trace trace.TraceID
	span  trace.SpanID
}

// rootOf returns the ids of a checkpoint's root span. Every process that knows the barrier
// derives the same ids.
func rootOf(barrier [16]byte) root {
	sum := sha256.Sum256(append([]byte("eventflux checkpoint "), barrier[:]...))
	return root{trace: trace.TraceID(barrier), span: trace.SpanID(sum[:8])}
}

// Checkpoint starts the root span of a checkpoint. The leader that opens the epoch calls it
// once.
func (t Tracer) Checkpoint(ctx context.Context, barrier [16]byte, attrs ...attribute.KeyValue) *Steps {
	return t.Steps(context.WithValue(ctx, rootKey{}, rootOf(barrier)), "checkpoint", attrs...)
}

// Within returns a context whose spans are children of a checkpoint's root span, even if
// another process started that span.
func Within(ctx context.Context, barrier [16]byte) context.Context {
	r := rootOf(barrier)
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: r.trace, SpanID: r.span, TraceFlags: trace.FlagsSampled, Remote: true,
	}))
}

// End ends a span, as failed if err is not nil.
func End(span trace.Span, err error) {
	if err != nil {
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// Steps are consecutive spans, children of one span that covers all of them.
type Steps struct {
	tracer Tracer
	ctx    context.Context
	whole  trace.Span
	step   trace.Span
}

// Steps starts a span of the given name in a trace of its own.
func (t Tracer) Steps(ctx context.Context, name string, attrs ...attribute.KeyValue) *Steps {
	ctx, whole := t.Start(ctx, name, trace.WithNewRoot(), trace.WithAttributes(attrs...))
	return &Steps{tracer: t, ctx: ctx, whole: whole}
}

// StepsWithin is Steps below the span in ctx, with a start time in the past.
func (t Tracer) StepsWithin(ctx context.Context, name string, begun time.Time, attrs ...attribute.KeyValue) *Steps {
	ctx, whole := t.Start(ctx, name, trace.WithTimestamp(begun), trace.WithAttributes(attrs...))
	return &Steps{tracer: t, ctx: ctx, whole: whole}
}

// Past records a step that is over.
func (s *Steps) Past(name string, begun time.Time, took time.Duration, attrs ...attribute.KeyValue) {
	_, span := s.tracer.Start(s.ctx, name, trace.WithTimestamp(begun), trace.WithAttributes(attrs...))
	span.End(trace.WithTimestamp(begun.Add(took)))
}

// Next ends the current step and starts another.
func (s *Steps) Next(name string, attrs ...attribute.KeyValue) {
	if s.step != nil {
		s.step.End()
	}
	_, s.step = s.tracer.Start(s.ctx, name, trace.WithAttributes(attrs...))
}

// Set adds attributes to the span that covers all steps.
func (s *Steps) Set(attrs ...attribute.KeyValue) { s.whole.SetAttributes(attrs...) }

// End ends the current step and the whole, as failed if err is not nil. A second call does
// nothing.
func (s *Steps) End(err error) {
	if s.whole == nil {
		return
	}
	if s.step != nil {
		End(s.step, err)
	}
	End(s.whole, err)
	s.whole, s.step = nil, nil
}

// IDs makes the ids of spans, which are random except for the root of a checkpoint. Pass it to
// the provider with sdk/trace.WithIDGenerator.
type IDs struct{}

// NewIDs returns the ids of a span without a parent.
func (IDs) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	if r, ok := ctx.Value(rootKey{}).(root); ok {
		return r.trace, r.span
	}
	var id trace.TraceID
	_, _ = rand.Read(id[:]) // never fails
	return id, IDs{}.NewSpanID(ctx, id)
}

// NewSpanID returns the id of a span within a trace.
func (IDs) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	_, _ = rand.Read(id[:]) // never fails
	return id
}
