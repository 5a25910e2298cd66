package merging

import (
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/eventflux/eventflux/services/merger"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/cloud/s3"
	"github.com/eventflux/eventflux/shared/testing/s3test"
)

// requests counts the requests to a bucket.
type requests struct{ reads, writes, deletes, lists atomic.Int64 }

func (c *requests) all() int64 {
	return c.reads.Load() + c.writes.Load() + c.deletes.Load() + c.lists.Load()
}

// bucket returns a store in a bucket, and the counts of its requests.
func bucket(t testing.TB) (store.Store, *requests) {
	t.Helper()
	server, c := s3test.Start(t), &requests{}
	server.Intercept(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			switch {
			case r.URL.Query().Has("list-type"):
				c.lists.Add(1)
			case r.Method == http.MethodPut:
				c.writes.Add(1)
			case r.Method == http.MethodDelete:
				c.deletes.Add(1)
			default:
				c.reads.Add(1)
			}
			next.ServeHTTP(w, r)
		})
	})
	s, err := s3.Open(t.Context(), server.URL("x"), slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(func() { must(t, s.Close()) })
	return s, c
}

// A checkpoint, a merge and a restart list nothing in the store. Only a sweep does.
func TestOnlySweepsList(t *testing.T) {
	s, count := bucket(t)
	r := newRig(t, options{store: s, grace: time.Millisecond, retain: 2})
	idle := r.hourly(s)
	must(t, idle.Work(r.within())) // sweeps once
	if count.lists.Swap(0) == 0 {
		t.Error("a sweep is not seen to list")
	}
	for idle.Status().Swaps == 0 {
		for range 4 {
			r.checkpoint(heard, nil)
		}
		must(t, idle.Work(r.within()))
	}
	r.attach()
	r.checkpoint(heard, nil)
	if n := count.lists.Load(); n > 0 {
		t.Errorf("%d requests list objects", n)
	}
}

// hourly returns a merger that sweeps at its first pass, and then after an hour.
func (r *rig) hourly(s store.Store) *merger.Service {
	r.t.Helper()
	m, err := merger.New(merger.Config{
		Conn: r.nc, Control: r.client, Store: s, Interval: time.Hour, ChainMax: 4, DeltaRatio: 0.5,
		SweepEvery: time.Hour, Workers: 2, Version: "1.0.0", Log: quiet,
	})
	must(r.t, err)
	return m
}

// BenchmarkHour makes the checkpoints of an hour, one after the other, with the merges and sweeps
// of that hour, and counts their requests: a checkpoint each 10 s, those of 10 minutes retained, a
// sweep each minute.
func BenchmarkHour(b *testing.B) {
	const checkpointsPerMinute, retained, minutes = 6, 60, 60
	if *seed == 0 {
		*seed = 1
	}
	s, count := bucket(b)
	r := newRig(b, options{store: s, grace: time.Nanosecond, retain: retained})
	merging, sweeping := r.hourly(s), r.merger(s)
	minute := func() (checkpoints, merges, sweeps int64) {
		at := func() int64 { return count.all() }
		for range checkpointsPerMinute {
			start := at()
			r.checkpoint(heard, nil)
			checkpoints += at() - start
			start = at()
			must(b, merging.Work(r.within()))
			merges += at() - start
		}
		start := at()
		must(b, sweeping.Work(r.within()))
		return checkpoints, merges, at() - start
	}
	for range retained/checkpointsPerMinute + 1 { // until as many are retired as are made
		minute()
	}
	for b.Loop() {
		var checkpoints, merges, sweeps int64
		lists, deletes := count.lists.Load(), count.deletes.Load()
		for range minutes {
			c, m, w := minute()
			checkpoints, merges, sweeps = checkpoints+c, merges+m, sweeps+w
		}
		b.ReportMetric(float64(checkpoints), "checkpoints/h")
		b.ReportMetric(float64(merges), "merges/h")
		b.ReportMetric(float64(sweeps), "sweeps/h")
		b.ReportMetric(float64(count.lists.Load()-lists), "lists/h")
		b.ReportMetric(float64(count.deletes.Load()-deletes), "deletes/h")
	}
}
