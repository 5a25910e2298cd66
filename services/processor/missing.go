package processor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// missingError says that results of the generation are not in the output stream, although
// later ones are. Stop: the missing ones can no longer be inserted.
type missingError struct {
	app, stream string
	from, to    uint64 // sequences without a message; from 0: none
	cause       error
}

func (e *missingError) Error() string {
	where := "no sequence is free in front of it: the messages were lost before others got theirs"
	if e.from > 0 {
		where = fmt.Sprintf("the server gives no message %d", e.from)
		if e.to > e.from {
			where = fmt.Sprintf("the server gives no messages %d to %d", e.from, e.to)
		}
	}
	return fmt.Sprintf("output stream %s: %s (%s). Go back to a checkpoint before it, and its results come again in a new generation: eventflux recover %s --to EPOCH; eventflux checkpoint ls %s lists them. The newest checkpoint goes on without what is missing",
		e.stream, e.cause, where, e.app, e.app)
}

func (e *missingError) Unwrap() error { return e.cause }

// scan checks a part of the output stream for missing results. Those of former generations
// cannot be repaired, and are only logged.
type scan struct {
	fe      *fencer
	stream  string
	checker *output.Checker
	next    uint64    // sequence
	gap     [2]uint64 // the last sequences without a message
	logged  bool
}

func (s *scan) see(seq uint64, subject string, h nats.Header) error {
	if seq > s.next && s.next > 0 {
		s.gap = [2]uint64{s.next, seq - 1}
	}
	s.next = seq + 1
	if subject == natsconn.FenceSubject(s.fe.plan.Name, s.fe.partition) {
		return nil
	}
	err := s.checker.Next(seq, subject, h)
	var missing *output.MissingError
	if !errors.As(err, &missing) {
		return err
	}
	err = &missingError{s.fe.plan.Name, s.stream, s.gap[0], s.gap[1], err}
	if missing.Before.Generation >= uint64(s.fe.generation) {
		return err
	}
	if !s.logged {
		s.logged = true
		s.fe.log.Error("results of a former generation are missing; the task goes on", "err", err)
	}
	s.checker.Pass(missing)
	return nil
}

// readOn reads the output stream from a record up to the fence of this start, and returns a
// record of everything up to there. Results that are missing at the end are not in it: the
// replay publishes them again.
func (fe *fencer) readOn(ctx context.Context, stream string, r output.Record, fence uint64) (output.Record, error) {
	first, err := firstSequence(ctx, fe.nc, stream)
	if err != nil {
		return output.Record{}, fmt.Errorf("first sequence of output stream %s: %w", stream, err)
	}
	trimmed := first > r.Through+1 // by hand: trimming never passes the newest record
	s := &scan{fe: fe, stream: stream, checker: &output.Checker{Whole: true, Untrimmed: !trimmed}, next: r.Through + 1}
	for name, at := range r.Newest {
		if !trimmed {
			s.checker.Seen(name, at)
		}
	}
	if s.checker.SeenLast(r.Last); trimmed {
		s.checker.SeenLast(result.Position{})
	}
	end := max(s.next, first)
	next, err := fe.results().ReadOn(ctx, fe.service.js, r, fence, func(seq uint64, subject string, h nats.Header) error {
		if seq < fence {
			end = seq + 1
		}
		return s.see(seq, subject, h)
	})
	if err != nil {
		return output.Record{}, err
	}
	if s.next != fence+1 {
		return output.Record{}, fmt.Errorf("%w: output stream %s does not give fence %d, which was just written", nats.ErrTimeout, stream, fence)
	}
	if end < fence {
		fe.log.Error("the server does not give the last messages; results among them come again", "stream", stream, "from", end, "to", fence-1)
	}
	return next, nil
}

// Results are checked beside the task at this rate at most.
const (
	checkedAtOnce = 1000
	checkEvery    = 20 * time.Millisecond
)

// checkResults checks, concurrently with the task, the results before those that the takeover
// has read. It fails if results of the task's generation are missing.
func (fe *fencer) checkResults(ctx context.Context) error {
	stream := natsconn.OutStream(fe.plan.Name, fe.partition)
	first, err := firstSequence(ctx, fe.nc, stream)
	if err != nil && ctx.Err() == nil {
		fe.log.Warn("results not checked; the next start does it", "stream", stream, "err", err)
	}
	if err != nil {
		return nil
	}
	compactions := func() (map[string]output.Compaction, error) {
		return output.ReadCompactions(ctx, fe.service.js, stream)
	}
	s := &scan{fe: fe, stream: stream, checker: &output.Checker{Untrimmed: first <= 1, Compactions: compactions}, next: first}
	pace := time.NewTicker(checkEvery)
	defer pace.Stop()
	seen := 0
	err = output.Scan(ctx, fe.service.js, stream, 1, fe.recorded, func(seq uint64, subject string, h nats.Header) error {
		if seen++; seen%checkedAtOnce == 0 {
			select {
			case <-pace.C:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		return s.see(seq, subject, h)
	})
	var missing *missingError
	switch {
	case ctx.Err() != nil, err == nil:
		return nil
	case errors.As(err, &missing):
		return err
	}
	fe.log.Warn("results not checked; the next start does it", "stream", stream, "err", err)
	return nil
}
