package processor

import (
	"slices"
	"sync"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
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

// follow makes the task use the plan of a version from here on.
func (t *task) follow(plan *siddhiql.Plan) {
	t.live = plan
	for _, s := range plan.Published() {
		t.streams.number(s.Name)
	}
	for s := len(t.last); s < len(t.streams.all()); s++ {
		t.last = append(t.last, position{})
		if t.mute.seq > 0 {
			t.muteSlot(s)
		}
	}
	before := t.renderer
	t.renderer = newRenderer(plan, t.partition, t.streams, t.last)
	number, _ := t.core.Deployed()
	t.renderer.version = uint32(number)
	if before != nil {
		copy(t.renderer.newest, before.newest)
	}
}

// renew makes a renderer that continues after the results at the takeover.
func (t *task) renew() {
	t.renderer = nil
	t.follow(t.live)
}
