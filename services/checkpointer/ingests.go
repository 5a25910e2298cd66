package checkpointer

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
)

// ingests are the ingests that report to this leader. An ingest reports before it subscribes
// to anything, so that none accepts events without the leader knowing it.
type ingests struct {
	mu sync.Mutex
	of map[string]*ingest
}

type ingest struct {
	seen   time.Time
	name   string
	number uint64
	level  uint32
	apps   map[string]control.Serving
}

// hear records the report of an ingest, unless a newer one has arrived.
func (in *ingests) hear(r *control.ServingRequest, now time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for id, known := range in.of {
		if now.Sub(known.seen) > control.HeartbeatTimeout {
			delete(in.of, id)
		}
	}
	if known := in.of[r.Ingest]; known != nil && known.number > r.Number {
		return
	}
	one := &ingest{seen: now, name: r.Name, number: r.Number, level: r.Level, apps: map[string]control.Serving{}}
	for _, a := range r.Apps {
		one.apps[a.App] = a
	}
	in.of[r.Ingest] = one
}

// alive returns the ingests with a recent report, by name.
func (in *ingests) alive(now time.Time) (all []*ingest) {
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, one := range in.of {
		if now.Sub(one.seen) <= control.HeartbeatTimeout {
			all = append(all, one)
		}
	}
	slices.SortFunc(all, func(a, b *ingest) int { return cmp.Compare(a.name, b.name) })
	return all
}

// serve reports whether any ingest still serves an app.
func (in *ingests) serve(app string, now time.Time) bool {
	return slices.ContainsFunc(in.alive(now), func(one *ingest) bool {
		_, holds := one.apps[app]
		return holds
	})
}
