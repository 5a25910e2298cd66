package ingest

import (
	"fmt"
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

// table maps subjects to apps. It is immutable: when the served apps change, a new table
// replaces it.
type table struct {
	sources  []*source // by app and in the order of its definitions
	patterns []string  // to subscribe to
	listing  string    // the streams that exist
}

func newTable(units []*unit) *table {
	t := &table{}
	for _, u := range units {
		for _, s := range u.served() {
			if s.stream.ReadsBucket() == nil { // tables have no publishers
				t.sources = append(t.sources, s)
			}
		}
	}
	t.patterns, t.listing = patterns(t.sources), listing(t.sources)
	return t
}

// source is a stream of an app that gets events from publishers or from JetStream.
type source struct {
	app    *siddhiql.Plan
	unit   *unit // of the app
	stream *siddhiql.Stream
	logs   []*log // by partition
	dead   string // subject of dead letters

	made  time.Time
	added bool // an upgrade of the app may have added the stream

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
	// writer is nil until the first events can be accepted. The appending goroutine holds
	// Service.handling, or ends before the unit replaces the writer.
	writer atomic.Pointer[wal.Writer]
	flow   flow
	recent *recentIDs
}

// patterns returns the patterns to subscribe to, in a fixed order: events.>, and each subject
// of the sources that no other pattern covers. Subjects of results are not among them: links
// read results from JetStream.
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

// readersOf returns the sources of a message on the subject to, grouped by definition: each
// definition is decoded once.
func readersOf(sources []*source, to string) [][]*source {
	var decodings [][]*source
	for _, s := range sources {
		if !subject.Covers(s.stream.Subject, to) {
			continue
		}
		i := slices.IndexFunc(decodings, func(l []*source) bool {
			return sameDefinition(l[0].stream.Schema, s.stream.Schema) && clockingOf(l[0].app, l[0].stream) == clockingOf(s.app, s.stream) && l[0].keys == s.keys && l[0].keyMax == s.keyMax &&
				l[0].stream.SameMap(s.stream)
		})
		if i < 0 {
			decodings = append(decodings, []*source{s})
		} else {
			decodings[i] = append(decodings[i], s)
		}
	}
	return decodings
}

func sameDefinition(a, b *event.Schema) bool { return a.Name == b.Name && a.Same(b) }

// from says where the events of a stream come from.
func from(s *siddhiql.Stream) string {
	if s.Origin != nil {
		return "read from " + s.ReadsFrom()
	}
	return "subject " + s.Subject
}

// listing lists the existing streams, for the error about an unknown stream.
func listing(sources []*source) string {
	if len(sources) == 0 {
		return "no stream exists, because no app with a stream is deployed"
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
