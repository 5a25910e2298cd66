package ingest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"

	"eventflux/shared/bus"
	"eventflux/shared/engine"
	"eventflux/shared/event"
	"eventflux/shared/siddhiql"
	"eventflux/shared/subject"
	"eventflux/shared/wal"
)

// inputs is the default subject of every stream.
const inputs = "events.>"

// namedMax is how many streams an error lists.
const namedMax = 100

// source is a stream of an app that events are published to, or that has the
// results of another app for events.
type source struct {
	app    *siddhiql.Plan
	stream *siddhiql.Stream
	logs   []*log // by partition
	dead   string // subject of dead letters

	keys   string // attributes that are keys in the app, each as a letter
	keyMax int    // bytes of the longest

	accepted, refused atomic.Uint64 // events
	timed
}

// log is the log of a partition.
type log struct {
	app    string
	part   uint32
	stream string // of JetStream
	prefix []byte // of the answer to a publisher, up to the sequence
	writer *wal.Writer
	flow   flow
}

// newSources returns the sources of all plans and their logs, which have no
// writers yet, in a fixed order.
func newSources(plans []*siddhiql.Plan) (sources []*source, logs []*log) {
	for _, p := range plans {
		own := make([]*log, p.Partitions)
		for i := range own {
			name := bus.WALStream(p.Name, uint32(i))
			own[i] = &log{app: p.Name, part: uint32(i), stream: name, prefix: answerPrefix(name)}
		}
		logs = append(logs, own...)
		keys := engine.KeyTexts(p)
		for _, s := range p.Streams {
			if isInput(s) {
				sources = append(sources, &source{app: p, stream: s, logs: own, dead: bus.DLQSubject(p.Name, s.Name), keys: letters(keys[s.ID])})
			}
		}
	}
	return sources, logs
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

// owner returns the pattern whose subscription handles a subject: where several
// match, NATS delivers the message to each, and the publisher must get one answer.
func owner(patterns []string, to string) string {
	for _, p := range patterns {
		if subject.Covers(p, to) {
			return p
		}
	}
	return ""
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
			return sameDefinition(l[0].stream.Schema, s.stream.Schema) && clockingOf(l[0].app, l[0].stream) == clockingOf(s.app, s.stream) && l[0].keys == s.keys && l[0].keyMax == s.keyMax
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
		fmt.Fprintf(&b, "%s of app %s (subject %s)", s.stream.Name, s.app.Name, s.stream.Subject)
	}
	return b.String()
}
