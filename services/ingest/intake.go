package ingest

import (
	"context"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"eventflux/shared/engine"
	"eventflux/shared/event"
	"eventflux/shared/event/rowjson"
)

const (
	queueGroup = "ef-ingest" // processes of one cluster share the work of a pattern
	routesMax  = 4096        // subjects under a wildcard that are remembered
	pendingMax = 1 << 20     // messages that the client library keeps for us
	// pendingPart is the part of MemoryMax that these may take in bytes of the wire. The
	// library has read their headers by then: a message that is nothing but headers
	// takes fifteen times its bytes.
	pendingPart = 4

	drainLookEvery = 10 * time.Millisecond // the library looks every 100 ms
)

// intake handles the messages of one subscription, in one goroutine, so that
// neither order nor memory is shared. All its scratch is used again.
type intake struct {
	s       *Service
	pattern string
	sub     *nats.Subscription
	closed  chan struct{}

	routes  map[string]*route
	readers []*reader
	arrived int64 // never runs back
	dropped int   // by the client library, as of the last look

	// Of the message at hand:
	letter letter
	sends  []send
	cost   int64
}

// route is where messages of one subject go.
type route struct {
	lanes []lane
}

// lane is a definition, and the sources that have it.
type lane struct {
	*reader
	targets []*target

	accepted int // rows of the message at hand
	refused  []rowjson.Refused
}

// reader decodes rows of one definition, which get their time in the same way.
type reader struct {
	schema   *event.Schema
	clocking clocking
	decoder  *rowjson.Decoder
	batch    *event.Batch
	clocked  clocked // of the message at hand
	keys     string  // as of its sources
	keyMax   int
}

// target is a source with what it takes to spread its rows over partitions.
type target struct {
	*source
	key   func(b *event.Batch, row int) (string, bool)
	parts []*event.Batch // rows of the message at hand by partition
}

// openIntakes subscribes to all patterns.
func (s *Service) openIntakes() ([]*intake, error) {
	var all []*intake
	for _, p := range s.patterns {
		in := &intake{s: s, pattern: p, closed: make(chan struct{}), routes: map[string]*route{}}
		queue := queueGroup
		if p != inputs {
			// NATS takes subscriptions of one queue name for one group even where their
			// patterns differ, and would choose between overlapping ones at random.
			queue += "." + p
		}
		sub, err := s.cfg.Conn.QueueSubscribe(p, queue, in.handle)
		if err != nil {
			return all, fmt.Errorf("ingest: subscribe to %s: %w", p, err)
		}
		sub.SetClosedHandler(func(string) { close(in.closed) })
		in.sub = sub
		all = append(all, in)
		if err := sub.SetPendingLimits(pendingMax, int(s.cfg.MemoryMax)/pendingPart+s.cfg.EventBytesMax); err != nil {
			return all, fmt.Errorf("ingest: subscribe to %s: %w", p, err)
		}
	}
	return all, nil
}

