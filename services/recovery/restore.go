package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// startRestore answers VerbRestore: with a job or, for a dry run, with the plan.
func (s *Service) startRestore(ctx, life context.Context, work *sync.WaitGroup, r *RestoreRequest) (any, error) {
	if r.Parallel < 0 {
		return nil, failure(control.CodeInvalid, "parallel is %d, want 1 or more, or 0 as configured", r.Parallel)
	}
	if r.DryRun {
		return s.plan(ctx, r)
	}
	if err := r.complete(); err != nil {
		return nil, err
	}
	return s.jobs.start(life, work, kindRestore, r.App, func(ctx context.Context, j *job) (any, error) {
		return s.restore(ctx, r, j)
	})
}

// restore plans and verifies a restore, and asks the checkpointer to carry it out.
func (s *Service) restore(ctx context.Context, r *RestoreRequest, j *job) (*RestoreResult, error) {
	j.enter(phasePlan)
	c, err := s.planRestore(ctx, r)
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.JobPlanned)
	workers := s.cfg.Workers
	if r.Parallel > 0 {
		workers = r.Parallel
	}
	result := &RestoreResult{}
	if result.Verified, err = c.verified(ctx, j, workers); err != nil {
		return c.failed(j, result, err)
	}
	faultpoint.Reach(faultpoint.JobVerified)
	s.cfg.Log.Info("recovery", "plan", c.plan.String(), "after", c.plan.After)
	request, err := c.request(ctx, j, workers)
	if err != nil {
		return c.failed(j, result, err)
	}
	request.ID = r.ID
	j.enter(phaseRestore)
	faultpoint.Reach(faultpoint.JobAsked)
	done, err := s.cfg.Restorer.Restore(ctx, *request)
	faultpoint.Reach(faultpoint.JobKnown)
	if err != nil {
		return c.failed(j, result, fmt.Errorf("restore: %w", err))
	}
	result.Plan, result.Generation, result.Epoch, result.Version = c.plan, done.Generation, done.Epoch, done.Version
	return result, nil
}

// failed adds the plan to the result, and its advice to the job.
func (c *restorePlan) failed(j *job, result *RestoreResult, err error) (*RestoreResult, error) {
	result.Plan = c.plan
	if c.plan.Next != "" {
		j.advise(c.plan.Next)
	}
	return result, err
}

// verified verifies the checkpoint that the plan loads. If it is damaged, verified uses the
// previous one, unless the request names the checkpoint by its number.
func (c *restorePlan) verified(ctx context.Context, j *job, workers int) (*VerifyReport, error) {
	for {
		if c.plan.Refused != "" {
			return nil, c.refusal()
		}
		if c.plan.Verify == VerifyNone || c.from.manifest == nil {
			return nil, nil
		}
		report, err := c.h.verify(ctx, c.from.ref, c.plan.Verify, j.newRebuildRun(workers))
		if err != nil || report.Sound {
			return report, err
		}
		p := report.Problems[0]
		if err := c.fallBack(ctx, fmt.Sprintf("partition %d, %s%s: %s", p.Partition, p.Component, p.Object, p.What)); err != nil {
			return report, err
		}
		if c.plan.Refused != "" {
			return report, c.refusal()
		}
	}
}

// request returns the request for the checkpointer. If only part of the state is replaced, it
// first rebuilds and stores that part as of the target.
func (c *restorePlan) request(ctx context.Context, j *job, workers int) (*control.RestoreRequest, error) {
	r := &control.RestoreRequest{App: c.h.plan.Name, Epoch: c.from.epoch(), After: c.plan.After}
	if r.After == AfterFork {
		r.After = control.Resume
	}
	r.Skipped, r.Keep, r.Newest = c.plan.Skipped, c.plan.Keeps, c.plan.Newest
	if !c.scope.partial() {
		if c.target.epoch > 0 {
			return r, nil
		}
		for _, part := range c.plan.Partitions {
			at, err := c.exact(ctx, &part)
			if err != nil {
				return nil, err
			}
			r.Starts = append(r.Starts, control.Start{
				Partition: part.Partition, Start: checkpoint.Start{Sequence: at.Sequence, Event: at.Event},
			})
		}
		return r, nil
	}
	done, err := c.h.s.rebuilding(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	e := j.newRebuildRun(workers)
	e.expect(c.from)
	frames, _, _ := c.plan.replayed()
	e.framesTotal.Add(frames)
	tasks, err := c.carryOut(ctx, e)
	if err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.JobRebuilt)
	j.enter(phaseStore)
	r.Epoch = c.onto.epoch()
	r.Components, err = c.store(ctx, tasks, workers)
	return r, err
}

// exact returns the exact position of the target, which the plan may only have estimated.
func (c *restorePlan) exact(ctx context.Context, part *PlanPartition) (rebuild.Position, error) {
	to := c.target.of(part.Partition, c.from, part.LogEnd)
	if part.Exact || !to.Timed && to.Event == 0 {
		return part.Target, nil
	}
	log, done, err := c.h.openLog(ctx, c.from, part.Partition, part.LogEnd)
	if err != nil {
		return rebuild.Position{}, err
	}
	defer done()
	d, err := rebuild.Scan(ctx, log, c.h.plan, rebuild.Position{Sequence: part.Barrier}, to)
	if errors.Is(err, rebuild.ErrNoEvent) {
		c.refuse(fmt.Sprintf("partition %d: %v", part.Partition, err), c.toWholeFrame())
		return d.At, c.refusal()
	}
	return d.At, err
}

// store writes the replaced components as bases of the checkpoint that they become part of.
func (c *restorePlan) store(ctx context.Context, tasks []*rebuild.Task, workers int) (map[uint32][]checkpoint.Component, error) {
	stored := map[uint32][]checkpoint.Component{}
	packer := checkpoint.NewPacker(c.h.s.cfg.Store, workers)
	group, storing := errgroup.WithContext(ctx)
	group.SetLimit(workers)
	for p, t := range tasks {
		ids := c.scope.replaced(uint32(p))
		if len(ids) == 0 {
			continue
		}
		list := make([]checkpoint.Component, len(ids))
		stored[uint32(p)] = list
		for i, id := range ids {
			entries, err := t.Entries(id)
			if err != nil {
				return nil, errors.Join(err, group.Wait())
			}
			group.Go(func() (err error) {
				list[i], err = c.storeOne(storing, packer, c.scope.info(id), entries)
				return err
			})
		}
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return stored, packer.Flush(ctx, slices.Collect(maps.Values(stored))...)
}

func (c *restorePlan) storeOne(ctx context.Context, into store.Store, info *state.Info, entries []state.Entry) (checkpoint.Component, error) {
	out := checkpoint.Component{ID: info.ID, Type: info.Type, Version: info.Version.String(), Digest: state.DigestOf(entries)}
	if len(entries) == 0 {
		return out, nil
	}
	changes := make([]state.Change, len(entries))
	for i, e := range entries {
		changes[i] = state.Change{Key: e.Key, Value: e.Value}
	}
	run, err := checkpoint.WriteRun(ctx, into, checkpoint.WriterOptions{
		Kind: checkpoint.Base, Epoch: c.onto.epoch(), Choice: info.Access.Choice(), Parallel: 1,
	}, changes)
	if err != nil {
		return out, fmt.Errorf("store component %s: %w", info.ID, err)
	}
	faultpoint.Reach(faultpoint.JobStored)
	out.Runs = []checkpoint.Run{run}
	return out, nil
}
