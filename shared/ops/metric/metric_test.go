package metric_test

import (
	"math"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/eventflux/eventflux/shared/ops/metric"
)

type task struct {
	app    string
	events uint64
	lag    float64
}

func TestTable(t *testing.T) {
	rows := []task{{"a", 3, 0.5}, {"b", 1 << 40, math.NaN()}}
	table := metric.NewTable([]string{"app"}, func(t *task) []string { return []string{t.app} }, func() []task { return rows },
		metric.Counter("x_events_total", "Events.", func(t *task) float64 { return float64(t.events) }),
		metric.Gauge("x_lag_seconds", "Lag.", func(t *task) float64 { return t.lag }))
	want := `
# HELP x_events_total Events.
# TYPE x_events_total counter
x_events_total{app="a"} 3
x_events_total{app="b"} 1.099511627776e+12
# HELP x_lag_seconds Lag.
# TYPE x_lag_seconds gauge
x_lag_seconds{app="a"} 0.5
`
	if err := testutil.CollectAndCompare(table, strings.NewReader(want)); err != nil {
		t.Error(err)
	}
	rows = nil
	if n := testutil.CollectAndCount(table); n != 0 {
		t.Errorf("%d metrics of no rows", n)
	}
}
