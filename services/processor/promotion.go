package processor

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/invariant"
)

// takePromotion turns the standby into the owner of the partition, with its state.
func (o *owner) takePromotion(ctx context.Context, s *standby, attached control.Attached) error {
	if max(attached.Generation, 1) != o.generation || attached.Held {
		return errStandbyStale
	}
	if end := o.published.end.seq; o.ahead && end > 0 && end < o.start.Sequence {
		return errStandbyStale // it kept no results from before the generation's start, and some are not published
	}
	if o.reader.Position() <= o.start.Sequence {
		return errStandbyStale // it started again, and has not reached the start: it has no results before that
	}
	newest := o.renderer.newest
	o.standsBy = false
	o.renew()
	for i := range newest {
		if newest[i].after(o.renderer.newest[i]) {
			o.renderer.newest[i] = newest[i]
		}
	}
	passed := o.saver
	o.saver = newSaver(o.task, attached, passed.registry)
	o.start = checkpoint.Start{}
	if passed.epoch <= attached.Decided {
		return nil
	}
	// This task has passed the barrier, so it can no longer prepare that epoch.
	o.saver.epoch, o.saver.term = passed.epoch, passed.term
	p := &part{epoch: passed.epoch, term: passed.term}
	s.reports.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, heartbeatWait)
		defer cancel()
		if err := o.saver.fail(ctx, p, errors.New("a standby has taken the partition over after the barrier")); err != nil && ctx.Err() == nil {
			o.log.Warn("give up the open checkpoint", "epoch", p.epoch, "err", err)
		}
	})
	return nil
}

// errStandbyStale makes the task start again.
var errStandbyStale = fmt.Errorf("it stood by for another generation: %w", errFenced)

// publishKept publishes the results that the output stream lacks.
func (o *owner) publishKept(ctx context.Context, s *standby) error {
	if invariant.Enabled {
		s.checkOrder()
	}
	for _, kept := range s.kept {
		open := o.box.fill(ctx, func(p *messageBatch) {
			for _, m := range kept.messages {
				if o.published.has(m.stream, m.at) {
					continue
				}
				start := len(p.bytes)
				p.bytes = append(p.bytes, kept.bytes[m.start:m.end]...)
				m.start, m.end = start, len(p.bytes)
				p.messages = append(p.messages, m)
			}
		})
		if !open {
			return context.Cause(ctx)
		}
	}
	for _, kept := range s.late {
		if !o.late.fill(ctx, func(p *messageBatch) { p.appendAll(kept) }) {
			return context.Cause(ctx)
		}
	}
	o.standby = nil // from now on, the task owns the partition
	return nil
}
