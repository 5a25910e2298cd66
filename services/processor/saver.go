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
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/trace"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/compress"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

const fullEveryDefault = 10

// saver stores the task's parts of checkpoints concurrently with the task, one at a time. At
// the next barrier it gives up a part whose epoch is not decided yet.
//
//	cut ── thaw ──part──▶ runs ──▶ results durable ──▶ prepared ──▶ decided ──▶ applyDecision
type saver struct {
	task       *task
	box, late  *outbox // of the owner; nil for a standby, which stores nothing
	assignment uint64
	generation checkpoint.Generation
	parts      chan *part
	decided    chan decision

	// Only the task uses these.
	registry  *state.Registry
	holders   []state.Holder // of the registry, in the order of their ids
	committed state.Epoch    // the newest committed epoch; chains has its chains
	chains    map[string][]checkpoint.Run
	epoch     state.Epoch // the newest epoch that was cut or needs no answer
	term      checkpoint.Term
	// remade has, by component, the newest epoch that was cut before a change of the app
	// replaced the component: deltas must not build on runs up to that epoch.
	remade      map[string]state.Epoch
	whole       bool          // runs of the chains are gone: the next part must have all state
	frozen      *part         // the part of the last barrier while it is not fully captured; else nil
	thawed      time.Time     // when some of it was captured last
	preEncoded  time.Time     // when changes were last pre-encoded ahead of a barrier
	preEncoding time.Duration // how long that took

	// Only run uses these: the newest checkpoint that a merger has folded.
	merged    *checkpoint.Manifest
	mergedRef control.CheckpointRef
}

// part is the task's part of a checkpoint, as cut at the barrier.
type part struct {
	epoch     state.Epoch
	term      checkpoint.Term
	since     state.Epoch // the epoch that the deltas follow
	chains    map[string][]checkpoint.Run
	pieces    []piece
	lineage   checkpoint.Lineage
	clock     int64
	results   uint64            // messages in the outbox up to the barrier
	late      uint64            // dead letters up to the barrier
	positions map[string]string // of the newest result of each stream
	version   uint32            // of the app; 0: version 1
	plan      string            // digest of its text; "" for version 1
	begun     time.Time         // when the task started to cut
	pause     time.Duration     // how long the cut took
	thawing   time.Duration     // how long it took until all frozen entries were captured
}

// decision is a committed epoch with the chains of its components, or says that the next part
// must have all state.
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

// change makes the next parts those of the components that a change of the app has left.
func (s *saver) change(m *engine.Migration, components []engine.Component) {
	if s == nil {
		return
	}
	before := s.registry
	s.registry = m.Registry(before, components)
	s.holders = s.registry.List()
	for _, h := range s.holders {
		if was, ok := before.ByID(h.Info().ID); !ok || was != h {
			s.remade[h.Info().ID] = s.epoch
		}
	}
}

// awaits reports whether a barrier needs an answer. It does not if its epoch was decided
// before the task started, or if a former leader appended it.
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
		case next = <-s.parts: // the previous one was aborted, or will be
			cancel()
			err = <-ended
		}
		cancel()
		if err != nil && ctx.Err() == nil {
			return err
		}
	}
}

// save stores one part, reports that to the leader, and passes the decision to the task.
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
			s.decide(ctx, log, outcome, chains)
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

func (s *saver) decide(ctx context.Context, log *slog.Logger, o control.Outcome, chains map[string][]checkpoint.Run) {
	if !o.Committed {
		log.Warn("checkpoint aborted; the next one will have its changes", "reason", o.Reason, "whole", o.Whole)
		if o.Whole {
			s.pass(decision{whole: true})
		}
		return
	}
	log.Debug("checkpoint committed")
	s.useMerged(ctx, log, o.Merged, chains)
	s.pass(decision{epoch: o.Epoch, chains: chains})
}

func (s *saver) pass(d decision) {
	select { // this decision replaces one that the task has not read yet
	case <-s.decided:
	default:
	}
	s.decided <- d
}

// useMerged replaces runs with the base that a merger has folded from them, so that the next
// deltas build on it. If it fails, chains only stay longer.
func (s *saver) useMerged(ctx context.Context, log *slog.Logger, ref *control.CheckpointRef, chains map[string][]checkpoint.Run) {
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

// fail reports a failure to the leader at once, so that it does not wait for the timeout.
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
	packer := checkpoint.NewPacker(s.task.service.cfg.Store, s.task.service.cfg.Workers)
	group, storing := errgroup.WithContext(ctx)
	group.SetLimit(s.task.service.cfg.Workers)
	for i := range p.pieces {
		group.Go(func() (err error) {
			components[i], err = s.storePiece(storing, packer, p, &p.pieces[i])
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, nil, err
	}
	faultpoint.Reach(faultpoint.PackBefore)
	if err := packer.Flush(ctx, components); err != nil {
		return nil, nil, fmt.Errorf("pack the runs: %w", err)
	}
	faultpoint.Reach(faultpoint.PackDone)
	spans.Next("results durable")
	if !s.box.reached(ctx, p.results) {
		return nil, nil, fmt.Errorf("results up to the barrier are not durable: %w", context.Cause(ctx))
	}
	if !s.late.reached(ctx, p.late) {
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

// storePiece stores a component's changes as a run after its chain, where small runs may wait to be
// packed. It folds the chain into a new base if the chain is too long, or its deltas are larger
// than its base.
func (s *saver) storePiece(ctx context.Context, into store.Store, p *part, piece *piece) (checkpoint.Component, error) {
	c := checkpoint.Component{
		ID: piece.info.ID, Type: piece.info.Type, Version: piece.info.Version.String(), Digest: piece.capture.Digest(),
	}
	chain := p.chains[c.ID]
	kind := checkpoint.Delta
	if piece.whole || len(chain) == 0 {
		chain, kind = nil, checkpoint.Base
	}
	changes := piece.capture.Changes()
	if kind == checkpoint.Base { // a base has nothing before it to delete
		changes = withoutDeletions(changes)
	}
	c.Runs = chain
	if len(changes) > 0 {
		opt := s.options(kind, p.epoch, piece)
		if err := faultpoint.Fail(faultpoint.RunBefore); err != nil {
			return c, err
		}
		run, err := checkpoint.WriteRun(ctx, into, opt, changes)
		faultpoint.Reach(faultpoint.RunDone)
		if err != nil {
			return c, fmt.Errorf("component %s: %w", c.ID, err)
		}
		c.Runs = append(chain[:len(chain):len(chain)], run)
	}
	if !s.heavy(c.Runs) {
		return c, nil
	}
	base, err := checkpoint.MergeRuns(ctx, into, s.options(checkpoint.Base, p.epoch, piece), c.Runs)
	if errors.Is(err, checkpoint.ErrNoEntries) { // the deltas have deleted everything
		c.Runs = []checkpoint.Run{}
		return c, nil
	}
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

// heavy reports whether a chain has to be folded.
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
