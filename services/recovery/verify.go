package recovery

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/rebuild"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// startVerify answers VerbVerify: with a job.
func (s *Service) startVerify(ctx, life context.Context, work *sync.WaitGroup, r *VerifyRequest) (any, error) {
	if r.Level == "" {
		r.Level = VerifyFull
	}
	if r.Level != VerifyChecksum && r.Level != VerifyFull {
		return nil, failure(control.CodeInvalid, "level %.40q is not one of checksum, full", r.Level)
	}
	h, err := s.look(ctx, r.App)
	if err != nil {
		return nil, err
	}
	ref, err := h.ref(r.Epoch)
	if err != nil {
		return nil, err
	}
	return s.jobs.start(life, work, kindVerify, r.App, func(ctx context.Context, j *job) (any, error) {
		report, err := h.verify(ctx, ref, r.Level, j.newRebuildRun(s.cfg.Workers))
		if err == nil && !report.Sound {
			j.advise(fmt.Sprintf("eventflux checkpoint ls %s", r.App))
		}
		return report, err
	})
}

// ref finds a retained checkpoint; 0 is the newest.
func (h *history) ref(epoch state.Epoch) (control.CheckpointRef, error) {
	for _, ref := range h.refs {
		if ref.Epoch == epoch || epoch == 0 {
			return ref, nil
		}
	}
	if epoch == 0 {
		return control.CheckpointRef{}, failure(control.CodeNotFound, "app %s has no checkpoint yet; eventflux checkpoint trigger %[1]s makes one", h.plan.Name)
	}
	return control.CheckpointRef{}, failure(control.CodeNotFound, "app %s has no checkpoint %d; eventflux checkpoint ls %[1]s lists those that are retained", h.plan.Name, epoch)
}

// verify checks a checkpoint.
func (h *history) verify(ctx context.Context, ref control.CheckpointRef, level string, e *rebuildRun) (*VerifyReport, error) {
	started := h.s.cfg.Now()
	report := &VerifyReport{App: h.plan.Name, Epoch: ref.Epoch, Level: level}
	err := h.verifyInto(ctx, ref, e, report)
	report.Sound = len(report.Problems) == 0
	report.Proved = report.Proved && report.Sound
	report.Frames, report.Events = e.frames.Load(), e.replayed.Load()
	report.Seconds = h.s.cfg.Now().Sub(started).Seconds()
	return report, err
}

func (h *history) verifyInto(ctx context.Context, ref control.CheckpointRef, e *rebuildRun, report *VerifyReport) error {
	e.enter(phaseVerify)
	one, err := h.open(ctx, ref)
	var wrong *unusable
	if errors.As(err, &wrong) {
		report.Problems = append(report.Problems, Problem{Object: ref.Manifest, What: wrong.why})
		return nil
	}
	if err != nil {
		return err
	}
	e.expect(one)
	found, err := checkpoint.Verify(ctx, e.store(h.s.cfg.Store), one.manifest, e.workers)
	if err != nil {
		return err
	}
	report.Runs, report.Blocks, report.Entries, report.Bytes = found.Runs, found.Blocks, found.Entries, found.Bytes
	for _, p := range found.Problems {
		report.Problems = append(report.Problems, problemOf(p))
	}
	if report.Level != VerifyFull {
		return nil
	}
	done, err := h.s.rebuilding(ctx)
	if err != nil {
		return err
	}
	defer done()
	return h.prove(ctx, one, e, report)
}

// problemOf converts a problem that Verify found. Its component has the partition in front.
func problemOf(p checkpoint.Problem) Problem {
	out := Problem{Object: p.Object, What: p.What}
	first, rest, _ := strings.Cut(p.Component, "/")
	if _, err := fmt.Sscanf(first, "%d", &out.Partition); err == nil {
		out.Component = rest
	}
	return out
}