// drain ends the subscription once all that the server has delivered is handled.
func (in *intake) drain(ctx context.Context) {
	ticker := time.NewTicker(drainLookEvery)
	defer ticker.Stop()
	err := in.sub.Drain()
	for err == nil {
		in.look() // a closed subscription no longer tells
		select {
		case <-in.closed:
			return
		case <-ticker.C:
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	in.s.cfg.Log.Warn("ingest stops with events unhandled; their publishers get no answer", "subject", in.pattern, "err", err)
	_ = in.sub.Unsubscribe() // fails only where the connection is closed, which ends it as well
	<-in.closed
}

// look counts what the client library has thrown away since the last look.
func (in *intake) look() {
	n, err := in.sub.Dropped()
	if err == nil && n > in.dropped {
		in.s.counters.dropped.add(uint64(n-in.dropped), "events arrive faster than they are handled; publish with a reply subject, and wait for the answers")
		in.dropped = n
	}
}

// handle takes one message. It never blocks on the logs.
func (in *intake) handle(m *nats.Msg) {
	r, ok := in.routes[m.Subject]
	if !ok {
		r = in.route(m.Subject)
	}
	if r == nil {
		return // another intake has it
	}
	if m.Reply != "" && !in.s.answerable(m.Reply) {
		in.s.counters.unanswered.note(fmt.Sprintf("%.100q is no subject for answers; publish with an inbox", m.Reply))
		m.Reply = "" // the events count all the same
	}
	if problem := in.take(m, r); problem != nil {
		in.s.counters.refusedFor(problem.code)
		in.s.refuse(m, problem)
	}
}

// take accepts what is to be accepted of a message. A problem is one of the whole
// message: nothing of it was taken.
func (in *intake) take(m *nats.Msg, r *route) *problem {
	s := in.s
	switch {
	case len(r.lanes) == 0:
		s.counters.unknown.note(m.Subject)
		return &problem{unknownStream, "no deployed app reads " + m.Subject + "; " + s.listing}
	case len(m.Data) > s.cfg.EventBytesMax:
		return in.refuseAll(r, &problem{tooLarge, fmt.Sprintf(
			"message of %d bytes, limit %d (ingest.event_bytes_max); split it if it holds several events", len(m.Data), s.cfg.EventBytesMax)})
	case s.counters.waiting.Load() >= s.cfg.MemoryMax:
		return s.full(r) // before any work is done for it
	}
	if p := r.allClosed(s.cfg.LagMax); p != nil { // so is this
		return s.slow(p)
	}
	in.arrived = max(in.arrived, s.cfg.Now())
	in.letter = letter{ts: in.arrived}
	if m.Header != nil {
		if err := in.letter.read(m); err != nil {
			in.buryAll(m, r, err)
			return in.refuseAll(r, &problem{badHeader, err.Error()})
		}
	}
	refused := in.decode(m, r)
	if p := in.spread(r); p != nil {
		return in.refuseAll(r, p)
	}
	if p := in.cannot(); p != nil {
		return s.slow(p)
	}
	if !s.reserve(in.cost, s.cfg.MemoryMax) {
		return s.full(r)
	}
	if refused {
		in.bury(m, r)
	}
	in.commit(m, r, refused)
	return nil
}

// decode reads the rows into the batches of the lanes, and reports whether any
// was refused.
func (in *intake) decode(m *nats.Msg, r *route) (refused bool) {
	for i := range r.lanes {
		l := &r.lanes[i]
		l.batch.Reset()
		l.clocked = clocked{}
		l.accepted, l.refused = l.decoder.Rows(l.batch, m.Data, in.letter.ts)
		refused = refused || l.refused != nil
		for _, t := range l.targets {
			l.clocked.countIn(&t.timed)
		}
	}
	return refused
}

// refuseAll counts a message that is refused as a whole.
func (in *intake) refuseAll(r *route, p *problem) *problem {
	for i := range r.lanes {
		for _, t := range r.lanes[i].targets {
			t.refused.Add(1)
		}
	}
	in.s.counters.refused.note(p.text)
	return p
}

// route finds out where a subject goes: nil if another intake has it.
func (in *intake) route(subject string) *route {
	if len(in.routes) >= routesMax {
		clear(in.routes)
	}
	var r *route
	if owner(in.s.patterns, subject) == in.pattern {
		r = &route{}
		for _, sources := range readersOf(in.s.sources, subject) {
			r.lanes = append(r.lanes, in.lane(sources))
		}
	}
	in.routes[subject] = r
	return r
}

func (in *intake) lane(sources []*source) lane {
	l := lane{reader: in.reader(sources[0])}
	for _, s := range sources {
		t := &target{source: s}
		if len(s.logs) > 1 {
			t.key = engine.NewShardKey(s.stream)
			for range s.logs {
				t.parts = append(t.parts, event.NewBatch(l.schema))
			}
		}
		l.targets = append(l.targets, t)
	}
	return l
}

func (in *intake) reader(src *source) *reader {
	s, by := src.stream.Schema, clockingOf(src.app, src.stream)
	for _, r := range in.readers {
		if sameDefinition(r.schema, s) && r.clocking == by && r.keys == src.keys && r.keyMax == src.keyMax {
			return r
		}
	}
	r := &reader{schema: s, clocking: by, keys: src.keys, keyMax: src.keyMax, decoder: rowjson.NewDecoder(s), batch: event.NewBatch(s)}
	r.decoder.Check(func(b *event.Batch) *rowjson.RowError {
		if err := r.keysFit(b); err != nil {
			return err
		}
		return in.clock(r, b)
	})
	in.readers = append(in.readers, r)
	return r
}
