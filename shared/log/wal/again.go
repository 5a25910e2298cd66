package wal

import (
	"context"
	"fmt"

	"github.com/eventflux/eventflux/shared/lang/frame"
)

// Visit reads the frames of a log from sequence first up to the one before end, and calls visit with
// each, except those that cfg.Skip names. It ends with the error of visit, with a *TrimmedError if
// the log no longer holds first, or when ctx ends. It ignores cfg.From.
func Visit(ctx context.Context, cfg ReaderConfig, first, end uint64, visit func(seq uint64, f *frame.Frame) error) error {
	if first >= end {
		return nil
	}
	cfg.From = first
	r, err := OpenReader(ctx, cfg)
	if err != nil {
		return err
	}
	defer r.Close()
	var d frame.Decoder
	for r.Position() < end {
		record, err := r.Next(ctx)
		if err != nil {
			return err
		}
		if record.Skipped {
			continue
		}
		f, err := d.Decode(record.Data)
		if err != nil {
			return fmt.Errorf("log sequence %d: %w", record.Seq, err)
		}
		if err := visit(record.Seq, f); err != nil {
			return err
		}
	}
	return nil
}
