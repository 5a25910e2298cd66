package processor

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"go.opentelemetry.io/otel/attribute"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/lineage"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// errStoreAway says that the store does not answer at the moment. The task can start again.
var errStoreAway = errors.New("the store of checkpoints does not answer")

// errOvertaken says that there are newer checkpoints, and that the one the task wanted to
// use is gone. The task can start again.
var errOvertaken = errors.New("newer checkpoints have replaced the one that the task started from")

// errPassOver says that a checkpoint cannot be used, but that an older one may be usable.
var errPassOver = errors.New("passed over")

// attach takes the partition over at the checkpointer.
func (t *task) attach(ctx context.Context) (control.Attached, error) {
	if t.service.cfg.Control == nil {
		return control.Attached{}, nil
	}
	attached, err := t.service.cfg.Control.Attach(ctx, control.AttachRequest{
		App: t.plan.Name, Partition: t.partition, Owner: t.name, Plan: t.plan.Digest,
		Processor: t.service.cfg.ID,
	})
	if control.Code(err) == control.CodeFenced {
		return attached, fmt.Errorf("%w: %w", errFenced, err)
	}
	if err != nil {
		return attached, fmt.Errorf("attach to the checkpointer: %w", err)
	}
	return attached, nil
}

// passOver wraps an error with errPassOver if the checkpoint is unusable, or with errStoreAway
// if the store is.
func passOver(err error) error {
	var version *state.VersionError
	switch {
	case errors.Is(err, checkpoint.ErrCorrupt):
		return fmt.Errorf("%w: %w", errPassOver, err)
	case errors.As(err, &version), errors.Is(err, checkpoint.ErrVersion), errors.Is(err, state.ErrInvalid):
		return err
	}
	return fmt.Errorf("%w: %w", errStoreAway, err)
}

// restore loads the newest usable checkpoint, or starts with an empty state if there is none,
// and opens the log after it.
func (r *replica) restore(ctx context.Context, attached control.Attached) error {
	var unusable []error
	for _, ref := range attached.Checkpoints {
		err := r.restoreFrom(ctx, attached, ref)
		if err == nil {
			r.status.restored.Store(uint64(ref.Epoch))
			r.status.committed.Store(uint64(ref.Epoch))
			return nil
		}
		var trimmed *wal.TrimmedError
		if errors.Is(err, errPassOver) || errors.As(err, &trimmed) {
			if err := r.checkRetained(ctx, ref); err != nil {
				return err
			}
		}
		if !errors.Is(err, errPassOver) {
			return fmt.Errorf("checkpoint %d: %w", ref.Epoch, err)
		}
		r.status.unusable.Add(1)
		r.log.Error("checkpoint cannot be used; trying the one before", "epoch", ref.Epoch, "err", err)
		unusable = append(unusable, fmt.Errorf("checkpoint %d: %w", ref.Epoch, err))
	}
	if r.generation > 1 && !attached.First {
		return errors.Join(append(unusable, fmt.Errorf("no checkpoint of generation %d is left that can be used; go back to another one: eventflux recover %s --to EPOCH", r.generation, r.plan.Name))...)
	}
	r.start = checkpoint.Start{}
	v, err := r.versionOf(ctx, 1, r.made.first)
	if err != nil {
		return err
	}
	if err := r.begin(attached, v); err != nil {
		return err
	}
	if err := r.openLog(ctx, 1); err != nil {
		return errors.Join(append(unusable, err)...)
	}
	r.status.restored.Store(0)
	return nil
}

// checkRetained returns errOvertaken if a checkpoint was retired, or its manifest replaced,
// after the task got the list of checkpoints: then nothing is damaged.
func (r *replica) checkRetained(ctx context.Context, ref control.CheckpointRef) error {
	now, err := r.service.cfg.Control.Checkpoints(ctx, control.AppRequest{App: r.plan.Name})
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	if !slices.ContainsFunc(now.Checkpoints, func(k control.CheckpointInfo) bool { return k.Digest == ref.Digest }) {
		return fmt.Errorf("%w: checkpoint %d was retired or merged in the meantime", errOvertaken, ref.Epoch)
	}
	return nil
}

