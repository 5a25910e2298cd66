package recovery

import (
	"context"
	"fmt"
	"slices"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// keepVersion adds to the plan which version of the app stays in force: the newest one that any
// partition has at the target.
func (c *restorePlan) keepVersion(ctx context.Context) error {
	all, err := c.h.s.cfg.Control.History(ctx, control.AppRequest{App: c.h.app.Name})
	if err != nil {
		return err
	}
	newest := all.Versions[len(all.Versions)-1].Number
	kept := uint32(1)
	for p := range c.h.logs {
		number, err := c.versionAt(ctx, uint32(p))
		if err != nil {
			return err
		}
		kept = max(kept, number)
	}
	if kept >= newest {
		c.refuse(fmt.Sprintf("app %s already has version %d at %s, which is the newest, so there is no later one to pass over", c.h.app.Name, kept, c.target.text),
			"the same command without --keep-version")
		return nil
	}
	c.plan.Keeps, c.plan.Newest = kept, newest
	return nil
}

// versionAt returns the version of the app that is in force in a partition at the target.
func (c *restorePlan) versionAt(ctx context.Context, p uint32) (uint32, error) {
	if c.from.manifest == nil {
		return 1, nil // the plan is refused: a restore loads a checkpoint
	}
	part := c.from.part(p)
	number, _ := c.from.manifest.VersionOf(p)
	var entries []state.Entry
	if i := slices.IndexFunc(part.Components, func(c checkpoint.Component) bool { return c.ID == engine.VersionComponent }); i >= 0 {
		var err error
		if entries, err = checkpoint.LoadChain(ctx, c.h.s.cfg.Store, part.Components[i].Runs, 1); err != nil {
			return 0, err
		}
	}
	to := c.target.of(p, c.from, c.h.logs[p].last)
	if !to.Timed && to.Compare(rebuild.Position{Sequence: c.from.barrier(p)}) <= 0 {
		return number, nil
	}
	log, done, err := c.h.openLog(ctx, c.from, p, c.h.logs[p].last)
	if err != nil {
		return 0, err
	}
	defer done()
	d, err := rebuild.Scan(ctx, log, c.h.plan, rebuild.Position{Sequence: c.from.barrier(p)}, to)
	if err != nil {
		return 0, err
	}
	return engine.InForce(number, entries, d.Versions)
}
