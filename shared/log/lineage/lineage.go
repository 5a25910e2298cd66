// Package lineage tells whether a log is still the one that a checkpoint was cut
// from. How logs are read is shared/log/wal's business, what is in a checkpoint
// shared/state/checkpoint's.
package lineage

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/wal"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

// Error says that a log is not the one that a checkpoint was cut from. Stop; do not
// retry.
type Error struct {
	Log        checkpoint.Lineage
	Difference string
}

func (e *Error) Error() string {
	return fmt.Sprintf("log %s is not the one that the checkpoint was cut from at sequence %d: %s; restore the log from a copy, or deploy the app under another @app:name",
		e.Log.Stream, e.Log.Sequence, e.Difference)
}

const timeFormat = "2006-01-02T15:04:05.000000000Z"

// OpenBehind opens the log of a partition after a checkpoint's barrier, and checks that the
// barrier is there. The reader skips the records that the checkpoint names. created is the
// time when the server made the log's stream; cfg.From is ignored. It fails with an *Error,
// with a *wal.TrimmedError, or with the reason why it cannot check.
func OpenBehind(ctx context.Context, cfg wal.ReaderConfig, created time.Time, part *checkpoint.Partition) (*wal.Reader, error) {
	l := &part.Log
	if !created.Equal(l.Created) {
		return nil, Another(l, created)
	}
	cfg.From, cfg.Skip = l.Sequence, SkipOf(part)
	r, err := wal.OpenReader(ctx, cfg)
	var lost *wal.LostTailError
	if errors.As(err, &lost) {
		return nil, differs(l, "it is shorter, and ends at %d", lost.Last)
	}
	if err != nil {
		return nil, err
	}
	if err := checkBarrier(ctx, r, l); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// SkipOf returns the records that readers of the log after a checkpoint skip.
func SkipOf(part *checkpoint.Partition) wal.Skip {
	if len(part.Skipped) == 0 {
		return nil
	}
	skip := wal.Skip{}
	for _, s := range part.Skipped {
		skip[s.Sequence] = s.SHA256
	}
	return skip
}

// Another returns the *Error for a log whose stream was made at another time.
func Another(l *checkpoint.Lineage, created time.Time) error {
	return differs(l, "it is another stream, made %s and not %s", created.UTC().Format(timeFormat), l.Created.UTC().Format(timeFormat))
}

func checkBarrier(ctx context.Context, r *wal.Reader, l *checkpoint.Lineage) error {
	if r.Tail() < l.Sequence {
		return differs(l, "it is shorter, and ends at %d", r.Tail())
	}
	record, err := r.Next(ctx)
	if err != nil {
		return err
	}
	return Check(record.Data, l)
}

// Check compares a frame with the barrier that a checkpoint was cut at.
func Check(data []byte, l *checkpoint.Lineage) error {
	var d frame.Decoder
	f, err := d.Decode(data)
	switch {
	case err != nil:
		return differs(l, "it was rewritten: %v", err)
	case f.Kind != frame.Barrier:
		return differs(l, "it was rewritten: there is a frame of %s where the barrier was", f.Kind)
	case f.Cut.ID != l.ID || f.CRC != l.CRC:
		return differs(l, "it was rewritten: the barrier there is %x with CRC %08x, and not %x with %08x", f.Cut.ID, f.CRC, l.ID, l.CRC)
	}
	return nil
}

func differs(l *checkpoint.Lineage, format string, args ...any) error {
	return &Error{*l, fmt.Sprintf(format, args...)}
}
