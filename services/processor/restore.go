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
		App: t.plan.Name, Partition: t.partition, Owner: t.owner, Plan: t.plan.Digest,
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

// restore loads the newest usable checkpoint, or starts with an empty state if there is none,
// and opens the log after it.
func (t *task) restore(ctx context.Context, attached control.Attached) error {
	var unusable []error
	for _, ref := range attached.Checkpoints {
		err := t.restoreFrom(ctx, attached, ref)
		if err == nil {
			t.status.restored.Store(uint64(ref.Epoch))
			t.status.committed.Store(uint64(ref.Epoch))
			return nil
		}
		var trimmed *wal.TrimmedError
		if errors.Is(err, errPassOver) || errors.As(err, &trimmed) {
			if err := t.checkRetained(ctx, ref); err != nil {
				return err
			}
		}
		if !errors.Is(err, errPassOver) {
			return fmt.Errorf("checkpoint %d: %w", ref.Epoch, err)
		}
		t.status.unusable.Add(1)
		t.log.Error("checkpoint cannot be used; trying the one before", "epoch", ref.Epoch, "err", err)
		unusable = append(unusable, fmt.Errorf("checkpoint %d: %w", ref.Epoch, err))
	}
	if t.generation > 1 && !attached.First {
		return errors.Join(append(unusable, fmt.Errorf("no checkpoint of generation %d is left that can be used; go back to another one: eventflux recover %s --to EPOCH", t.generation, t.plan.Name))...)
	}
	t.start = checkpoint.Start{}
	v, err := t.versionOf(ctx, 1, t.made.first)
	if err != nil {
		return err
	}
	if err := t.begin(attached, v); err != nil {
		return err
	}
	if err := t.openLog(ctx, 1); err != nil {
		return errors.Join(append(unusable, err)...)
	}
	t.status.restored.Store(0)
	return nil
}

// checkRetained returns errOvertaken if a checkpoint was retired, or its manifest replaced,
// after the task got the list of checkpoints: then nothing is damaged.
func (t *task) checkRetained(ctx context.Context, ref control.CheckpointRef) error {
	now, err := t.service.cfg.Control.Checkpoints(ctx, control.AppRequest{App: t.plan.Name})
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	if !slices.ContainsFunc(now.Checkpoints, func(k control.CheckpointInfo) bool { return k.Digest == ref.Digest }) {
		return fmt.Errorf("%w: checkpoint %d was retired or merged in the meantime", errOvertaken, ref.Epoch)
	}
	return nil
}

// begin makes the task with an empty state.
func (t *task) begin(attached control.Attached, v app) (err error) {
	if t.core, err = engine.NewTask(v.plan, t.partition, v.settings); err != nil {
		return err
	}
	t.renderer = nil
	t.follow(v.plan)
	t.saver = nil
	if t.service.cfg.Control != nil {
		t.saver = newSaver(t, attached, engine.Registry(t.core.Components()))
	}
	return nil
}

// restoreFrom loads one checkpoint and opens the log after its barrier. It fails with
// errPassOver if an older checkpoint may be usable.
func (t *task) restoreFrom(ctx context.Context, attached control.Attached, ref control.CheckpointRef) (err error) {
	t.progress.Next("load", attribute.Int64("epoch", int64(ref.Epoch)))
	defer func() { t.countUnusable(err) }()
	m, err := checkpoint.ReadManifest(ctx, t.service.cfg.Store, ref.Manifest, ref.Digest)
	if err != nil {
		return passOver(err)
	}
	if m.App != t.plan.Name || m.Plan != t.made.first || int(t.partition) >= len(m.Partitions) {
		return fmt.Errorf("it is of app %q with plan %s and %d partitions, this task is partition %d of %q, which was deployed with plan %s; deploy the changed app under another @app:name",
			m.App, m.Plan, len(m.Partitions), t.partition, t.plan.Name, t.made.first)
	}
	part := &m.Partitions[t.partition]
	number, digest := m.VersionOf(t.partition)
	v, err := t.versionOf(ctx, number, digest)
	if err != nil {
		return err
	}
	// Check this before the results: if log and results are both gone, an older checkpoint, or
	// none, would silently start the app from scratch.
	if !t.created.Equal(part.Log.Created) {
		return lineage.Another(&part.Log, t.created)
	}
	if err := t.checkOutput(part); err != nil {
		return err
	}
	if err := t.begin(attached, v); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.LoadBefore)
	if err := checkpoint.Load(ctx, t.service.cfg.Store, part, ref.Epoch, t.saver.registry, t.service.cfg.Workers); err != nil {
		return passOver(err)
	}
	faultpoint.Reach(faultpoint.LoadDone)
	t.noteVersion()
	t.progress.Next("lineage", attribute.Int64("sequence", int64(part.Log.Sequence)))
	t.saver.committed = ref.Epoch
	for i := range part.Components {
		t.saver.chains[part.Components[i].ID] = part.Components[i].Runs
	}
	t.startAt(part)
	return t.openBehind(ctx, part)
}

// startAt sets the start of the generation.
func (t *task) startAt(part *checkpoint.Partition) {
	t.start = checkpoint.Start{Sequence: part.Log.Sequence}
	if t.ahead = part.Start != nil; t.ahead {
		t.start = *part.Start
	}
	t.muteStart()
}

// muteStart suppresses the results of frames before the start.
func (t *task) muteStart() {
	if t.start.Event == 0 { // whole frames
		t.muteTo(position{seq: t.start.Sequence + 1})
	} else {
		t.muteTo(position{seq: t.start.Sequence})
	}
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

// checkOutput refuses a checkpoint that covers results that the output stream has lost: with
// an older checkpoint, they are published again.
func (t *task) checkOutput(part *checkpoint.Partition) error {
	if t.standby != nil {
		return nil // the owner handles results that the output stream lacks
	}
	for name, text := range part.Output.Positions {
		covered, err := parsePosition(text)
		if err != nil {
			return fmt.Errorf("%w: %w", errPassOver, err)
		}
		last := position{}
		if s := t.streams.number(name); s < len(t.last) {
			last = t.last[s]
		}
		if covered.after(last) {
			return fmt.Errorf("%w: it covers results of %s up to %s, and output stream %s ends at %s: it lost its tail, which an older checkpoint brings back",
				errPassOver, name, covered, part.Output.Stream, last)
		}
	}
	return nil
}

// openBehind opens the log after a barrier, and checks that the barrier is there.
func (t *task) openBehind(ctx context.Context, part *checkpoint.Partition) (err error) {
	if t.reader, err = lineage.OpenBehind(ctx, t.logReader(), t.created, part); err != nil {
		return err
	}
	for _, s := range part.Skipped {
		t.log.Warn("the task passes over a record of the log, as recover --skip had it", "sequence", s.Sequence, "reason", s.Reason)
	}
	return nil
}
