package siddhiql

import "strings"

// Values of `type` in @source and @sink.
const (
	typeNATS = "nats"
	typeLog  = "log"
)

// natsKeys are settings of Siddhi's NATS transport, with what to write instead.
var natsKeys = map[string]string{
	"destination":           "it is called `subject` here",
	"bootstrap.servers":     "the NATS servers are a setting of EventFlux, `nats.url`: leave it out",
	"cluster.id":            "it belongs to NATS Streaming, which JetStream has replaced: leave it out",
	"client.id":             "EventFlux names its own clients: leave it out",
	"durable.name":          "EventFlux keeps its position itself: leave it out",
	"queue.group.name":      "every event is taken in once, by one process: leave it out",
	"subscription.sequence": "write `from='seq:…'` with `stream='…'`",
}

// sinkLimits are limits of JetStream streams that output streams do not have, with what to write
// instead.
var sinkLimits = map[string]string{
	"max.msgs": "write `max.age`, `max.bytes` or `max.msgs.per.subject`",
}

// logSinkKeys are the settings of a sink of type log.
var logSinkKeys = []string{"type", "prefix", "priority"}

// transport reads `type` of a @source or @sink and returns the annotation without it. It
// refuses every type but nats; false after an error.
func (mp *mappingChecker) transport(a *Annotation) (rest *Annotation, ok bool) {
	other := *a
	other.Elems = nil
	name, good := "", true
	for _, e := range a.Elems {
		if strings.EqualFold(e.Key, "type") && e.Nested == nil {
			name = strings.ToLower(e.Value)
			if name != typeNATS && name != typeLog || name == typeLog && is(a, "source") {
				mp.errorf(e.Pos, "`type='%s'` of `@%s` is outside the language here: %s", shorten(e.Value), a.Name, otherTransport(a))
				good = false
			}
			continue
		}
		other.Elems = append(other.Elems, e)
	}
	for _, e := range other.Elems {
		hint := ""
		if is(a, "sink") {
			hint = sinkLimits[strings.ToLower(e.Key)]
		}
		if name == typeNATS && hint == "" {
			hint = natsKeys[strings.ToLower(e.Key)]
		}
		if hint != "" {
			mp.errorf(e.Pos, "unknown key %s of `@%s`: %s", tick(e.Key), a.Name, hint)
			good = false
		}
	}
	return &other, good
}

func otherTransport(a *Annotation) string {
	if is(a, "source") {
		return "events come from NATS; write `@source(subject='…')` for a subject of NATS, or leave `@source` out and publish to `events.<Stream>`"
	}
	return "results go to NATS; leave `@sink` out and read them from `out.<app>.<Stream>.*`, or from a service of your own that sends them on"
}

// logSink reports whether a @sink writes results to the log, as Siddhi's does. It has no
// effect, which a warning says.
func (mp *mappingChecker) logSink(a *Annotation) bool {
	for _, e := range a.Elems {
		if !strings.EqualFold(e.Key, "type") || !strings.EqualFold(e.Value, typeLog) || e.Nested != nil {
			continue
		}
		_, plain := mp.nested(a, "map")
		if _, good := mp.elems(plain, logSinkKeys...); good {
			mp.warnf(a.Pos, "`@sink(type='log')` writes nothing to a log here: results are published as without it; watch them with `eventflux subscribe 'out.<app>.<Stream>.*'`")
		}
		return true
	}
	return false
}
