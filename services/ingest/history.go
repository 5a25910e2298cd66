package ingest

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/wal"
)

const (
	// skewMax is how much the clocks of the servers that stamp results and frames may differ.
	skewMax          = 10 * time.Second
	lookAgainMax     = 5
	finderIdle       = time.Minute // then the server deletes the finder
	lookFrameTimeout = 30 * time.Second
)

// look finds the newest of the follower's results in each log. The next result to read was
// stored at since, so neither it nor a later one can be in a frame that is older.
func (f *follower) look(ctx context.Context, since time.Time) error {
	clear(f.newest)
	for i, l := range f.link.source.logs {
		err := f.lookInto(ctx, l, since.Add(-skewMax), &f.newest[i])
		var trimmed *wal.TrimmedError
		for n := 0; errors.As(err, &trimmed) && n < lookAgainMax; n++ { // while it was being read
			err = f.lookInto(ctx, l, since.Add(-skewMax), &f.newest[i])
		}
		if err != nil {
			return fmt.Errorf("look for known results in %s: %w", l.stream, err)
		}
	}
	return nil
}

func (f *follower) lookInto(ctx context.Context, l *log, since time.Time, newest *result.Position) error {
	first, last, err := f.s.span(ctx, l, since)
	if err != nil || first > last {
		return err
	}
	reader, err := wal.OpenReader(ctx, wal.ReaderConfig{JS: f.s.js, Stream: l.stream, From: first, Log: f.s.cfg.Log})
	if err != nil {
		return err
	}
	defer reader.Close()
	var decoder frame.Decoder
	for reader.Position() <= last {
		if err := f.lookIntoNext(ctx, reader, &decoder, newest); err != nil {
			return err
		}
	}
	return nil
}

func (f *follower) lookIntoNext(ctx context.Context, reader *wal.Reader, decoder *frame.Decoder, newest *result.Position) error {
	ctx, cancel := context.WithTimeout(ctx, lookFrameTimeout)
	defer cancel()
	record, err := reader.Next(ctx)
	if err != nil {
		return err
	}
	decoded, err := decoder.Decode(record.Data)
	if err != nil {
		// The task halts there, or skips the record after an operator's decision. If there are
		// results in it, they are appended again, and the task uses each once.
		f.s.cfg.Log.Warn("a record of the log is not a frame; it is not searched for known results", "app", f.link.source.app.Name, "sequence", record.Seq, "err", err)
		return nil
	}
	for i := range decoded.Runs {
		run := &decoded.Runs[i]
		text, ours := strings.CutPrefix(run.ID, f.subject+":")
		if !ours || decoded.Blocks[run.Block].Batch.Schema.Name != f.link.source.stream.Name {
			continue
		}
		// Publishers may choose any id, so a similar id that does not parse is no error.
		if at, err := result.Parse(text); err == nil && at.After(*newest) {
			*newest = at
		}
	}
	return nil
}

// span returns the first and last sequence of the frames that were stored since that time.
func (s *Service) span(ctx context.Context, l *log, since time.Time) (first, last uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, linkAskTimeout)
	defer cancel()
	stream, err := s.js.Stream(ctx, l.stream)
	if err != nil {
		return 0, 0, err
	}
	last = stream.CachedInfo().State.LastSeq
	if last == 0 {
		return 1, 0, nil
	}
	finder, err := stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		DeliverPolicy: jetstream.DeliverByStartTimePolicy, OptStartTime: &since,
		AckPolicy: jetstream.AckNonePolicy, MemoryStorage: true, Replicas: 1, InactiveThreshold: finderIdle,
	})
	if err != nil {
		return 0, 0, fmt.Errorf("find the frames since %s: %w", since.Format(time.RFC3339), err)
	}
	info := finder.CachedInfo()
	_ = s.js.DeleteConsumer(ctx, l.stream, info.Name) // the server also deletes it when it is idle
	return info.Delivered.Stream + 1, last, nil
}
