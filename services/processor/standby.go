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
	promoted chan struct{} // closed
	once     sync.Once
	ready    bool // it has state that can be promoted; only the task uses this

	// Results of frames, in order, from kept[0] on.
	kept     []*pile
	messages int
	bytes    int
	looked   time.Time

	// Dead letters of frames that no committed checkpoint is known to cover: the owner may
	// not have stored them.
	late      []*pile
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

func (s *standby) promote() { s.once.Do(func() { close(s.promoted) }) }

// standBy runs until the task is promoted, with nil, or ctx ends.
func (t *task) standBy(ctx context.Context) error {
	s := t.standby
	s.ready = false
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
	if err := t.openStandby(ctx); err != nil {
		return err
	}
	s.passed = state.Epoch(t.status.restored.Load())
	t.log.Info("task stands by", "checkpoint", t.status.restored.Load(), "from", t.reader.Position(), "log_end", t.reader.Tail())
	t.progress.replay(t.reader)
	t.status.set(control.TaskReplaying, nil)
	defer context.AfterFunc(ctx, t.core.Interrupt)()
	for {
		if t.reader.AtTail() && t.status.is() != control.TaskStandby {
			t.progress.end(nil)
			t.status.set(control.TaskStandby, nil)
		}
		if err := t.makeRoom(waiting); err != nil {
			return t.unlessPromoted(ctx, err)
		}
		t.preEncode()
		record, err := t.read(waiting)
		if errors.Is(err, errOvertaken) {
			return err
		}
		if err != nil {
			return t.unlessPromoted(ctx, err)
		}
		t.status.tail.Store(t.reader.Tail())
		if err := t.applyStandby(ctx, record); err != nil {
			return err
		}
	}
}

func (t *task) unlessPromoted(ctx context.Context, err error) error {
	select {
	case <-t.standby.promoted:
		if ctx.Err() == nil {
			t.standby.ready = true
			return nil
		}
	default:
	}
	return err
}

// openStandby loads the newest checkpoint. It changes nothing that other processes see.
func (t *task) openStandby(ctx context.Context) error {
	list, err := t.service.cfg.Control.Checkpoints(ctx, control.AppRequest{App: t.plan.Name})
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	log, err := natsconn.FindWAL(ctx, t.service.js, t.plan.Name, t.partition)
	if err != nil {
		return err
	}
	t.created = log.CachedInfo().Created
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
	t.generation = max(attached.Generation, 1)
	t.last, t.mute, t.out = nil, position{}, outEnd{}
	if err := t.restore(ctx, attached); err != nil {
		return err
	}
	t.renew()
	return nil
}

// applyStandby is apply, but keeps the results instead of publishing them.
func (t *task) applyStandby(ctx context.Context, record wal.Record) (err error) {
	defer caught(record.Seq, &err)
	if record.Skipped {
		t.core.Skip(record.Seq, &t.decoder, record.Data)
		t.status.count(record.Seq, engine.Applied{}, 0, t.core.Dropped())
		return nil
	}
	f, done, err := t.applyFrame(ctx, record)
	if err != nil {
		return err
	}
	p := &pile{}
	at := position{seq: record.Seq}
	if before := t.core.Earlier(); before != nil {
		t.renderer.renderInto(p, before, &at, t.last)
	}
	if m := t.core.Upgraded(); m != nil {
		t.change(m)
	}
	t.renderer.renderInto(p, t.core.Engine, &at, t.last)
	late := &pile{}
	t.appendLate(late, record.Seq, t.core.Late())
	t.core.ResetOutputs()
	t.status.count(record.Seq, done, 0, t.core.Dropped())
	t.status.setTimes(t.core.Times())
	t.standby.keep(p)
	t.standby.keepLate(late)
	if f.Kind == frame.Barrier && !done.Repeated {
		t.standby.barriers = append(t.standby.barriers, barrier{state.Epoch(f.Cut.Epoch), record.Seq})
		t.standby.passed = max(t.standby.passed, state.Epoch(f.Cut.Epoch))
		t.reportDigests(ctx, f.Cut)
	}
	return nil
}

func (s *standby) keep(p *pile) {
	if len(p.messages) > 0 {
		s.kept = append(s.kept, p)
		s.messages += len(p.messages)
		s.bytes += len(p.bytes)
	}
}

func (s *standby) keepLate(p *pile) {
	if len(p.messages) > 0 {
		s.late = append(s.late, p)
		s.messages += len(p.messages)
		s.bytes += len(p.bytes)
	}
}

