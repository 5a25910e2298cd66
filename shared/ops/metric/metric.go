// Package metric turns what a service says of itself into metrics of Prometheus, when
// they are asked for: nothing is counted twice, and an event costs nothing. Which
// metrics there are is left to the services, how they are served to shared/ops/obs.
package metric

import (
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Column is one metric of a Table.
type Column[T any] struct {
	Name, Help string
	Type       prometheus.ValueType
	// Value reads it off a row. NaN stands for what is not known, and is left out.
	Value func(*T) float64
}

// Gauge is a metric that goes up and down.
func Gauge[T any](name, help string, value func(*T) float64) Column[T] {
	return Column[T]{name, help, prometheus.GaugeValue, value}
}

// Counter is a metric that only grows, until the process ends.
func Counter[T any](name, help string, value func(*T) float64) Column[T] {
	return Column[T]{name, help, prometheus.CounterValue, value}
}

// Table is a prometheus.Collector of rows that have the same labels, such as tasks.
type Table[T any] struct {
	rows    func() []T
	values  func(*T) []string
	columns []Column[T]
	descs   []*prometheus.Desc
}

// NewTable returns a table. rows is called whenever metrics are asked for, concurrently
// at times; values returns the values of the labels of a row.
func NewTable[T any](labels []string, values func(*T) []string, rows func() []T, columns ...Column[T]) *Table[T] {
	t := &Table[T]{rows: rows, values: values, columns: columns}
	for _, c := range columns {
		t.descs = append(t.descs, prometheus.NewDesc(c.Name, c.Help, labels, nil))
	}
	return t
}

// Describe implements prometheus.Collector.
func (t *Table[T]) Describe(to chan<- *prometheus.Desc) {
	for _, d := range t.descs {
		to <- d
	}
}

// Collect implements prometheus.Collector.
func (t *Table[T]) Collect(to chan<- prometheus.Metric) {
	rows := t.rows()
	for r := range rows {
		labels := t.values(&rows[r])
		for c := range t.columns {
			if v := t.columns[c].Value(&rows[r]); !math.IsNaN(v) {
				to <- prometheus.MustNewConstMetric(t.descs[c], t.columns[c].Type, v, labels...)
			}
		}
	}
}

// Bool is 1 for true and 0 for false.
func Bool(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
