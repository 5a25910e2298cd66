package processor

import (
	"slices"
	"sync"
)

// resultStreams numbers the streams of an app that have results in any version. The numbers in
// a plan are valid for one version only. Streams are numbered in the order of their first use.
// It may be used concurrently.
type resultStreams struct {
	mu    sync.Mutex
	names []string
}

// number returns the number of a stream, and gives it one if it has none.
func (r *resultStreams) number(name string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i := slices.Index(r.names, name); i >= 0 {
		return i
	}
	r.names = append(r.names, name)
	return len(r.names) - 1
}

// all returns the names by their numbers.
func (r *resultStreams) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.names)
}