// forgetLate drops the dead letters that a committed checkpoint covers.
func (t *task) forgetLate(ctx context.Context) error {
	s := t.standby
	if len(s.late) == 0 && !s.full() {
		s.barriers = s.barriers[:0]
		return nil
	}
	if time.Since(s.asked) < askEvery {
		return nil
	}
	s.asked = time.Now()
	list, err := t.service.cfg.Control.Checkpoints(ctx, control.AppRequest{App: t.plan.Name})
	if err != nil {
		return fmt.Errorf("list checkpoints: %w", err)
	}
	committed := state.Epoch(0)
	for _, k := range list.Checkpoints {
		if k.State == control.CheckpointCommitted && max(k.Generation, 1) == t.generation {
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
func (t *task) makeRoom(ctx context.Context) error {
	s := t.standby
	for {
		if err := t.forgetLate(ctx); err != nil {
			return err
		}
		if !s.full() && (len(s.kept) == 0 || time.Since(s.looked) < lookEvery) {
			return nil
		}
		newest, err := t.newestResult(ctx)
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
func (t *task) newestResult(ctx context.Context) (uint64, error) {
	at, err := output.LastResult(ctx, t.nc, t.plan.Name, t.partition)
	if err != nil {
		return 0, err
	}
	if at.Generation != uint64(t.generation) {
		return 0, nil
	}
	return at.Seq, nil
}

// covered reports whether all of a pile is in the output stream, because results of a later
// frame are.
func covered(p *pile, newest uint64) bool {
	return p.messages[len(p.messages)-1].at.seq < newest
}

// putOut publishes the results that the output stream lacks.
func (t *task) putOut(ctx context.Context) error {
	for _, kept := range t.standby.kept {
		open := t.box.fill(ctx, func(p *pile) {
			for _, m := range kept.messages {
				if !m.at.after(t.last[m.stream]) {
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
	for _, kept := range t.standby.late {
		if !t.late.fill(ctx, func(p *pile) { p.appendAll(kept) }) {
			return context.Cause(ctx)
		}
	}
	t.standby = nil // from now on, the task owns the partition
	return nil
}

// reportDigests sends the digests of the state at a barrier to the leader, which compares
// them with the owner's.
func (t *task) reportDigests(ctx context.Context, c frame.Cut) {
	if !t.saver.awaits(c) {
		return
	}
	epoch := state.Epoch(c.Epoch)
	t.saver.epoch, t.saver.term = epoch, checkpoint.Term(c.Term)
	r := control.DigestsRequest{App: t.plan.Name, Generation: t.generation, Epoch: epoch, Partition: t.partition, Digests: map[string]state.Digest{}}
	for _, h := range t.saver.holders {
		h.Cut(epoch) // changes before it are not needed any more
		h.Committed(epoch)
		r.Digests[h.Info().ID] = h.Digest()
	}
	t.standby.reports.Go(func() {
		answer, err := t.service.cfg.Control.Digests(ctx, r)
		switch {
		case err != nil && ctx.Err() == nil:
			t.log.Warn("compare digests with the owner's", "epoch", epoch, "err", err)
		case len(answer.Different) > 0:
			t.status.mismatches.Add(1)
			t.log.Error("state differs from the state of the partition's owner: one of them is wrong; eventflux checkpoint verify --full shows whether the owner's is", "epoch", epoch, "components", answer.Different)
		}
	})
}

// errStandbyStale makes the task start again.
var errStandbyStale = fmt.Errorf("it stood by for another generation: %w", errFenced)

// takePromotion turns the standby into the owner of the partition, with its state.
func (t *task) takePromotion(ctx context.Context, attached control.Attached) error {
	if max(attached.Generation, 1) != t.generation || attached.Held {
		return errStandbyStale
	}
	if t.ahead && t.out.seq > 0 && t.out.seq < t.start.Sequence {
		return errStandbyStale // it kept no results from before the generation's start, and some are not published
	}
	if t.reader.Position() <= t.start.Sequence {
		return errStandbyStale // it started again, and has not reached the start: it has no results before that
	}
	newest := t.renderer.newest
	t.renew()
	for i := range newest {
		if newest[i].after(t.renderer.newest[i]) {
			t.renderer.newest[i] = newest[i]
		}
	}
	passed := t.saver
	t.saver = newSaver(t, attached, passed.registry)
	t.start = checkpoint.Start{}
	if passed.epoch <= attached.Decided {
		return nil
	}
	// This task has passed the barrier, so it can no longer prepare that epoch.
	t.saver.epoch, t.saver.term = passed.epoch, passed.term
	p := &part{epoch: passed.epoch, term: passed.term}
	t.standby.reports.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, heartbeatWait)
		defer cancel()
		if err := t.saver.fail(ctx, p, errors.New("a standby has taken the partition over after the barrier")); err != nil && ctx.Err() == nil {
			t.log.Warn("give up the open checkpoint", "epoch", p.epoch, "err", err)
		}
	})
	return nil
}
