package processor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/invariant"
)

// How far a standby may be ahead of the output stream before it waits. The number of messages
// is a variable for tests.
var keptMessagesMax = 100_000

const (
	keptBytesMax = 64 << 20
	// lookEvery is how often a standby asks how far the output stream has come.
	lookEvery = 200 * time.Millisecond
)

// standby applies the log of a partition that another processor runs, and keeps the results
// that are not known to be in the output stream yet. When it is promoted, it publishes the
// missing ones and continues as the owner of the partition.
type standby struct {
	*replica // of one attempt; only the task uses it

	promoted chan struct{} // closed
	once     sync.Once

	// Results of frames, in order, from kept[0] on.
	kept     []*messageBatch
	messages int
	bytes    int
	looked   time.Time

	// Dead letters of frames that no committed checkpoint is known to cover: the owner may
	// not have stored them.
	late      []*messageBatch
	barriers  []barrier
	asked     time.Time   // when it last asked for the newest committed checkpoint
	committed state.Epoch // the answer
	passed    state.Epoch // the newest epoch whose barrier was applied or loaded

	reports sync.WaitGroup
}

// barrier is a barrier that the standby has applied.
type barrier struct {
	epoch state.Epoch
	seq   uint64
}

// askEvery is how often a standby that keeps dead letters asks which checkpoint is
// committed.
const askEvery = 2 * time.Second

func newStandby() *standby { return &standby{promoted: make(chan struct{})} }

// forget frees the memory of a standby that has ended.
func (s *standby) forget() { s.replica, s.kept, s.late = nil, nil, nil }

func (s *standby) promote() { s.once.Do(func() { close(s.promoted) }) }

// run runs until the task is promoted, with nil, or ctx ends. Then r has what the owner
// continues with.
func (s *standby) run(ctx context.Context, r *replica) error {
	s.replica = r
	r.standsBy = true
	s.kept, s.messages, s.bytes = nil, 0, 0
	s.late, s.barriers = nil, nil
	s.committed, s.passed = 0, 0
	ctx, cancel := context.WithCancel(ctx)
	defer s.reports.Wait()
	defer cancel()
	waiting, stop := context.WithCancel(ctx)
	defer stop()
	go func() {
		select {
		case <-s.promoted:
			stop()
		case <-ctx.Done():
		}
	}()
	if err := s.open(ctx); err != nil {
		return err
	}
	s.passed = state.Epoch(s.status.restored.Load())
	s.log.Info("task stands by", "checkpoint", s.status.restored.Load(), "from", s.reader.Position(), "log_end", s.reader.Tail())
	s.progress.replay(s.reader)
	s.status.set(control.TaskReplaying, nil)
	defer context.AfterFunc(ctx, s.core.Interrupt)()
	for {
		if s.reader.AtTail() && s.status.is() != control.TaskStandby {
			s.progress.end(nil)
			s.status.set(control.TaskStandby, nil)
		}
		if err := s.makeRoom(waiting); err != nil {
			return s.unlessPromoted(ctx, err)
		}
		s.saver.preEncode()
		record, err := s.read(waiting)
		if errors.Is(err, errOvertaken) {
			return err
		}
		if err != nil {
			return s.unlessPromoted(ctx, err)
		}
		s.status.tail.Store(s.reader.Tail())
		if err := s.apply(ctx, record); err != nil {
			return err
		}
	}
}

func (s *standby) unlessPromoted(ctx context.Context, err error) error {
	select {
	case <-s.promoted:
		if ctx.Err() == nil {
			return nil
		}
	default:
	}
	return err
}

// open loads the newest checkpoint. It changes nothing that other processes see.
func (s *standby) open(ctx context.Context) error {
	list, err := s.service.cfg.Control.Checkpoints(ctx, control.AppRequest{App: s.plan.Name})
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	log, err := natsconn.FindWAL(ctx, s.service.js, s.plan.Name, s.partition)
	if err != nil {
		return err
	}
	s.created = log.CachedInfo().Created
	attached := control.Attached{Generation: list.Generation}
	for _, k := range list.Checkpoints {
		if k.State != control.CheckpointCommitted {
			continue
		}
		attached.Decided = max(attached.Decided, k.Epoch)
		if k.Generation == list.Generation {
			attached.Checkpoints = append(attached.Checkpoints, k.CheckpointRef)
		}
	}
	s.generation = max(attached.Generation, 1)
	s.published = published{}
	if err := s.restore(ctx, attached); err != nil {
		return err
	}
	s.renew()
	return nil
}

// apply is like owner.apply, but keeps the results instead of publishing them.
func (s *standby) apply(ctx context.Context, record wal.Record) (err error) {
	defer caught(record.Seq, &err)
	if record.Skipped {
		s.core.Skip(record.Seq, &s.decoder, record.Data)
		s.status.count(record.Seq, engine.Applied{}, 0, s.core)
		return nil
	}
	f, done, err := s.applyFrame(ctx, record)
	if err != nil {
		return err
	}
	p := &messageBatch{}
	at := position{seq: record.Seq}
	if before := s.core.Earlier(); before != nil {
		s.renderer.renderInto(p, before, &at, &s.published)
	}
	if m := s.core.Upgraded(); m != nil {
		s.change(s.saver, m)
	}
	s.renderer.renderInto(p, s.core.Engine, &at, &s.published)
	late := &messageBatch{}
	s.appendLate(late, record.Seq, s.core.Late())
	s.core.ResetOutputs()
	s.status.count(record.Seq, done, 0, s.core)
	s.status.setTimes(s.core.Times())
	s.keep(p)
	s.keepLate(late)
	if f.Kind == frame.Barrier && !done.Repeated {
		s.barriers = append(s.barriers, barrier{state.Epoch(f.Cut.Epoch), record.Seq})
		s.passed = max(s.passed, state.Epoch(f.Cut.Epoch))
		s.reportDigests(ctx, f.Cut)
	}
	return nil
}

