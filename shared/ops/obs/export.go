package obs

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/eventflux/eventflux/shared/ops/trace"
)

// Exporter sends spans to where the environment says. The zero value sends none.
type Exporter struct{ provider *sdktrace.TracerProvider }

// OpenExporter reads the standard variables of OpenTelemetry. Without
// OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, or with
// OTEL_SDK_DISABLED=true or OTEL_TRACES_EXPORTER=none, it exports nothing. attrs are of
// the process.
func OpenExporter(ctx context.Context, version string, log *slog.Logger, attrs ...attribute.KeyValue) (*Exporter, error) {
	endpoint := firstSet("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
	if endpoint == "" || os.Getenv("OTEL_SDK_DISABLED") == "true" || os.Getenv("OTEL_TRACES_EXPORTER") == "none" {
		return &Exporter{}, nil
	}
	if p := firstSet("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); p != "" && p != "http/protobuf" {
		return nil, fmt.Errorf("export traces: OTEL_EXPORTER_OTLP_PROTOCOL is %q, and traces are sent by http/protobuf alone; set that, and the endpoint's port for it (4318)", p)
	}
	client, err := otlptracehttp.New(ctx)
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	about, err := resource.New(ctx,
		resource.WithAttributes(append(attrs, attribute.String("service.name", "eventflux"), attribute.String("service.version", version))...),
		resource.WithHost(), resource.WithProcessPID(), resource.WithFromEnv()) // the environment wins
	if err != nil {
		return nil, fmt.Errorf("export traces: %w", err)
	}
	log.Info("traces are exported", "endpoint", endpoint)
	return NewExporter(sdktrace.WithBatcher(client), sdktrace.WithResource(about)), nil
}

// NewExporter returns an exporter of its own making.
func NewExporter(options ...sdktrace.TracerProviderOption) *Exporter {
	return &Exporter{sdktrace.NewTracerProvider(append(options, sdktrace.WithIDGenerator(trace.IDs{}))...)}
}

// Tracer makes the spans that are exported.
func (e *Exporter) Tracer() trace.Tracer {
	if e == nil || e.provider == nil {
		return trace.Off()
	}
	return trace.New(e.provider)
}

// Close sends what is left.
func (e *Exporter) Close(ctx context.Context) error {
	if e == nil || e.provider == nil {
		return nil
	}
	return e.provider.Shutdown(ctx)
}

func firstSet(names ...string) string {
	for _, n := range names {
		if v := os.Getenv(n); v != "" {
			return v
		}
	}
	return ""
}
