package wal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/witness"
)

// RewrittenError says that a log holds another frame than the one that was acknowledged
// under its sequence: it lost its end, and grew again. Stop; do not retry.
type RewrittenError struct {
	Stream    string
	Seq       uint64
	Want, Got uint32 // CRCs
}

func (e *RewrittenError) Error() string {
	return fmt.Sprintf("log %s: the frame of sequence %d was acknowledged with CRC %08x, and the log has one with %08x: it lost its end, and its sequences were used again; restore it from a copy",
		e.Stream, e.Seq, e.Want, e.Got)
}

// openWitness finds the witness of the log, and compares the log with it: nothing must be
// appended to a log that has lost its end. It waits while JetStream does not answer.
func (w *Writer) openWitness(ctx context.Context) error {
	if w.cfg.Witness == nil {
		return nil
	}
	js, err := jetstream.New(w.cfg.Conn)
	if err != nil {
		return err
	}
	for wait := backOffMin; ; wait = min(2*wait, backOffMax) {
		err := w.compareEnd(ctx, js)
		var lost *LostTailError
		var other *RewrittenError
		switch {
		case err == nil:
			w.passed()
			return nil
		case errors.As(err, &lost), errors.As(err, &other), errors.Is(err, nats.ErrConnectionClosed), errors.Is(err, witness.ErrVersion):
			return err
		}
		w.trouble(fmt.Errorf("compare the log with its witness: %w", err))
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (w *Writer) compareEnd(ctx context.Context, js jetstream.JetStream) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	stream, err := js.Stream(ctx, w.stream)
	if err != nil {
		return err
	}
	info := stream.CachedInfo()
	if w.witness, err = w.cfg.Witness.Log(w.stream, info.Created); err != nil {
		return err
	}
	end := w.witness.End()
	// Other writers of this process append at the same time. So the log is looked at once more, after
	// its witness: all that the witness has was in the log before.
	if info, err = stream.Info(ctx); err != nil {
		return err
	}
	switch {
	case end.Seq > info.State.LastSeq:
		return &LostTailError{Stream: w.stream, Wanted: end.Seq, Last: info.State.LastSeq}
	case end.Seq == 0 || end.Seq < info.State.FirstSeq:
		return nil
	}
	m, err := stream.GetMsg(ctx, end.Seq)
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return nil // readers find the hole
	}
	if err != nil {
		return err
	}
	if got := frame.CRC(m.Data); got != end.CRC {
		return &RewrittenError{Stream: w.stream, Seq: end.Seq, Want: end.CRC, Got: got}
	}
	return nil
}

// acknowledged records a frame that the server has acknowledged, before any callback.
func (w *Writer) acknowledged(ctx context.Context, g *group) error {
	if g.seq <= w.last { // the stream lost its end, or was made again
		if err := w.openWitness(ctx); err != nil {
			return err
		}
	}
	w.last = g.seq
	err := w.witness.Record(g.seq, g.frame.CRC)
	if err != nil && w.blind == nil {
		w.cfg.Log.Error("the end of the log has no witness any more: a loss of its end may go unnoticed; see that the disk of the data folder works", "app", w.cfg.App, "partition", w.cfg.Partition, "err", err)
	}
	w.blind = err
	return nil
}
