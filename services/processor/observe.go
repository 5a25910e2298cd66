package processor

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/ops/trace"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// progress measures a task from its start until it has caught up with its log, as spans and
// as the times in its status.
//
//	open ──▶ attach ──▶ fence ──▶ load ──▶ lineage ──▶ replay
//	                                ▲  passed over │
//	                                └──────────────┘
type progress struct {
	*trace.Steps
	status   *status
	begun    time.Time
	replayed time.Time // start of the replay; zero before
}

func (t *task) newProgress(ctx context.Context, name string) *progress {
	s := &progress{
		status: &t.status, begun: time.Now(),
		Steps: t.service.cfg.Tracer.Steps(ctx, name, attribute.String("app", t.plan.Name), attribute.Int("partition", int(t.partition))),
	}
	s.status.replaying.Store(0)
	s.Next("open")
	return s
}

// replay records that the state is restored, and how much of the log has to be replayed.
func (s *progress) replay(log *wal.Reader) {
	s.replayed = time.Now()
	frames := log.Tail() + 1 - log.Position()
	s.status.restoring.Store(int64(s.replayed.Sub(s.begun)))
	s.status.applied.Store(log.Position() - 1)
	s.status.tail.Store(log.Tail())
	s.status.replay.Store(frames)
	s.Set(attribute.Int64("checkpoint", int64(s.status.restored.Load())))
	s.Next("replay", attribute.Int64("frames", int64(frames)))
}

// end records that the task has caught up, or why it ended before. Later calls do nothing.
func (s *progress) end(err error) {
	if s.Steps == nil {
		return
	}
	if err == nil && !s.replayed.IsZero() {
		s.status.replaying.Store(int64(time.Since(s.replayed)))
	}
	s.Steps.End(err)
	s.Steps = nil
}

// countUnusable counts why a checkpoint could not be used.
func (t *task) countUnusable(err error) {
	var other *lineage.Error
	switch {
	case errors.As(err, &other):
		t.status.lineage.Add(1)
	case errors.Is(err, checkpoint.ErrDigest):
		t.status.damaged.Add(1)
	}
}

// trace starts the spans of a part, in the trace of the leader's spans.
func (s *saver) trace(ctx context.Context, p *part) (context.Context, *trace.Steps) {
	tracer := s.task.service.cfg.Tracer
	within := trace.Within(ctx, p.lineage.ID)
	spans := tracer.StepsWithin(within, "partition", p.begun, attribute.String("app", s.task.plan.Name),
		attribute.Int("partition", int(s.task.partition)), attribute.Int64("epoch", int64(p.epoch)))
	spans.Past("cut", p.begun, p.pause)
	spans.Past("thaw", p.begun.Add(p.pause), p.thawing)
	spans.Next("store", attribute.Int("components", len(p.pieces)))
	return within, spans
}
