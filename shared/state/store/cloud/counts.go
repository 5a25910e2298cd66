package cloud

import (
	"github.com/prometheus/client_golang/prometheus"
)

// counts are the requests to a bucket and their bytes: what a provider charges for.
type counts struct {
	requests       *prometheus.CounterVec
	bytes          *prometheus.CounterVec
	sent, received prometheus.Counter
}

func newCounts() *counts {
	c := &counts{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eventflux_store_requests_total",
			Help: "Requests to the bucket of the store, each repeated one too; the outcome is ok, refused (a condition did not hold, or there is no object) or error.",
		}, []string{"request", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eventflux_store_request_bytes_total", Help: "Bytes of objects sent to the bucket of the store and received from it, by repeated requests too.",
		}, []string{"direction"}),
	}
	for _, request := range []string{"put", "get", "head", "list", "delete"} {
		for _, outcome := range []string{"ok", "refused", "error"} {
			c.requests.WithLabelValues(request, outcome)
		}
	}
	c.sent, c.received = c.bytes.WithLabelValues("sent"), c.bytes.WithLabelValues("received")
	return c
}

func (c *counts) done(request string, err error) {
	outcome := "ok"
	if k := kindOf(err); k == Missing || k == Unmet || k == Beyond {
		outcome = "refused"
	} else if err != nil {
		outcome = "error"
	}
	c.requests.WithLabelValues(request, outcome).Inc()
}

// Describe implements prometheus.Collector.
func (s *Store) Describe(to chan<- *prometheus.Desc) {
	s.counts.requests.Describe(to)
	s.counts.bytes.Describe(to)
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(to chan<- prometheus.Metric) {
	s.counts.requests.Collect(to)
	s.counts.bytes.Collect(to)
}
