package processor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/trace"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

const fullEveryDefault = 10

// saver stores the task's parts of checkpoints beside it, one at a time: the barrier
// of the next one gives up what is not decided yet.
//
//	cut ── thaw ──part──▶ runs ──▶ results durable ──▶ prepared ──▶ decided ──▶ settle
type saver struct {
	task       *task
	assignment uint64
	generation checkpoint.Generation
	parts      chan *part
	decided    chan decision

	// The task's alone.
	registry  *state.Registry
	holders   []state.Holder // of the registry, in the order of their ids
	committed state.Epoch    // the newest committed epoch, whose chains are chains
	chains    map[string][]checkpoint.Run
	epoch     state.Epoch // the newest that was cut or needs no answer
	term      checkpoint.Term
	// remade has, by component, the newest epoch that was cut before a change of the app made the
	// component anew: what was stored by then is not what it stands on.
	remade   map[string]state.Epoch
	whole    bool          // what the chains stand on is gone: the next part has all state
	frozen   *part         // of the last barrier, which is not taken yet; nil: it is
	thawed   time.Time     // when some of it was taken last
	settled  time.Time     // when state was last taken in ahead of a barrier
	settling time.Duration // how long that took

	// run's alone: the newest checkpoint that a merger has folded.
	merged    *checkpoint.Manifest
	mergedRef control.CheckpointRef
}

// part is the task's part of a checkpoint as it is taken at the barrier.
type part struct {
	epoch     state.Epoch
	term      checkpoint.Term
	since     state.Epoch // what the deltas follow
	chains    map[string][]checkpoint.Run
	pieces    []piece
	lineage   checkpoint.Lineage
	clock     int64
	mark      uint64            // messages in the outbox up to the barrier
	late      uint64            // and dead letters
	positions map[string]string // of the newest result of each stream
	version   uint32            // of the app; 0: version 1
	plan      string            // digest of its text; "" for version 1
	begun     time.Time         // when the task began to cut
	pause     time.Duration     // how long that took
	thawing   time.Duration     // until all was taken that was frozen
}

// decision is a committed epoch with the chains of its components; or that the next
// part is to have all state.
type decision struct {
	epoch  state.Epoch
	chains map[string][]checkpoint.Run
	whole  bool
}

func newSaver(t *task, attached control.Attached, registry *state.Registry) *saver {
	return &saver{
		task: t, assignment: attached.Assignment, generation: attached.Generation, registry: registry, holders: registry.List(), epoch: attached.Decided,
		chains: map[string][]checkpoint.Run{}, remade: map[string]state.Epoch{},
		parts: make(chan *part, 1), decided: make(chan decision, 1),
	}
}

// awaits reports whether a barrier needs an answer: not if its epoch was decided
// before the task began, and not if a former leader appended it.
func (s *saver) awaits(c frame.Cut) bool {
	return state.Epoch(c.Epoch) > s.epoch && checkpoint.Term(c.Term) >= s.term
}

