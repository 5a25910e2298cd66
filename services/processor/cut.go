package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// cut is where a barrier cuts the log: the state as it is now becomes the task's part
// of a checkpoint. Only what has to be of this very instant is done here. What is frozen
// is taken between frames, and the saver does the rest beside the task.
func (t *task) cut(ctx context.Context, seq uint64, f *frame.Frame) error {
	s := t.saver
	if s == nil {
		return nil
	}
	if !s.awaits(f.Cut) {
		t.log.Debug("barrier needs no answer: its epoch is over, or its leader", "epoch", f.Cut.Epoch, "term", f.Cut.Term)
		return nil
	}
	faultpoint.Reach(faultpoint.CutBefore)
	begun := time.Now()
	epoch := state.Epoch(f.Cut.Epoch)
	p := &part{
		epoch: epoch, term: checkpoint.Term(f.Cut.Term), since: s.committed, chains: s.chains,
		lineage: checkpoint.Lineage{
			Stream: natsconn.WALStream(t.plan.Name, t.partition), Created: t.created,
			Sequence: seq, ID: f.Cut.ID, CRC: f.CRC,
		},
		clock: t.core.Clock(), mark: t.box.mark(), late: t.late.mark(), positions: map[string]string{},
	}
	bytes := int64(0)
	for _, h := range s.holders {
		h.Freeze(epoch)
		piece, err := capture(h, p.since, s.whole || p.since <= s.remade[h.Info().ID])
		if err != nil {
			return fmt.Errorf("log sequence %d: cut for checkpoint %d: %w", seq, epoch, err)
		}
		p.pieces = append(p.pieces, piece)
		bytes += h.Bytes()
		faultpoint.Reach(faultpoint.CutHalf)
	}
	for number, stream := range t.streams.all()[:len(t.renderer.newest)] {
		if at := t.renderer.newest[number]; at.seq > 0 {
			p.positions[stream] = at.String()
		}
	}
	if version, _ := t.core.Deployed(); version > 1 {
		p.version, p.plan = uint32(version), t.live.Digest
	}
	faultpoint.Reach(faultpoint.CutDone)
	s.epoch, s.term, s.frozen, s.thawed = epoch, p.term, p, time.Now()
	p.begun, p.pause = begun, time.Since(begun)
	t.status.pause.Store(int64(p.pause))
	t.sized(bytes)
	return nil
}

// What is frozen is taken in slices of half of the task's time at most, and none is long:
// the next frame waits for it.
const thawMax = time.Millisecond

// thaw takes some of the part that is frozen, and reports whether more is left. The part
// goes to the saver when nothing is.
func (t *task) thaw(ctx context.Context) (more bool, err error) {
	s := t.saver
	if s == nil || s.frozen == nil {
		return false, nil
	}
	defer caught(s.frozen.lineage.Sequence, &err)
	begun := time.Now()
	limit := min(begun.Sub(s.thawed), thawMax)
	for _, h := range s.holders {
		for h.Thaw() {
			if time.Since(begun) >= limit {
				s.thawed = time.Now()
				return true, nil
			}
		}
	}
	p := s.frozen
	s.frozen, p.thawing = nil, time.Since(p.begun.Add(p.pause))
	select {
	case s.parts <- p:
	case <-ctx.Done():
	}
	return false, nil
}

// thawAll takes what is frozen, for a task that has nothing else to do.
func (t *task) thawAll(ctx context.Context) error {
	for {
		if more, err := t.thaw(ctx); !more || err != nil {
			return err
		}
	}
}

// piece is what is to be stored of one component.
type piece struct {
	info    state.Info
	capture *state.Capture
	whole   bool // the capture has all entries
}

// capture takes what changed after epoch since, or everything where that is not
// known or there is nothing that it could follow.
func capture(h state.Holder, since state.Epoch, whole bool) (piece, error) {
	p := piece{info: h.Info()}
	if whole {
		p.capture, p.whole = h.Snapshot(), true
		return p, nil
	}
	delta, err := h.Delta(since)
	switch {
	case errors.Is(err, state.ErrPruned):
		p.capture, p.whole = h.Snapshot(), true
		return p, nil
	case err != nil:
		return p, err
	}
	p.capture = delta
	return p, nil
}

// Taking in state ahead of a barrier may cost this much: one part in settleShare of the
// task's time. What changes again before the barrier is taken in again.
const (
	settleEvery = 10 * time.Millisecond
	settleShare = 10
)

// settleSoon takes in what changed lately, now and then: it does not keep the task at the
// next barrier then.
func (t *task) settleSoon() {
	s := t.saver
	if s == nil || time.Since(s.settled) < max(settleEvery, settleShare*s.settling) {
		return
	}
	begun := time.Now()
	for _, h := range s.holders {
		h.Settle()
	}
	s.settled = time.Now()
	s.settling = s.settled.Sub(begun)
}

// settle takes in what became of the checkpoints that are under way.
func (t *task) settle() {
	s := t.saver
	if s == nil {
		return
	}
	select {
	case d := <-s.decided:
		if s.whole = d.whole; d.whole {
			return
		}
		for _, h := range s.holders {
			h.Committed(d.epoch)
		}
		s.committed, s.chains = d.epoch, d.chains
		t.status.committed.Store(uint64(d.epoch))
	default:
	}
}
