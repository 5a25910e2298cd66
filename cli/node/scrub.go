package node

import (
	"cmp"
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/streamfiles"
	"github.com/eventflux/eventflux/shared/ops/metric"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// scrubEvery is the pause between two scrubs of the embedded server's files.
const scrubEvery = 10 * time.Minute

// scrubber reads the files of the embedded server in the background. It keeps the findings of the
// newest scrub, and how far the one under way is.
type scrubber struct {
	dir string // of JetStream
	log *slog.Logger

	mu          sync.Mutex
	running     bool                           // this process scrubs
	found       map[string]streamfiles.Finding // by place
	known       map[string]bool                // places that are already logged
	ended       time.Time                      // the last complete scrub
	read, total int64                          // bytes of the scrub under way
}

// report returns the findings and the progress; nil if this process does not scrub.
func (s *scrubber) report() *control.Scrub {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.running {
		return nil
	}
	r := &control.Scrub{Ended: s.ended, Read: s.read, Total: s.total}
	for _, place := range slices.Sorted(maps.Keys(s.found)) {
		f := s.found[place]
		r.Damaged = append(r.Damaged, control.DamagedRecord{Stream: f.Stream, File: f.File, First: f.First, Last: f.Last, What: f.What})
	}
	return r
}

func (s *scrubber) progress(read, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running, s.read, s.total = true, read, total
}

// run repeatedly reads the files until ctx ends. It also checks each
// record of a log as a frame (scrubframes.go). A damaged record does no harm once a checkpoint
// covers it: the next start turns it into a hole, which trimming then removes.
func (s *scrubber) run(ctx context.Context) error {
	every := cmp.Or(faultpoint.Span("scrub"), scrubEvery)
	for {
		found := map[string]streamfiles.Finding{}
		s.progress(0, 0)
		err := streamfiles.Scrub(ctx, s.dir, streamfiles.ScrubOptions{
			Content: newFrameCheck, Progress: s.progress,
			Found: func(f streamfiles.Finding) { found[f.String()] = f },
		})
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			s.log.Warn("the files of JetStream could not be read through; trying again", "in", every, "err", err)
		}
		s.take(found, err == nil)
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return nil
		}
	}
}

// take logs new findings, and stores all findings.
func (s *scrubber) take(found map[string]streamfiles.Finding, whole bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for place, f := range found {
		if s.known[place] {
			continue
		}
		if s.known == nil {
			s.known = map[string]bool{}
		}
		s.known[place] = true
		s.log.Error("damaged record of JetStream", "stream", f.Stream, "finding", place, "fix", scrubFix(f.Stream))
	}
	s.read, s.total = 0, 0
	if whole {
		s.found, s.ended = found, time.Now()
	}
}

// scrubFix returns the advice for a damaged record of a stream.
func scrubFix(stream string) string {
	if streamfiles.IsLog(stream) {
		return "check the disk. If the app's task has read the record, it does no harm once a checkpoint is made, which happens by itself: the next start leaves a hole there, and the log is trimmed past it. Otherwise the task halts there, and names it"
	}
	return "check the disk; what the stream holds there cannot be read any more, and the next start leaves a hole there"
}

// table returns the metric of damaged records.
func (s *scrubber) table() prometheus.Collector {
	return metric.NewTable(nil,
		func(*int) []string { return nil },
		func() []int {
			s.mu.Lock()
			defer s.mu.Unlock()
			return []int{len(s.found)}
		},
		metric.Gauge("eventflux_damaged_records", "Records in the embedded server's files that cannot be read, as the newest scrub found.",
			func(count *int) float64 { return float64(*count) }))
}
