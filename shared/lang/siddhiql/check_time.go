package siddhiql

import (
	"math"
	"reflect"
	"strconv"
	"strings"

	"github.com/eventflux/eventflux/shared/lang/event"
)

// LatenessOff is Plan.Lateness of an app without lateness.
const LatenessOff = -1

// aheadDefault is the default of Plan.Ahead, in ms.
const aheadDefault = 60 * 60 * 1000

const (
	faultSign = "!"
	faultAttr = "_error" // says why an event could not be applied
)

// playback reads @app:playback(lateness='…', ahead='…', idle.time='…', increment='…').
func (df *definitionChecker) playback(a *Annotation) {
	p := df.plan
	p.Playback = true
	elems, good := df.elems(a, annotations["app:playback"].keys...)
	if !good {
		return
	}
	df.span(elems["lateness"], "lateness", 0, &p.Lateness)
	df.span(elems["ahead"], "ahead", 0, &p.Ahead)
	idle, increment := elems["idle.time"], elems["increment"]
	df.span(idle, "idle.time", 1, &p.Idle)
	df.span(increment, "increment", 1, &p.Increment)
	switch {
	case idle != nil && increment == nil:
		df.errorf(idle.Pos, "`idle.time` says when the clock moves without an event, and nothing says by how much: write `increment='…'` beside it")
	case idle == nil && increment != nil:
		df.errorf(increment.Pos, "`increment` says how far the clock moves without an event, and nothing says when: write `idle.time='…'` beside it")
	}
}

// span reads the time of an annotation's element, if there is one, into ms. It must be at
// least least ms, which is 0 or 1.
func (bd *build) span(e *AnnotationElem, key string, least int64, ms *int64) {
	if e == nil {
		return
	}
	switch n, ok := parseSpan(e.Value); {
	case !ok:
		bd.errorf(e.Pos, "found '%s' as %s, expected a time such as '5 sec' or '1 hour 30 min'", shorten(e.Value), tick(key))
	case n < least:
		bd.errorf(e.Pos, "found '%s' as %s, expected a time above 0", shorten(e.Value), tick(key))
	default:
		*ms = n
	}
}

// parseSpan reads a time such as `1 hour 30 min` as ms: whole numbers, each with a unit
// of time, in falling units.
func parseSpan(text string) (ms int64, ok bool) {
	last := -1
	rest := strings.TrimSpace(text)
	for rest != "" {
		n := digits(rest)
		number, err := strconv.ParseInt(rest[:n], 10, 64)
		rest = strings.TrimLeft(rest[n:], " \t")
		word := wordLength(rest)
		unit, known := unitOf(rest[:word])
		if err != nil || !known || unit <= last || number > (math.MaxInt64-ms)/timeUnits[unit].ms {
			return 0, false
		}
		ms += number * timeUnits[unit].ms
		last, rest = unit, strings.TrimLeft(rest[word:], " \t")
	}
	return ms, last >= 0
}

// timestamp reads which attribute has the own time of a stream's events.
func (df *definitionChecker) timestamp(e *AnnotationElem, s *Stream) {
	i := s.Schema.Index(e.Value)
	switch {
	case i < 0:
		df.errorf(e.Pos, "stream %s has no attribute %s to take the time of its events from%s", tick(s.Name), tick(e.Value), didYouMean(e.Value, attrNames(s.Schema)))
	case s.Schema.Attrs[i].Type != event.Long && s.Schema.Attrs[i].Type != 0:
		df.errorf(e.Pos, "attribute %s of stream %s is of type %s: expected a long with the ms since 1970 as the time of its events", tick(e.Value), tick(s.Name), s.Schema.Attrs[i].Type)
	default:
		s.TimeAttr = i
	}
}

// fault returns the stream of the events that could not be applied to a stream. It exists
// once a query reads it.
func (ct *catalog) fault(r StreamRef) *known {
	if k := ct.faults[r.Name]; k != nil {
		return k
	}
	of := ct.outer[r.Name]
	switch {
	case of == nil:
		return ct.find(StreamRef{Pos: r.Pos, Name: r.Name}) // says that there is none
	case !of.stream.Defined:
		ct.errorf(r.Pos, "stream %s is filled by a query, so none of its events is ever late: expected `!` before a stream of a `define stream`", tick(r.Name))
		return nil
	case ct.plan.Lateness == LatenessOff && !of.stream.Refused:
		ct.errorf(r.Pos, "%s has the late events of stream %s, but no event is late in this app: write `@app:playback(lateness='…')`, or leave the query out; for events that a window or a table refuses, write `@OnError(action='stream')` on the stream", tick(r.String()), tick(r.Name))
		return nil
	}
	schema := &event.Schema{Name: r.String()}
	schema.Attrs = append(schema.Attrs, of.stream.Schema.Attrs...)
	if schema.Index(faultAttr) >= 0 {
		ct.errorf(r.Pos, "%s adds the attribute %s, which stream %s has already: rename that one", tick(r.String()), tick(faultAttr), tick(r.Name))
		return nil
	}
	schema.Attrs = append(schema.Attrs, event.Attr{Name: faultAttr, Type: event.Object})
	s := &Stream{ID: len(ct.plan.Streams), Name: r.String(), Schema: schema, Block: -1, TimeAttr: -1}
	ct.plan.Streams = append(ct.plan.Streams, s)
	of.stream.Fault = s
	if of.stream.Refused {
		ct.feeds[of.stream] = append(ct.feeds[of.stream], s)
	}
	k := &known{stream: s, at: r.Pos}
	ct.faults[r.Name] = k
	return k
}

// faultKeys checks an app of several partitions: a late event is in the partition that its
// stream's key gives.
func (sh *shardChecker) faultKeys() {
	for _, s := range sh.plan.Streams {
		f := s.Fault
		if f == nil || f.ShardKey == nil || reflect.DeepEqual(f.ShardKey, s.ShardKey) {
			continue
		}
		sh.errorf(sh.catalog.faults[s.Name].at, "%s has another key than stream %s, whose key decides which of the app's %d partitions an event goes to: expected the same key for both", tick(f.Name), tick(s.Name), sh.plan.Partitions)
	}
}
