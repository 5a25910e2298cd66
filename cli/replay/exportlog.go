package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/export"
	"github.com/eventflux/eventflux/shared/log/wal"
)

// frameStream reads the frames of a file a few ahead.
type frameStream struct {
	records chan placed
	failed  error   // set before records is closed
	first   *placed // was read, and is of a partition that comes later
}

// placed is a frame of a partition's log.
type placed struct {
	partition int
	record    wal.Record
}

// frames starts to read the frames of a file that was read before.
func (x *exported) frames(ctx context.Context) (*frameStream, func()) {
	ctx, cancel := context.WithCancel(ctx)
	s := &frameStream{records: make(chan placed, 16)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer close(s.records)
		s.failed = x.each(func(r export.Record) error {
			if r.Kind != export.KindFrame {
				return nil
			}
			p, seq, err := frameName(r.Name)
			if err != nil {
				return err
			}
			select {
			case s.records <- placed{p, wal.Record{Seq: seq, Data: bytes.Clone(r.Data)}}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return s, func() { cancel(); <-ended }
}

// partitionLog is the frames of one partition; all of them stand together in the file.
type partitionLog struct {
	*frameStream
	p     int
	from  uint64 // the frames before it are there for a backfill
	limit *heapLimit
	skip  wal.Skip
}

// Next implements rebuild.Log.
func (l *partitionLog) Next(context.Context) (wal.Record, error) {
	s := l.frameStream
	for s.first == nil || s.first.partition == l.p && s.first.record.Seq < l.from {
		r, open := <-s.records
		if !open {
			if s.failed != nil {
				return wal.Record{}, s.failed
			}
			return wal.Record{}, io.EOF
		}
		s.first = &r
	}
	if s.first.partition != l.p {
		return wal.Record{}, io.EOF
	}
	if err := l.limit.check(); err != nil {
		return wal.Record{}, err
	}
	r := s.first.record
	s.first = nil
	err := l.skip.Apply(&r)
	return r, err
}

// errEnd ends a visit early.
var errEnd = errors.New("that was the last one")

// history reads frames of a partition from the file again, for a change that builds state from them.
func (x *exported) history(ctx context.Context, p int, skip wal.Skip) engine.History {
	return func(first, end uint64, visit func(uint64, *frame.Frame) error) error {
		if l := x.info.Logs[p]; first < l.Start() {
			return corruptExport("a change of the app reads the log of partition %d from %d on, and the file has it from %d on", p, first, l.Start())
		}
		var d frame.Decoder
		err := x.each(func(r export.Record) error {
			if r.Kind != export.KindFrame {
				return nil
			}
			of, seq, err := frameName(r.Name)
			switch {
			case err != nil:
				return err
			case ctx.Err() != nil:
				return context.Cause(ctx)
			case of != p || seq < first:
				return nil
			case seq >= end:
				return errEnd
			}
			record := wal.Record{Seq: seq, Data: r.Data}
			if err := skip.Apply(&record); err != nil || record.Skipped {
				return err
			}
			f, err := d.Decode(record.Data)
			if err != nil {
				return fmt.Errorf("log sequence %d: %w", seq, err)
			}
			return visit(seq, f)
		})
		if errors.Is(err, errEnd) {
			return nil
		}
		return err
	}
}
