package recovery

import (
	"context"
	"errors"
	"fmt"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// locateResults replays the log to find the event that caused each result of the target:
// only the task that makes a result knows the number of its row. It sets the places of the
// target, or refuses the plan.
func (c *restorePlan) locateResults(ctx context.Context) error {
	generation := checkpoint.Generation(max(c.h.app.Generation, 1))
	for p, r := range c.target.results {
		if of := checkpoint.Generation(r.Generation); of != 0 && of != generation {
			return failure(control.CodeInvalid, "partition %d: %s is a result of generation %d, but the app is in generation %d, which numbers its results from the start again; name an instant or a checkpoint",
				p, r, of, generation)
		}
	}
	done, err := c.h.s.rebuilding(ctx)
	if err != nil {
		return err
	}
	defer done()
	for p, r := range c.target.results {
		at, err := c.h.locateResult(ctx, c.from, uint32(p), r)
		if wrong, ok := errors.AsType[*unusable](err); ok {
			c.refuse(wrong.why, "eventflux checkpoint ls "+c.h.plan.Name)
			return nil
		}
		if err != nil {
			return err
		}
		c.target.places[p] = at
	}
	c.target.results = nil // the places do not depend on the checkpoint
	return nil
}

// locateResult returns the position after the event that caused a result. If a timer after
// the last event of the frame caused it, that is the position after the frame. The error is
// an *unusable if the log has no such result.
func (h *history) locateResult(ctx context.Context, from *basis, p uint32, r result.Position) (rebuild.Position, error) {
	if r.Seq > h.logs[p].last {
		return rebuild.Position{}, unusablef("partition %d: the log ends at %d, and a result of frame %d was asked for", p, h.logs[p].last, r.Seq)
	}
	t, err := h.load(ctx, from, p, &rebuildRun{workers: h.s.cfg.Workers})
	if err != nil {
		return rebuild.Position{}, err
	}
	log, done, err := h.openLog(ctx, from, p, r.Seq)
	if err != nil {
		return rebuild.Position{}, fmt.Errorf("partition %d: %w", p, err)
	}
	defer done()
	if _, err := t.Replay(ctx, log, rebuild.Target{Position: rebuild.Position{Sequence: r.Seq - 1}}, rebuild.Watch{}); err != nil {
		return rebuild.Position{}, fmt.Errorf("replay partition %d to frame %d: %w", p, r.Seq, err)
	}
	var rows, event uint64 // so far in the frame
	at, found := rebuild.Position{Sequence: r.Seq}, false
	waits := false // a timer caused the result; at is after the next event, if there is one
	watch := rebuild.Watch{Step: func(_ uint64, _ *frame.Frame, s engine.Step) {
		if s.Event > 0 {
			event = s.Event + uint64(s.To-s.From) - 1
		}
		rows = rowsOf(t.Core.Outputs())
		switch {
		case found && waits && s.Event > 0:
			at.Event, waits = event, false
		case !found && rows > r.Ordinal:
			found = true
			if waits = s.Event == 0; !waits {
				at.Event = event
			}
		}
	}}
	if _, err := t.Replay(ctx, log, rebuild.Target{Position: rebuild.Position{Sequence: r.Seq}}, watch); err != nil {
		return rebuild.Position{}, fmt.Errorf("replay frame %d of partition %d: %w", r.Seq, p, err)
	}
	if !found {
		return at, unusablef("partition %d: frame %d gives %d result rows, and row %d was asked for (rows are counted from 0)", p, r.Seq, rows, r.Ordinal)
	}
	return at, nil
}

func rowsOf(outputs []engine.Output) (n uint64) {
	for _, o := range outputs {
		n += uint64(o.To - o.From)
	}
	return n
}
