package ingest

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// inputs is the default subject of every stream.
const inputs = "events.>"

// namedMax is how many streams an error lists.
const namedMax = 100

// table says where messages go. It never changes: another one replaces it when the apps
// that are served change.
type table struct {
	sources  []*source // by app and in the order of its definitions
	patterns []string  // to subscribe to
	listing  string    // the streams that exist
}

func newTable(units []*unit) *table {
	t := &table{}
	for _, u := range units {
		t.sources = append(t.sources, u.served()...)
	}
	t.patterns, t.listing = patterns(t.sources), listing(t.sources)
	return t
}

// source is a stream of an app that events are published to, or that has the
// results of another app for events.
type source struct {
	app    *siddhiql.Plan
	unit   *unit // of the app
	stream *siddhiql.Stream
	logs   []*log // by partition
	dead   string // subject of dead letters

	made  time.Time
	added bool // by an upgrade of the app, or it may be

	keys   string // attributes that are keys in the app, each as a letter
	keyMax int    // bytes of the longest

	accepted, refused atomic.Uint64 // events
	ignored           atomic.Uint64 // events with members that are no attributes
	timed
}

// log is the log of a partition.
type log struct {
	app    string
	part   uint32
	stream string // of JetStream
	prefix []byte // of the answer to a publisher, up to the sequence
	// writer is nil before the first events can be accepted. Whoever appends holds
	// Service.handling, or ends before the unit replaces it.
	writer atomic.Pointer[wal.Writer]
	flow   flow
	recent *recentIDs
}

// patterns returns what must be subscribed to: events.>, and each subject of the
// sources that no other pattern covers, in a fixed order. Results are not
// subscribed to: links read them from JetStream.
func patterns(sources []*source) []string {
	var all []string
	for _, s := range sources {
		if !s.linked() {
			all = append(all, s.stream.Subject)
		}
	}
	slices.Sort(all)
	all = slices.Compact(append([]string{inputs}, all...))
	var kept []string
	for i, p := range all {
		if !slices.ContainsFunc(all[:i], func(o string) bool { return subject.Covers(o, p) }) &&
			!slices.ContainsFunc(all[i+1:], func(o string) bool { return subject.Covers(o, p) }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// readersOf returns the sources that a message on the subject to is for, those of the
// same definition together: they are decoded once.
func readersOf(sources []*source, to string) [][]*source {
	var lanes [][]*source
	for _, s := range sources {
		if !subject.Covers(s.stream.Subject, to) {
			continue
		}
		i := slices.IndexFunc(lanes, func(l []*source) bool {
			return sameDefinition(l[0].stream.Schema, s.stream.Schema) && clockingOf(l[0].app, l[0].stream) == clockingOf(s.app, s.stream) && l[0].keys == s.keys && l[0].keyMax == s.keyMax && reflect.DeepEqual(l[0].stream.Map, s.stream.Map)
		})
		if i < 0 {
			lanes = append(lanes, []*source{s})
		} else {
			lanes[i] = append(lanes[i], s)
		}
	}
	return lanes
}

func sameDefinition(a, b *event.Schema) bool { return a.Name == b.Name && a.Same(b) }

// from names where the events of a stream come from.
func from(s *siddhiql.Stream) string {
	if s.Origin != nil {
		return "read from " + s.ReadsFrom()
	}
	return "subject " + s.Subject
}

// listing names the streams that exist, for those who publish to another.
func listing(sources []*source) string {
	if len(sources) == 0 {
		return "no stream exists, as no app with a stream is deployed"
	}
	var b strings.Builder
	b.WriteString("streams that exist: ")
	for i, s := range sources {
		if i == namedMax {
			fmt.Fprintf(&b, ", and %d more", len(sources)-i)
			break
		}
		if i > 0 {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "%s of app %s (%s)", s.stream.Name, s.app.Name, from(s.stream))
	}
	return b.String()
}