func (s *standby) keep(p *messageBatch) {
	if len(p.messages) > 0 {
		s.kept = append(s.kept, p)
		s.messages += len(p.messages)
		s.bytes += len(p.bytes)
	}
}

func (s *standby) keepLate(p *messageBatch) {
	if len(p.messages) > 0 {
		s.late = append(s.late, p)
		s.messages += len(p.messages)
		s.bytes += len(p.bytes)
	}
}

// forgetLate drops the dead letters that a committed checkpoint covers.
func (s *standby) forgetLate(ctx context.Context) error {
	if len(s.late) == 0 && !s.full() {
		s.barriers = s.barriers[:0]
		return nil
	}
	if time.Since(s.asked) < askEvery {
		return nil
	}
	s.asked = time.Now()
	list, err := s.service.cfg.Control.Checkpoints(ctx, control.AppRequest{App: s.plan.Name})
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	committed := state.Epoch(0)
	for _, k := range list.Checkpoints {
		if k.State == control.CheckpointCommitted && max(k.Generation, 1) == s.generation {
			committed = max(committed, k.Epoch)
		}
	}
	s.committed = committed
	covered := uint64(0) // this includes barriers of aborted epochs before the committed one
	for len(s.barriers) > 0 && s.barriers[0].epoch <= committed {
		covered, s.barriers = s.barriers[0].seq, s.barriers[1:]
	}
	for len(s.late) > 0 && s.late[0].messages[0].at.seq <= covered {
		s.messages -= len(s.late[0].messages)
		s.bytes -= len(s.late[0].bytes)
		s.late = s.late[1:]
	}
	return nil
}

// full reports whether it keeps too many results.
func (s *standby) full() bool { return s.messages > keptMessagesMax || s.bytes > keptBytesMax }

// makeRoom drops results that are in the output stream, and waits while too many are not.
func (s *standby) makeRoom(ctx context.Context) error {
	for {
		if err := s.forgetLate(ctx); err != nil {
			return err
		}
		if !s.full() && (len(s.kept) == 0 || time.Since(s.looked) < lookEvery) {
			return nil
		}
		newest, err := s.newestResult(ctx)
		if err != nil {
			return err
		}
		s.looked = time.Now()
		for len(s.kept) > 0 && covered(s.kept[0], newest) {
			s.messages -= len(s.kept[0].messages)
			s.bytes -= len(s.kept[0].bytes)
			s.kept = s.kept[1:]
		}
		if !s.full() {
			return nil
		}
		if s.committed > s.passed { // and the standby cannot get to its barrier
			return fmt.Errorf("%w: %d results and dead letters from before checkpoint %d are kept", errOvertaken, s.messages, s.committed)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(lookEvery):
		}
	}
}

// newestResult returns the log sequence of the frame that caused the newest result of the
// generation in the output stream; 0 for none.
func (s *standby) newestResult(ctx context.Context) (uint64, error) {
	at, err := output.LastResult(ctx, s.nc, s.plan.Name, s.partition)
	if err != nil {
		return 0, err
	}
	if at.Generation != uint64(s.generation) {
		return 0, nil
	}
	return at.Seq, nil
}

// covered reports whether all of a batch is in the output stream, because results of a later
// frame are.
func covered(p *messageBatch, newest uint64) bool {
	return p.messages[len(p.messages)-1].at.seq < newest
}

// checkOrder panics unless the kept results of each stream follow each other.
func (s *standby) checkOrder() {
	newest := map[int]position{}
	for _, kept := range s.kept {
		for _, m := range kept.messages {
			if m.stream != fenceStream {
				invariant.That(m.at.after(newest[m.stream]), "a standby kept result %s of stream %d after %s", m.at, m.stream, newest[m.stream])
				newest[m.stream] = m.at
			}
		}
	}
}

// reportDigests sends the digests of the state at a barrier to the leader, which compares
// them with the owner's.
func (s *standby) reportDigests(ctx context.Context, c frame.Cut) {
	if !s.saver.awaits(c) {
		return
	}
	epoch := state.Epoch(c.Epoch)
	s.saver.epoch, s.saver.term = epoch, checkpoint.Term(c.Term)
	r := control.DigestsRequest{App: s.plan.Name, Generation: s.generation, Epoch: epoch, Partition: s.partition, Digests: map[string]state.Digest{}}
	for _, h := range s.saver.holders {
		h.Cut(epoch) // changes before it are not needed any more
		h.Committed(epoch)
		r.Digests[h.Info().ID] = h.Digest()
	}
	s.reports.Go(func() {
		answer, err := s.service.cfg.Control.Digests(ctx, r)
		switch {
		case err != nil && ctx.Err() == nil:
			s.log.Warn("compare digests with the owner's", "epoch", epoch, "err", err)
		case len(answer.Different) > 0:
			s.status.mismatches.Add(1)
			s.log.Error("state differs from the state of the partition's owner: one of them is wrong; eventflux checkpoint verify --full shows whether the owner's is", "epoch", epoch, "components", answer.Different)
		}
	})
}
