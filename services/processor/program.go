package processor

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// program is the version of the app that is in force, and how its results are rendered. Only
// control frames change it.
type program struct {
	*task
	core      *engine.Task
	live      *siddhiql.Plan // of the version in force
	renderer  *renderer
	published published // the filter for results
	skip      wal.Skip  // records of the log that are passed over
}

// follow makes the task use the plan of a version from here on.
func (p *program) follow(plan *siddhiql.Plan) {
	p.live = plan
	for _, s := range plan.Published() {
		p.streams.number(s.Name)
	}
	p.published.grow(len(p.streams.all()))
	before := p.renderer
	p.renderer = newRenderer(plan, p.partition, p.streams, p.published.last)
	number, _ := p.core.Deployed()
	p.renderer.version = uint32(number)
	if before != nil {
		copy(p.renderer.newest, before.newest)
	}
}

// renew makes a renderer that continues after the results at the takeover.
func (p *program) renew() {
	p.renderer = nil
	p.follow(p.live)
}

// applyControl applies a control frame. It may start another version of the app, or end the
// task because the app has another number of partitions.
func (p *program) applyControl(ctx context.Context, s *saver, seq uint64, f *frame.Frame) (engine.Applied, error) {
	// The change may replace components that are frozen.
	if err := s.thawAll(ctx); err != nil {
		return engine.Applied{}, err
	}
	p.core.ReadAgain(func(first, end uint64, visit func(uint64, *frame.Frame) error) error {
		p.log.Info("the task reads its log again for a change of the app", "from", first, "to", end-1)
		cfg := p.logReader()
		cfg.Skip = p.skip
		return wal.Visit(ctx, cfg, first, end, visit)
	})
	done, err := p.core.Apply(seq, f)
	var b *engine.BackfillError
	if errors.As(err, &b) && ctx.Err() == nil {
		err = fmt.Errorf("%w; eventflux recover %s --to EPOCH --keep-version goes back to a checkpoint before the change, and on without it", err, p.plan.Name)
	}
	return done, err
}

// change switches to the version that a control frame has put in force. The results before
// that frame are published, or in the outbox.
func (p *program) change(s *saver, m *engine.Migration) {
	number, _ := p.core.Deployed()
	p.follow(p.core.Plan())
	s.change(m, p.core.Components())
	p.log.Info("the app was changed", "version", number, "kept", m.Count(engine.OutcomeKept), "adapted", m.Count(engine.OutcomeAdapted),
		"new", m.Count(engine.OutcomeNew), "dropped", m.Count(engine.OutcomeDropped))
	faultpoint.Reach(faultpoint.UpgradeApplied)
	p.noteVersion()
}

// noteVersion puts the version in force into the status.
func (p *program) noteVersion() {
	number, _ := p.core.Deployed()
	p.renderer.version = uint32(number)
	if p.status.version.Swap(number) != number {
		p.service.wake()
	}
}