// prove compares a checkpoint with a replay that starts from an earlier checkpoint, or from
// the start of the log.
func (h *history) prove(ctx context.Context, one *basis, e *rebuildRun, report *VerifyReport) error {
	if err := h.checkBehind(ctx, one); err != nil {
		var wrong *unusable
		if !errors.As(err, &wrong) {
			return err
		}
		report.Unproved = wrong.why
		return nil
	}
	line, err := h.lineOf(ctx, one)
	if err != nil {
		var wrong *unusable
		if !errors.As(err, &wrong) {
			return err
		}
		report.Unproved = wrong.why
		return nil
	}
	var why []string
	for _, ref := range h.refs {
		if ref.Epoch >= line.Epoch || ref.Generation != line.Generation {
			continue
		}
		before, err := h.open(ctx, ref)
		if err == nil {
			err = h.proveFrom(ctx, before, one, e, report)
		}
		if err == nil {
			return nil
		}
		var wrong *unusable
		if !errors.As(err, &wrong) && !errors.Is(err, checkpoint.ErrCorrupt) {
			return err
		}
		why = append(why, fmt.Sprintf("checkpoint %d: %v", ref.Epoch, err))
	}
	for p := range h.logs {
		if !h.logs[p].complete() || line.Generation > 1 {
			if why == nil {
				why = []string{"no earlier checkpoint is retained"}
			}
			report.Unproved = fmt.Sprintf("%s, and the log of partition %d starts at %d; make a new checkpoint (eventflux checkpoint trigger %s) and verify that one: its replay can start from this one",
				strings.Join(why, "; "), p, h.logs[p].first, h.plan.Name)
			return nil
		}
	}
	return h.proveFrom(ctx, &basis{}, one, e, report)
}

// lineOf returns the checkpoint whose history a checkpoint continues: itself, or, if it is the
// first of a generation, the checkpoint of an earlier generation that it is a copy of.
func (h *history) lineOf(ctx context.Context, one *basis) (control.CheckpointRef, error) {
	first := one.ref.Generation > 1
	for _, ref := range h.refs {
		if ref.Generation == one.ref.Generation && ref.Epoch < one.epoch() {
			first = false
		}
	}
	if !first {
		return one.ref, nil
	}
	why := "the checkpoint that it was made from is no longer retained"
	for _, ref := range h.refs {
		if ref.Generation >= one.ref.Generation {
			continue
		}
		other, err := h.open(ctx, ref)
		var wrong *unusable
		if errors.As(err, &wrong) {
			continue
		}
		if err != nil {
			return ref, err
		}
		same, sameCut := sameState(one, other)
		if same {
			return h.lineOf(ctx, other) // of an older generation, so the recursion ends
		}
		if sameCut {
			why = "a restore replaced some of its components, so a replay of the log gives other state"
		}
	}
	return one.ref, unusablef("it is the first of generation %d, and %s", one.ref.Generation, why)
}

// sameState reports whether two checkpoints have the same state and the same barriers
// (same), or at least the same barriers (cut).
func sameState(a, b *basis) (same, cut bool) {
	for i := range a.manifest.Partitions {
		x, y := &a.manifest.Partitions[i], &b.manifest.Partitions[i]
		if x.Log.ID != y.Log.ID {
			return false, false
		}
		same = i == 0 || same
		if len(x.Components) != len(y.Components) {
			same = false
			continue
		}
		for k := range x.Components {
			same = same && x.Components[k].ID == y.Components[k].ID && x.Components[k].Digest == y.Components[k].Digest
		}
	}
	return same, true
}

func (h *history) proveFrom(ctx context.Context, before, one *basis, e *rebuildRun, report *VerifyReport) error {
	if before.manifest != nil {
		for i := range before.manifest.Partitions {
			part := &before.manifest.Partitions[i]
			if err := h.checkLog(ctx, part); err != nil {
				return err
			}
			if part.Log.Sequence > one.barrier(uint32(i)) {
				return unusablef("its barrier in partition %d is after the barrier of the checkpoint to be proved", i)
			}
		}
	}
	e.expect(before)
	for p := range h.app.Partitions {
		e.framesTotal.Add(one.barrier(p) - before.barrier(p))
	}
	for p := range h.app.Partitions { // one after the other: each holds its state twice
		to := rebuild.Target{Position: rebuild.Position{Sequence: one.barrier(p)}}
		e.alone, e.only = true, int(p)
		tasks, err := h.rebuild(ctx, before, func(uint32) rebuild.Target { return to }, e)
		if err != nil {
			return err
		}
		found, err := tasks[p].Compare(ctx, h.s.cfg.Store, one.part(p), e.workers)
		if errors.Is(err, checkpoint.ErrCorrupt) {
			continue // Verify has reported it
		}
		if err != nil {
			return err
		}
		for _, d := range found {
			report.Problems = append(report.Problems, Problem{
				Partition: p, Component: d.Component, Key: hex.EncodeToString(d.Key), Item: d.Item, What: "not what the log gives: " + d.What,
			})
		}
	}
	report.Proved, report.From = true, before.epoch()
	return nil
}
