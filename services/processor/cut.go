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

// thawMax bounds one slice of capturing frozen entries, because the next frame waits for it.
// Capturing uses at most half of the task's time.
const thawMax = time.Millisecond

// thaw captures some entries of the frozen part, and reports whether more are left. When none
// are, it passes the part to the saver.
func (s *saver) thaw(ctx context.Context) (more bool, err error) {
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

// thawAll captures all frozen entries at once.
func (s *saver) thawAll(ctx context.Context) error {
	for {
		if more, err := s.thaw(ctx); !more || err != nil {
			return err
		}
	}
}

// piece is the part of one component that has to be stored.
type piece struct {
	info    state.Info
	capture *state.Capture
	whole   bool // the capture has all entries
}

// capture captures the entries that changed after epoch since, or all entries if the changes
// are not known or there is no chain that they could follow.
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

// Pre-encoding may use one part in preEncodeShare of the task's time. Entries that change
// again before the barrier are encoded again.
const (
	preEncodeEvery = 10 * time.Millisecond
	preEncodeShare = 10
)

// preEncode encodes, from time to time, the entries that have changed, so that the next
// barrier delays the task less.
func (s *saver) preEncode() {
	if s == nil || time.Since(s.preEncoded) < max(preEncodeEvery, preEncodeShare*s.preEncoding) {
		return
	}
	started := time.Now()
	for _, h := range s.holders {
		h.PreEncode()
	}
	s.preEncoded = time.Now()
	s.preEncoding = s.preEncoded.Sub(started)
}

// applyDecision applies the newest decision of the saver, if there is one.
func (s *saver) applyDecision() {
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
		s.task.status.committed.Store(uint64(d.epoch))
	default:
	}
}

// cut handles a barrier: the current state becomes the task's part of a checkpoint. It does
// only the work that must be done before the next frame. Frozen entries are captured between
// frames, and the saver does the rest concurrently.
func (o *owner) cut(ctx context.Context, seq uint64, f *frame.Frame) error {
	s := o.saver
	if s == nil {
		return nil
	}
	if !s.awaits(f.Cut) {
		o.log.Debug("barrier needs no answer: its epoch is over, or its leader", "epoch", f.Cut.Epoch, "term", f.Cut.Term)
		return nil
	}
	faultpoint.Reach(faultpoint.CutBefore)
	begun := time.Now()
	epoch := state.Epoch(f.Cut.Epoch)
	p := &part{
		epoch: epoch, term: checkpoint.Term(f.Cut.Term), since: s.committed, chains: s.chains,
		lineage: checkpoint.Lineage{
			Stream: natsconn.WALStream(o.plan.Name, o.partition), Created: o.created,
			Sequence: seq, ID: f.Cut.ID, CRC: f.CRC,
		},
		clock: o.core.Clock(), results: o.box.count(), late: o.late.count(), positions: map[string]string{},
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
	for number, stream := range o.streams.all()[:len(o.renderer.newest)] {
		if at := o.renderer.newest[number]; at.seq > 0 {
			p.positions[stream] = at.String()
		}
	}
	if version, _ := o.core.Deployed(); version > 1 {
		p.version, p.plan = uint32(version), o.live.Digest
	}
	faultpoint.Reach(faultpoint.CutDone)
	s.epoch, s.term, s.frozen, s.thawed = epoch, p.term, p, time.Now()
	p.begun, p.pause = begun, time.Since(begun)
	o.status.pause.Store(int64(p.pause))
	o.gauge.sized(bytes, o.core.PartialMatches(), o.live)
	return nil
}
