package ingest

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/output"
)

// missing finds results that the output stream of the other app has lost. Later results of
// the same generation are not used: the app would continue without the lost ones.
type missing struct {
	checker    output.Checker
	generation uint64 // the generation whose results are passed over; 0: none
	passed     uint64 // results
}

// missingFrom returns a missing for a reading of a stream that starts at sequence from. No
// results are removed by max.msgs.per.subject while an app reads them, but earlier ones may be.
func (f *follower) missingFrom(from uint64, info *jetstream.StreamInfo) missing {
	var m missing
	m.checker.Untrimmed = from <= 1 && info.State.FirstSeq <= 1
	compactions := output.Compactions(info.Config)
	m.checker.Compactions = func() (map[string]output.Compaction, error) { return compactions, nil }
	if at := f.progress.position(); at.Sequence > 0 && at.Sequence+1 == from {
		if seen, err := result.Parse(at.Place); err == nil {
			m.checker.Seen(f.link.results.stream, seen)
		}
	}
	return m
}

// isMissing reports whether results are missing before this one. Then the follower waits for
// a new generation, which has them again.
func (f *follower) isMissing(seq uint64, m jetstream.Msg) bool {
	at, err := output.ReadPlace(m.Headers())
	if err != nil {
		return false // take refuses it
	}
	switch {
	case f.missing.generation == 0:
	case at.Generation <= f.missing.generation:
		f.missing.passed++
		return true
	default:
		f.s.cfg.Log.Warn("a new generation of results after missing ones; results of the former one were passed over", "subject", f.subject, "results", f.missing.passed, "generation", at.Generation)
		f.missing = missing{}
		f.report(nil)
	}
	err = f.missing.checker.Next(seq, f.subject, m.Headers())
	var lost *output.MissingError
	if !errors.As(err, &lost) {
		return false
	}
	for _, newest := range f.newest {
		if !at.After(newest) { // the log has this result, and so all earlier ones
			f.missing.checker.Seen(f.link.results.stream, at)
			return false
		}
	}
	f.missing.generation, f.missing.passed = at.Generation, 1
	f.report(fmt.Errorf("JetStream stream %s: %w; go back to a checkpoint before it, and they come again: eventflux recover %s --to EPOCH", f.stream, lost, f.link.results.app))
	return true
}
