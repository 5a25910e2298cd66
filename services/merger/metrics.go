package merger

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

// Collectors returns the metrics of the service.
func (s *Service) Collectors() []prometheus.Collector {
	type row = control.MergerStatus
	return []prometheus.Collector{metric.NewTable(nil, func(*row) []string { return nil }, func() []row { return []row{s.Status()} },
		metric.Gauge("eventflux_merger_working", "1 for the merger that works, 0 for those that stand by.", func(r *row) float64 { return metric.Bool(r.Working) }),
		metric.Counter("eventflux_merger_chains_total", "Chains folded.", func(r *row) float64 { return float64(r.Chains) }),
		metric.Counter("eventflux_merger_read_bytes_total", "Bytes of runs read to fold them.", func(r *row) float64 { return float64(r.BytesRead) }),
		metric.Counter("eventflux_merger_written_bytes_total", "Bytes of folded runs written.", func(r *row) float64 { return float64(r.BytesWritten) }),
		metric.Counter("eventflux_merger_swept_objects_total", "Objects deleted that nothing referred to.", func(r *row) float64 { return float64(r.SweptObjects) }),
		metric.Counter("eventflux_merger_swept_bytes_total", "Bytes of those.", func(r *row) float64 { return float64(r.SweptBytes) }),
		metric.Counter("eventflux_merger_errors_total", "Merges and sweeps that failed; they are tried again.", func(r *row) float64 { return float64(r.Errors) }))}
}

// Checks returns no checks: the merger retries after an error, and requests are served in
// the meantime.
func (s *Service) Checks() []obs.Check { return nil }
