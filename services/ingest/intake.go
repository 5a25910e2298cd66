package ingest

import (
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/event"
	"github.com/eventflux/eventflux/shared/lang/event/rowavro"
	"github.com/eventflux/eventflux/shared/lang/event/rowjson"
	"github.com/eventflux/eventflux/shared/lang/event/rowproto"
	"github.com/eventflux/eventflux/shared/lang/event/rowtext"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// routesMax is how many routes of subjects under a wildcard are cached.
const routesMax = 4096

// idStartChars is long enough that no two processes choose the same start: 60 bits.
const idStartChars = 12

// intake turns messages into appends. One goroutine uses it at a time. It reuses its memory
// for the next message.
type intake struct {
	s       *Service
	table   *table // the table that routes, targets and readers are made from
	routes  map[string]*route
	targets map[*source]*target
	readers []*reader
	arrived int64  // never goes back
	idStart string // random start of the ids that messages get
	ids     uint64 // how many ids were given

	// Of the message that is handled:
	letter   messageHeaders
	inflater inflater
	sends    []send
	cost     int64
}

// route is where messages of one subject go.
type route struct {
	decodings []decoding
	several   bool // more than one app reads the subject
}

// decoding is a definition and the sources that share it.
type decoding struct {
	*reader
	targets []*target

	accepted int // rows of the current message
	refused  []rowjson.Refused
	ignored  uint64 // rows of the current message with members that are no attributes
}

// reader decodes the rows of one definition for sources that find the event's time in the
// same way.
type reader struct {
	schema   *event.Schema
	clocking clocking
	decoder  decoder
	batch    *event.Batch
	clocked  clocked // of the current message
	keys     string  // of its sources
	keyMax   int
	stream   *siddhiql.Stream // whose map its sources share
}

// decoder appends the rows of messages to batches: of JSON, CSV, text, Protocol Buffers or Avro.
type decoder interface {
	Rows(b *event.Batch, payload []byte, ts int64) (accepted int, refused []rowjson.Refused)
	Check(check func(b *event.Batch) *rowjson.RowError)
	Ignored() uint64
}

func newDecoder(s *siddhiql.Stream) decoder {
	switch {
	case s.Text != nil:
		return rowtext.New(s.Schema, s.Text)
	case s.Proto != nil:
		return rowproto.New(s.Schema, s.Proto)
	case s.Avro != nil:
		return rowavro.New(s.Schema, s.Avro)
	}
	return rowjson.NewMapped(s.Schema, s.Map)
}

// reads reports whether the reader is one for a source.
func (r *reader) reads(src *source) bool {
	return sameDefinition(r.schema, src.stream.Schema) && r.clocking == clockingOf(src.app, src.stream) && r.keys == src.keys && r.keyMax == src.keyMax &&
		r.stream.SameMap(src.stream)
}

func newIntake(s *Service) *intake {
	return &intake{s: s, routes: map[string]*route{}, targets: map[*source]*target{}, idStart: rand.Text()[:idStartChars]}
}

// target is a source with the batches for its partitions.
type target struct {
	*source
	key   func(b *event.Batch, row int) (string, bool)
	parts []*event.Batch // rows of the current message by partition
	// problem is why the logs can never take the rows of the message; nil if they can.
	problem *problem
}

// handle handles one message of a publisher. It never waits for the logs.
func (s *Service) handle(m *nats.Msg) {
	s.handling.Lock()
	defer s.handling.Unlock()
	in := s.intake
	r := in.route(m.Subject)
	if problem := in.accept(m, r); problem != nil {
		s.counters.refusedFor(problem.code)
		s.refuse(m, problem, r.several)
	}
}

// accept accepts the events of a message, except those that are refused. If it returns a
// problem, it has accepted nothing of the message.
func (in *intake) accept(m *nats.Msg, r *route) *problem {
	s := in.s
	switch {
	case len(r.decodings) == 0:
		s.counters.unknown.record(m.Subject)
		return &problem{unknownStream, "no deployed app reads " + m.Subject + "; " + in.table.listing}
	case len(m.Data) > s.cfg.EventBytesMax:
		return in.refuseAll(r, &problem{tooLarge, fmt.Sprintf(
			"message of %d bytes, limit %d (ingest.event_bytes_max); split it if it holds several events", len(m.Data), s.cfg.EventBytesMax)})
	}
	if p := r.unavailable(); p != nil {
		s.counters.unavailable.record(p.text)
		return p
	}
	if err := s.cfg.Room(); err != nil {
		s.counters.overload.record(err.Error())
		return &problem{diskFull, "no events are accepted: " + err.Error() + "; publish again later"}
	}
	if p := r.allClosed(s.cfg.LagMax); p != nil {
		return s.slow(p)
	}
	if waiting := s.counters.waiting.Load(); waiting >= s.cfg.MemoryMax { // before decoding the message
		return s.full(fmt.Sprintf("%d bytes wait to be durable", waiting), r.health())
	}
	in.arrived = max(in.arrived, s.cfg.Now())
	in.letter = messageHeaders{ts: in.arrived}
	if m.Header != nil {
		if err := in.letter.read(m); err != nil {
			in.buryAll(m, r, err)
			return in.refuseAll(r, &problem{badHeader, err.Error()})
		}
		plain, err := in.inflater.inflate(m, s.cfg.EventBytesMax)
		if err != nil {
			in.buryAll(m, r, err)
			if errors.Is(err, errInflated) {
				return in.refuseAll(r, &problem{tooLarge, err.Error()})
			}
			return in.refuseAll(r, &problem{badHeader, err.Error()})
		}
		m = plain
	}
	refused := in.decode(m, r)
	short, p := in.spreadWithID(m, r)
	if p != nil {
		return in.refuseAll(r, p)
	}
	if p := in.cannot(); p != nil {
		return s.slow(p)
	}
	if p := in.stalled(m, r); p != nil {
		s.counters.unavailable.record(p.text)
		return p
	}
	refused = refused || short
	if !s.reserve(in.cost, s.cfg.MemoryMax) {
		return s.full(fmt.Sprintf("%d bytes wait to be durable", s.counters.waiting.Load()), r.health())
	}
	if refused {
		in.bury(m, r)
	}
	in.commit(m, r, refused)
	return nil
}

// decode reads the rows into the batches of the decodings, and reports whether any row was
// refused.
func (in *intake) decode(m *nats.Msg, r *route) (refused bool) {
	for i := range r.decodings {
		l := &r.decodings[i]
		l.batch.Reset()
		l.clocked = clocked{}
		before := l.decoder.Ignored()
		l.accepted, l.refused = l.decoder.Rows(l.batch, m.Data, in.letter.ts)
		l.ignored = l.decoder.Ignored() - before
		refused = refused || l.refused != nil
		for _, t := range l.targets {
			t.ignored.Add(l.ignored)
			l.clocked.countIn(&t.timed)
		}
	}
	return refused
}

// refuseAll counts a message that is refused as a whole.
func (in *intake) refuseAll(r *route, p *problem) *problem {
	for i := range r.decodings {
		for _, t := range r.decodings[i].targets {
			t.refused.Add(1)
		}
	}
	in.s.counters.refused.record(p.text)
	return p
}

// route returns the route of a subject.
func (in *intake) route(subject string) *route {
	if t := in.s.table.Load(); t != in.table {
		in.use(t)
	}
	r, ok := in.routes[subject]
	if ok {
		return r
	}
	if len(in.routes) >= routesMax {
		clear(in.routes)
	}
	r = &route{}
	for _, sources := range readersOf(in.table.sources, subject) {
		r.decodings = append(r.decodings, in.newDecoding(sources))
		r.several = r.several || slices.ContainsFunc(sources, func(src *source) bool { return src.unit != r.decodings[0].targets[0].unit })
	}
	in.routes[subject] = r
	return r
}

// use switches to another table, and keeps the targets and readers that have not changed.
func (in *intake) use(t *table) {
	in.table = t
	clear(in.routes)
	for src := range in.targets {
		if !slices.Contains(t.sources, src) {
			delete(in.targets, src)
		}
	}
	in.readers = slices.DeleteFunc(in.readers, func(r *reader) bool {
		return !slices.ContainsFunc(t.sources, r.reads)
	})
}

// unavailable returns a problem if an app that reads the subject accepts nothing at the
// moment. Then no app gets the message, and the publisher repeats it for all of them.
func (r *route) unavailable() *problem {
	for i := range r.decodings {
		for _, t := range r.decodings[i].targets {
			if u := t.unit; u.refusing != "" {
				return &problem{appUnavailable, fmt.Sprintf("app %s accepts no events at the moment: %s; publish again later", u.name, u.refusing)}
			}
		}
	}
	return nil
}

func (in *intake) newDecoding(sources []*source) decoding {
	l := decoding{reader: in.reader(sources[0])}
	for _, s := range sources {
		l.targets = append(l.targets, in.target(s))
	}
	return l
}

// target returns the target of a source, which has its batches of rows by partition.
func (in *intake) target(s *source) *target {
	if t := in.targets[s]; t != nil {
		return t
	}
	t := &target{source: s}
	if len(s.logs) > 1 {
		t.key = engine.NewShardKey(s.stream)
		for range s.logs {
			t.parts = append(t.parts, event.NewBatch(s.stream.Schema))
		}
	}
	in.targets[s] = t
	return t
}

func (in *intake) reader(src *source) *reader {
	for _, r := range in.readers {
		if r.reads(src) {
			return r
		}
	}
	s := src.stream
	r := &reader{
		schema: s.Schema, clocking: clockingOf(src.app, s), keys: src.keys, keyMax: src.keyMax, stream: s,
		decoder: newDecoder(s), batch: event.NewBatch(s.Schema),
	}
	r.decoder.Check(func(b *event.Batch) *rowjson.RowError {
		if err := r.keysFit(b); err != nil {
			return err
		}
		return in.clock(r, b)
	})
	in.readers = append(in.readers, r)
	return r
}
