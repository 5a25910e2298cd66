package replay

import (
	"bytes"
	"context"
	"io"

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
	limit *heapLimit
	skip  wal.Skip
}

// Next implements rebuild.Log.
func (l *partitionLog) Next(context.Context) (wal.Record, error) {
	s := l.frameStream
	if s.first == nil {
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
