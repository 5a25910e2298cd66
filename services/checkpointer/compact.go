package checkpointer

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// startsMax is how many starts of generations the metadata of an output stream keeps; the server
// takes 128 KiB of metadata.
const startsMax = 100

// purgesFor is how long one compact purges subjects. A purge of one subject reads each block of
// the stream that has messages of it, which takes some milliseconds, and the next checkpoint's
// retention waits for it.
const purgesFor = 5 * time.Second

// compact keeps only the newest results on each subject (@sink(max.msgs.per.subject='…')), of
// those before the newest record of positions. It reads the headers of all results of a stream,
// so it waits until half of them can go, and until the output stream has grown by a quarter
// since it looked last: each result is read a few times at most.
func (rt *retention) compact(ctx context.Context, plan *siddhiql.Plan, partition uint32) error {
	streams := slices.DeleteFunc(plan.Published(), func(s *siddhiql.Stream) bool { return s.Sink.PerSubject == 0 })
	if len(streams) == 0 {
		return nil
	}
	name := natsconn.OutStream(plan.Name, partition)
	stream, err := rt.js.Stream(ctx, name)
	if err != nil {
		return err
	}
	state := stream.CachedInfo().State
	if state.LastSeq < rt.compactAt[name] {
		return nil
	}
	kept, err := rt.keptFrom(ctx, plan, partition)
	if err != nil || kept <= state.FirstSeq {
		return err
	}
	end := time.Now().Add(purgesFor)
	for _, s := range streams {
		subjects := natsconn.OutSubject(plan.Name, s.Name, partition)
		if t := s.Sink.Subject; t != nil {
			subjects = t.PatternOf(partition)
		}
		complete, err := rt.compactSubjects(ctx, stream, plan.Name, subjects, s.Sink.PerSubject, kept, end)
		if err != nil {
			return fmt.Errorf("results of %s: %w", s.Name, err)
		}
		if !complete {
			return nil // the rest follows after the next checkpoint
		}
	}
	rt.compactAt[name] = state.LastSeq + state.Msgs/4
	return nil
}

// compactSubjects removes all but the newest results, keep of them, on each subject of a pattern,
// of those before sequence kept. It reports whether it was done at the end of its time.
func (rt *retention) compactSubjects(ctx context.Context, stream jetstream.Stream, app, pattern string, keep, kept uint64, end time.Time) (bool, error) {
	info, err := stream.Info(ctx, jetstream.WithSubjectFilter(pattern))
	if err != nil {
		return false, err
	}
	c := compaction{keep: keep, left: info.State.Subjects, first: map[string]uint64{}, of: output.Compactions(info.Config), change: map[string]output.Compaction{}, newest: map[string]uint64{}}
	if !c.pays() {
		return true, nil
	}
	if err := output.ScanSubjects(ctx, rt.js, info.Config.Name, pattern, info.State.FirstSeq, kept-1, c.see); err != nil {
		return false, err
	}
	if len(c.first) == 0 {
		return true, nil
	}
	done, err := rt.streams.turn(ctx, app) // making streams changes the settings, too
	if err != nil {
		return false, err
	}
	err = output.WriteCompactions(ctx, rt.js, info.Config.Name, c.change)
	done()
	for _, subject := range slices.Sorted(maps.Keys(c.first)) {
		if err != nil || !time.Now().Before(end) {
			return false, err
		}
		if err = stream.Purge(ctx, jetstream.WithPurgeSubject(subject), jetstream.WithPurgeSequence(c.first[subject])); err != nil {
			err = fmt.Errorf("purge %s: %w", subject, err)
		}
	}
	return err == nil, err
}

// compaction finds out which results can go.
type compaction struct {
	keep   uint64
	left   map[string]uint64            // by subject: its messages, without those that can go
	first  map[string]uint64            // by subject: the first sequence that stays, where some can go
	of     map[string]output.Compaction // by result stream: as it was written last
	change map[string]output.Compaction // by result stream: where some can go
	newest map[string]uint64            // by result stream: the generation
}

// pays reports whether at least half of the messages can go. It drops subjects without such.
func (c *compaction) pays() bool {
	total, surplus := uint64(0), uint64(0)
	maps.DeleteFunc(c.left, func(_ string, n uint64) bool {
		total += n
		surplus += n - min(n, c.keep)
		return n <= c.keep
	})
	return surplus > 0 && 2*surplus >= total
}

// see takes the next message. Others can publish on subjects that the app has chosen; such
// messages count, and go like results.
func (c *compaction) see(seq uint64, subject string, h nats.Header) error {
	name, ok := output.StreamOf(subject, h)
	at, err := output.ReadPlace(h)
	if ok = ok && err == nil; ok && at.Generation > c.newest[name] {
		c.newest[name] = at.Generation
		c.start(name, at)
	}
	if c.left[subject] <= c.keep {
		return nil
	}
	c.left[subject]--
	c.first[subject] = seq + 1
	if ok {
		of := c.of[name]
		of.Before = max(of.Before, seq+1)
		c.of[name], c.change[name] = of, of
	}
	return nil
}

// start notes the first result that is left of a generation, unless an earlier one is known.
func (c *compaction) start(name string, at result.Position) {
	of := c.of[name]
	i, known := slices.BinarySearchFunc(of.Starts, at.Generation, func(s result.Position, g uint64) int { return int(s.Generation) - int(g) })
	if known || at.Generation == 1 {
		return
	}
	of.Starts = slices.Insert(slices.Clone(of.Starts), i, at)
	of.Starts = of.Starts[max(0, len(of.Starts)-startsMax):]
	c.of[name] = of
}
