package checkpointer

import (
	"context"
	"errors"
	"sync"

	"go.opentelemetry.io/otel/attribute"

	"github.com/eventflux/eventflux/shared/ops/trace"
)

// spans are the traces of the open epochs, one for each app.
//
//	open ──▶ barriers ──▶ collect ──▶ manifest ──▶ commit
//	             └───────────┴────────────┴──▶ abort
type spans struct {
	mu sync.Mutex
	of map[string]*epochSpans
}

type epochSpans struct {
	*trace.Steps
	step string
}

// steps are the names of the spans, by effect.
var steps = map[string]string{
	doBarrier: "barriers", doStore: "manifest", doCommit: "commit", doAbort: "abort", doLook: "look for the manifest",
}

func attributes(c *command) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("app", c.App), attribute.Int64("epoch", int64(c.Epoch)), attribute.Int64("term", int64(c.Term)),
	}
}

// open starts the trace of an epoch.
func (s *spans) open(ctx context.Context, tracer trace.Tracer, c *command) {
	e := &epochSpans{Steps: tracer.Checkpoint(ctx, c.ID, attributes(c)...)}
	s.put(c.App, e)
	s.next(c.App, "open")
}

func (s *spans) put(app string, e *epochSpans) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.of == nil {
		s.of = map[string]*epochSpans{}
	}
	if before := s.of[app]; before != nil {
		before.End(errors.New("left behind"))
	}
	s.of[app] = e
}

func (s *spans) next(app, step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.of[app]; e != nil {
		e.step = step
		e.Next(step)
	}
}

// before starts the span of an effect. A leader that finds an epoch of a former leader
// continues its trace.
func (s *spans) before(ctx context.Context, l *leadership, app string, e effect) {
	if e.do == doLook {
		if a := l.cfg.FSM.app(app); a != nil && a.Open != nil {
			c := &command{App: app, Epoch: e.epoch, Term: l.term}
			s.put(app, &epochSpans{Steps: l.cfg.Tracer.StepsWithin(
				trace.Within(ctx, a.Open.ID), "taken over", l.cfg.Now(), attributes(c)...)})
		}
	}
	if step, ok := steps[e.do]; ok {
		s.next(app, step)
	}
}

// after ends the span of an effect with its outcome.
func (s *spans) after(app string, e effect, m message) {
	switch {
	case m.kind == msgCommitted:
		s.end(app, nil)
	case m.kind == msgAborted:
		s.end(app, errors.New(e.reason))
	case m.kind == msgOpened && m.reason != "":
		s.end(app, errors.New(m.reason))
	case m.kind == msgBarrier && m.reason == "":
		s.mu.Lock()
		collecting := s.of[app] != nil && s.of[app].step == steps[doBarrier]
		s.mu.Unlock()
		if collecting { // all tasks may be prepared before the last append is acknowledged
			s.next(app, "collect")
		}
	}
}

func (s *spans) end(app string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.of[app]; e != nil {
		e.End(err)
		delete(s.of, app)
	}
}

// close ends the open spans when the leadership ends.
func (s *spans) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for app, e := range s.of {
		e.End(errors.New("the leadership has ended"))
		delete(s.of, app)
	}
}
