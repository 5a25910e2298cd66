package recovery

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

// jobCount counts the jobs of one kind.
type jobCount struct {
	kind    string
	running int
	done    uint64
	failed  uint64
}

// counts returns a jobCount for each kind of job.
func (j *jobs) counts() []jobCount {
	j.mu.Lock()
	defer j.mu.Unlock()
	counts := []jobCount{{kind: kindRestore}, {kind: kindVerify}}
	for i := range counts {
		c := &counts[i]
		ended := j.ended[c.kind]
		c.done, c.failed = ended.done, ended.failed
		for _, one := range j.byID {
			if at := one.show(); at.Kind == c.kind && at.State == JobRunning {
				c.running++
			}
		}
	}
	return counts
}

// shadowCount is how far a shadow is that this process runs.
type shadowCount struct {
	app    string
	behind uint64
	rows   uint64 // that differ
	failed bool
}

// counts returns a shadowCount for each shadow.
func (sh *shadows) counts() []shadowCount {
	var counts []shadowCount
	for app, run := range sh.list() {
		counts = append(counts, shadowCount{app, run.behind(), run.different(), run.failed()})
	}
	return counts
}

// Collectors returns the metrics of the service.
func (s *Service) Collectors() []prometheus.Collector {
	type row = jobCount
	type ofShadow = shadowCount
	return []prometheus.Collector{metric.NewTable([]string{"app"}, func(r *ofShadow) []string { return []string{r.app} }, s.shadows.counts,
		metric.Gauge("eventflux_shadow_behind_frames", "Frames of the log that the shadow of an app has not compared yet.", func(r *ofShadow) float64 { return float64(r.behind) }),
		metric.Gauge("eventflux_shadow_different_rows", "Results that differ between an app and its shadow.", func(r *ofShadow) float64 { return float64(r.rows) }),
		metric.Gauge("eventflux_shadow_failed", "1 if the shadow of an app cannot go on; its report says why.", func(r *ofShadow) float64 {
			if r.failed {
				return 1
			}
			return 0
		})), metric.NewTable([]string{"kind"}, func(r *row) []string { return []string{r.kind} }, s.jobs.counts,
		metric.Gauge("eventflux_recovery_jobs_running", "Jobs that run.", func(r *row) float64 { return float64(r.running) }),
		metric.Counter("eventflux_recovery_jobs_done_total", "Jobs that ended well.", func(r *row) float64 { return float64(r.done) }),
		metric.Counter("eventflux_recovery_jobs_failed_total", "Jobs that failed; their answers say why.", func(r *row) float64 { return float64(r.failed) }))}
}

// Checks returns no checks: a job that fails does not affect other requests.
func (s *Service) Checks() []obs.Check { return nil }
