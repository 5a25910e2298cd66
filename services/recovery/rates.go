package recovery

import (
	"fmt"
	"sync"
	"time"
)

// Assumed rates until there is a measurement.
const (
	loadBytesPerSecond    = 50e6  // of state, uncompressed
	replayEventsPerSecond = 500e3 // of all partitions
	rateWeight            = 0.3   // of the newest measurement
)

// rates remembers how fast this process recovers.
type rates struct {
	mu           sync.Mutex
	load, replay float64
	loads        int
	replays      int
}

// loaded adds a measurement: so many bytes of state were loaded in that time.
func (r *rates) loaded(bytes int64, took time.Duration) {
	if bytes > 0 && took > 0 {
		r.add(&r.load, &r.loads, float64(bytes)/took.Seconds())
	}
}

// replayed adds a measurement: so many events were replayed in that time.
func (r *rates) replayed(events uint64, took time.Duration) {
	if events > 0 && took > 0 {
		r.add(&r.replay, &r.replays, float64(events)/took.Seconds())
	}
}

// add updates a weighted average of a rate.
func (r *rates) add(rate *float64, count *int, measured float64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if *count++; *count == 1 {
		*rate = measured
		return
	}
	*rate += rateWeight * (measured - *rate)
}

// now returns bytes and events per second, and how they were found.
func (r *rates) now() (load, replay float64, basis string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	load, replay = r.load, r.replay
	if r.loads == 0 {
		load = loadBytesPerSecond
	}
	if r.replays == 0 {
		replay = replayEventsPerSecond
	}
	if r.loads+r.replays == 0 {
		return load, replay, "assumed: this process has not recovered anything yet"
	}
	return load, replay, fmt.Sprintf("measured by this process: %d loads, %d replays", r.loads, r.replays)
}
