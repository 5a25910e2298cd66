// Package measured times the operations of a store, and leaves the work to the backend.
package measured

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/state/store"
)

// Store is a store whose operations are timed. It is a prometheus.Collector, and collects from
// the store too if that is one.
type Store struct {
	store.Store
	took  *prometheus.HistogramVec
	bytes *prometheus.CounterVec
}

var operations = []string{"put", "get", "list", "delete", "commit", "head"}

// Wrap returns s with its operations timed. Closing it closes s.
func Wrap(s store.Store) *Store {
	m := &Store{
		Store: s,
		took: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "eventflux_store_operation_seconds", Help: "Time that an operation of the store of checkpoints took; the outcome is ok or error.",
			Buckets: prometheus.ExponentialBuckets(125e-6, 2.5, 14), // to 19 s
		}, []string{"operation", "outcome"}),
		bytes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "eventflux_store_bytes_total", Help: "Bytes of objects given to the store of checkpoints, and taken from it.",
		}, []string{"operation"}),
	}
	for _, o := range operations {
		m.took.WithLabelValues(o, "ok")
		m.took.WithLabelValues(o, "error")
	}
	for _, o := range []string{"put", "get", "commit"} {
		m.bytes.WithLabelValues(o)
	}
	return m
}

// Unwrap returns the store that is wrapped.
func (s *Store) Unwrap() store.Store { return s.Store }

// Describe implements prometheus.Collector.
func (s *Store) Describe(to chan<- *prometheus.Desc) {
	s.took.Describe(to)
	s.bytes.Describe(to)
	if c, ok := store.As[prometheus.Collector](s.Store); ok {
		c.Describe(to)
	}
}

// Collect implements prometheus.Collector.
func (s *Store) Collect(to chan<- prometheus.Metric) {
	s.took.Collect(to)
	s.bytes.Collect(to)
	if c, ok := store.As[prometheus.Collector](s.Store); ok {
		c.Collect(to)
	}
}

// done counts an operation. Outcomes that are not failures to its callers count as ok: the
// object exists, or does not, or a newer term has written.
func (s *Store) done(operation string, begun time.Time, err error) {
	outcome := "ok"
	if err != nil && !errors.Is(err, store.ErrExists) && !errors.Is(err, store.ErrNotFound) && !errors.Is(err, store.ErrFenced) {
		outcome = "error"
	}
	s.took.WithLabelValues(operation, outcome).Observe(time.Since(begun).Seconds())
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, data []byte) error {
	begun := time.Now()
	err := s.Store.Put(ctx, name, data)
	s.done("put", begun, err)
	if err == nil {
		s.bytes.WithLabelValues("put").Add(float64(len(data)))
	}
	return err
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string) ([]byte, error) {
	begun := time.Now()
	data, err := s.Store.Get(ctx, name)
	s.done("get", begun, err)
	s.bytes.WithLabelValues("get").Add(float64(len(data)))
	return data, err
}

// GetRange implements store.Ranger. It counts as a get.
func (s *Store) GetRange(ctx context.Context, name string, offset, n int64) ([]byte, error) {
	begun := time.Now()
	data, err := store.GetRange(ctx, s.Store, name, offset, n)
	s.done("get", begun, err)
	s.bytes.WithLabelValues("get").Add(float64(len(data)))
	return data, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, visit func(store.Object) error) error {
	begun := time.Now()
	err := s.Store.List(ctx, prefix, visit)
	s.done("list", begun, err)
	return err
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string, since time.Time) error {
	begun := time.Now()
	err := s.Store.Delete(ctx, name, since)
	s.done("delete", begun, err)
	return err
}

// Commit implements store.Store.
func (s *Store) Commit(ctx context.Context, c store.Commit) error {
	begun := time.Now()
	err := s.Store.Commit(ctx, c)
	s.done("commit", begun, err)
	if err == nil {
		s.bytes.WithLabelValues("commit").Add(float64(len(c.Manifest)))
	}
	return err
}

// Head implements store.Store.
func (s *Store) Head(ctx context.Context, app string) (store.Head, error) {
	begun := time.Now()
	head, err := s.Store.Head(ctx, app)
	s.done("head", begun, err)
	return head, err
}