// begin makes the task with an empty state.
func (r *replica) begin(attached control.Attached, v app) (err error) {
	if r.core, err = engine.NewTask(v.plan, r.partition, v.settings); err != nil {
		return err
	}
	r.renderer, r.skip = nil, nil
	r.follow(v.plan)
	r.saver = nil
	if r.service.cfg.Control != nil {
		r.saver = newSaver(r.task, attached, engine.Registry(r.core.Components()))
	}
	return nil
}

// restoreFrom loads one checkpoint and opens the log after its barrier. It fails with
// errPassOver if an older checkpoint may be usable.
func (r *replica) restoreFrom(ctx context.Context, attached control.Attached, ref control.CheckpointRef) (err error) {
	r.progress.Next("load", attribute.Int64("epoch", int64(ref.Epoch)))
	defer func() { r.countUnusable(err) }()
	m, err := checkpoint.ReadManifest(ctx, r.service.cfg.Store, ref.Manifest, ref.Digest)
	if err != nil {
		return passOver(err)
	}
	if m.App != r.plan.Name || m.Plan != r.made.first || int(r.partition) >= len(m.Partitions) {
		return fmt.Errorf("it is of app %q with plan %s and %d partitions, this task is partition %d of %q, which was deployed with plan %s; deploy the changed app under another @app:name",
			m.App, m.Plan, len(m.Partitions), r.partition, r.plan.Name, r.made.first)
	}
	part := &m.Partitions[r.partition]
	number, digest := m.VersionOf(r.partition)
	v, err := r.versionOf(ctx, number, digest)
	if err != nil {
		return err
	}
	// Check this before the results: if log and results are both gone, an older checkpoint, or
	// none, would silently start the app from scratch.
	if !r.created.Equal(part.Log.Created) {
		return lineage.Another(&part.Log, r.created)
	}
	if err := r.checkOutput(part); err != nil {
		return err
	}
	if err := r.begin(attached, v); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.LoadBefore)
	if err := checkpoint.Load(ctx, r.service.cfg.Store, part, ref.Epoch, r.saver.registry, r.service.cfg.Workers); err != nil {
		return passOver(err)
	}
	faultpoint.Reach(faultpoint.LoadDone)
	r.noteVersion()
	r.progress.Next("lineage", attribute.Int64("sequence", int64(part.Log.Sequence)))
	r.saver.committed = ref.Epoch
	for i := range part.Components {
		r.saver.chains[part.Components[i].ID] = part.Components[i].Runs
	}
	r.startAt(part)
	r.skip = lineage.SkipOf(part)
	return r.openBehind(ctx, part)
}

// startAt sets the start of the generation.
func (r *replica) startAt(part *checkpoint.Partition) {
	r.start = checkpoint.Start{Sequence: part.Log.Sequence}
	if r.ahead = part.Start != nil; r.ahead {
		r.start = *part.Start
	}
	r.published.filterStart(r.start)
}

// checkOutput refuses a checkpoint that covers results that the output stream has lost: with
// an older checkpoint, they are published again.
func (r *replica) checkOutput(part *checkpoint.Partition) error {
	if r.standsBy {
		return nil // the owner handles results that the output stream lacks
	}
	for name, text := range part.Output.Positions {
		covered, err := parsePosition(text)
		if err != nil {
			return fmt.Errorf("%w: %w", errPassOver, err)
		}
		last := r.published.lastOf(r.streams.number(name))
		if covered.after(last) {
			return fmt.Errorf("%w: it covers results of %s up to %s, and output stream %s ends at %s: it lost its tail, which an older checkpoint brings back",
				errPassOver, name, covered, part.Output.Stream, last)
		}
	}
	return nil
}

// openBehind opens the log after a barrier, and checks that the barrier is there.
func (r *replica) openBehind(ctx context.Context, part *checkpoint.Partition) (err error) {
	if r.reader, err = lineage.OpenBehind(ctx, r.logReader(), r.created, part); err != nil {
		return err
	}
	for _, s := range part.Skipped {
		r.log.Warn("the task passes over a record of the log, as recover --skip had it", "sequence", s.Sequence, "reason", s.Reason)
	}
	return nil
}

// openLog starts reading the log.
func (r *replica) openLog(ctx context.Context, from uint64) (err error) {
	cfg := r.logReader()
	cfg.From = from
	r.reader, err = wal.OpenReader(ctx, cfg)
	return err
}