// run stores part after part until ctx ends. An error means that the task has lost
// its partition.
func (s *saver) run(ctx context.Context) error {
	var next *part
	for {
		if next == nil {
			select {
			case next = <-s.parts:
			case <-ctx.Done():
				return nil
			}
		}
		saving, cancel := context.WithCancel(ctx)
		ended := make(chan error, 1)
		go func(p *part) { ended <- s.save(saving, p) }(next)
		var err error
		select {
		case err = <-ended:
			next = nil
		case next = <-s.parts: // the one before was aborted, or will be
			cancel()
			err = <-ended
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// save stores one part, says so, and passes on what was decided.
func (s *saver) save(ctx context.Context, p *part) error {
	log := s.task.log.With("epoch", p.epoch)
	ctx, spans := s.trace(ctx, p)
	stored, chains, err := s.store(ctx, p, spans)
	defer func() { spans.End(err) }()
	if err == nil {
		s.task.status.saved.Store(int64(time.Since(p.begun.Add(p.pause))))
		spans.Next("prepared")
		faultpoint.Reach(faultpoint.PreparedSaid)
		var outcome control.Outcome
		outcome, err = s.task.service.cfg.Control.Prepared(ctx, control.PreparedRequest{
			App: s.task.plan.Name, Epoch: p.epoch, Term: p.term, Partition: *stored,
		})
		if err == nil {
			spans.Set(attribute.Bool("committed", outcome.Committed))
			faultpoint.Reach(faultpoint.DecisionKnown)
			s.tell(ctx, log, outcome, chains)
			return nil
		}
	} else if ctx.Err() == nil {
		err = errors.Join(err, s.fail(ctx, p, err))
	}
	switch {
	case ctx.Err() != nil:
		return nil
	case control.Code(err) == control.CodeFenced:
		s.task.service.refused.WithLabelValues(refusedPrepared).Inc()
		return fmt.Errorf("prepare checkpoint %d: %w: %w", p.epoch, errFenced, err)
	}
	log.Warn("checkpoint not prepared; the next one will have its changes", "err", err)
	if errors.Is(err, checkpoint.ErrCorrupt) { // a chain that could not be folded
		s.pass(decision{whole: true})
	}
	return nil
}

func (s *saver) tell(ctx context.Context, log *slog.Logger, o control.Outcome, chains map[string][]checkpoint.Run) {
	if !o.Committed {
		log.Warn("checkpoint aborted; the next one will have its changes", "reason", o.Reason, "whole", o.Whole)
		if o.Whole {
			s.pass(decision{whole: true})
		}
		return
	}
	log.Debug("checkpoint committed")
	s.adopt(ctx, log, o.Merged, chains)
	s.pass(decision{epoch: o.Epoch, chains: chains})
}

func (s *saver) pass(d decision) {
	select { // a decision that the task has not seen yet is overtaken by this one
	case <-s.decided:
	default:
	}
	s.decided <- d
}

// adopt puts what a merger has folded in the place of the runs that it was folded from,
// so that the next deltas stand on it. Without it, chains only grow longer.
func (s *saver) adopt(ctx context.Context, log *slog.Logger, ref *control.CheckpointRef, chains map[string][]checkpoint.Run) {
	if ref == nil || ref.Generation != s.generation {
		return
	}
	if s.mergedRef.Digest != ref.Digest {
		m, err := checkpoint.ReadManifest(ctx, s.task.service.cfg.Store, ref.Manifest, ref.Digest)
		if err != nil {
			log.Debug("merged checkpoint not read; the next one tries again", "merged", ref.Epoch, "err", err)
			return
		}
		s.merged, s.mergedRef = m, *ref
	}
	if int(s.task.partition) >= len(s.merged.Partitions) {
		return
	}
	for _, c := range s.merged.Partitions[s.task.partition].Components {
		if chain, ok := chains[c.ID]; ok {
			chains[c.ID] = checkpoint.Adopt(chain, c.Runs, s.merged.Epoch)
		}
	}
}

// fail tells the leader at once, instead of having it wait.
func (s *saver) fail(ctx context.Context, p *part, cause error) error {
	_, err := s.task.service.cfg.Control.Failed(ctx, control.FailedRequest{
		App: s.task.plan.Name, Epoch: p.epoch, Term: p.term,
		Partition: s.task.partition, Assignment: s.assignment, Reason: cause.Error(),
	})
	return err
}

// store makes the part durable: runs in the store, results in the output stream.
func (s *saver) store(ctx context.Context, p *part, spans *trace.Steps) (*checkpoint.Partition, map[string][]checkpoint.Run, error) {
	components := make([]checkpoint.Component, len(p.pieces))
	group, storing := errgroup.WithContext(ctx)
	group.SetLimit(s.task.service.cfg.Workers)
	for i := range p.pieces {
		group.Go(func() (err error) {
			components[i], err = s.storePiece(storing, p, &p.pieces[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	spans.Next("results durable")
	if !s.task.box.reached(ctx, p.mark) {
		return nil, nil, fmt.Errorf("results up to the barrier are not durable: %w", context.Cause(ctx))
	}
	if !s.task.late.reached(ctx, p.late) {
		return nil, nil, fmt.Errorf("dead letters up to the barrier are not durable: %w", context.Cause(ctx))
	}
	stream := natsconn.OutStream(s.task.plan.Name, s.task.partition)
	last, err := lastSequence(ctx, s.task.nc, stream)
	if err != nil {
		return nil, nil, fmt.Errorf("end of output stream %s: %w", stream, err)
	}
	chains := make(map[string][]checkpoint.Run, len(components))
	for i := range components {
		chains[components[i].ID] = components[i].Runs
	}
	return &checkpoint.Partition{
		Partition: s.task.partition, Assignment: s.assignment, Version: p.version, Plan: p.plan, Log: p.lineage, Clock: p.clock,
		Output:     checkpoint.Output{Stream: stream, Sequence: last, Positions: p.positions},
		Components: components,
	}, chains, nil
}

// storePiece stores a component's changes as a run behind its chain, and folds the
// chain into a new base when it has become long, or heavier than its base.
func (s *saver) storePiece(ctx context.Context, p *part, piece *piece) (checkpoint.Component, error) {
	c := checkpoint.Component{
		ID: piece.info.ID, Type: piece.info.Type, Version: piece.info.Version.String(), Digest: piece.capture.Digest(),
	}
	chain := p.chains[c.ID]
	kind := checkpoint.Delta
	if piece.whole || len(chain) == 0 {
		chain, kind = nil, checkpoint.Base
	}
	changes := piece.capture.Changes()
	if kind == checkpoint.Base { // there is nothing that deletions could delete
		changes = withoutDeletions(changes)
	}
	c.Runs = chain
	if len(changes) > 0 {
		opt := s.options(kind, p.epoch, piece)
		if err := faultpoint.Fail(faultpoint.RunBefore); err != nil {
			return c, err
		}
		run, err := checkpoint.WriteRun(ctx, s.task.service.cfg.Store, opt, changes)
		faultpoint.Reach(faultpoint.RunDone)
		if err != nil {
			return c, fmt.Errorf("component %s: %w", c.ID, err)
		}
		c.Runs = append(chain[:len(chain):len(chain)], run)
	}
	if !s.heavy(c.Runs) {
		return c, nil
	}
	base, err := checkpoint.MergeRuns(ctx, s.task.service.cfg.Store, s.options(checkpoint.Base, p.epoch, piece), c.Runs)
	if err != nil {
		return c, fmt.Errorf("component %s: fold %d runs: %w", c.ID, len(c.Runs), err)
	}
	c.Runs = []checkpoint.Run{base}
	return c, nil
}

func withoutDeletions(changes []state.Change) []state.Change {
	kept := make([]state.Change, 0, len(changes))
	for _, c := range changes {
		if !c.Deleted {
			kept = append(kept, c)
		}
	}
	return kept
}

func (s *saver) options(kind checkpoint.Kind, epoch state.Epoch, piece *piece) checkpoint.WriterOptions {
	choice := s.task.service.cfg.Compression
	if choice == (compress.Choice{}) {
		choice = piece.info.Access.Choice()
	}
	return checkpoint.WriterOptions{Kind: kind, Epoch: epoch, Choice: choice, Parallel: s.task.service.cfg.Workers}
}

// heavy reports whether a chain is to be folded.
func (s *saver) heavy(chain []checkpoint.Run) bool {
	if len(chain) < 2 {
		return false
	}
	var deltas int64
	for _, r := range chain[1:] {
		deltas += r.RawBytes
	}
	return len(chain)-1 >= s.task.service.cfg.FullEvery || deltas > chain[0].RawBytes
}
