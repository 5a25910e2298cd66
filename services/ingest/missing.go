package ingest

import (
	"errors"
	"fmt"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/result"
	"github.com/eventflux/eventflux/shared/log/output"
)

// missing finds results that the output stream of the other app has lost. What comes after
// them in the same generation is not taken: the app would compute on without them.
type missing struct {
	checker    output.Checker
	generation uint64 // of the results that are passed over; 0: none are
	passed     uint64 // results
}

// missingFrom is for a reading that starts at a sequence of a stream whose first message is
// at another one.
func (f *follower) missingFrom(from, first uint64) missing {
	var m missing
	m.checker.Untrimmed = from <= 1 && first <= 1
	if at := f.progress.position(); at.Sequence > 0 && at.Sequence+1 == from {
		if seen, err := result.Parse(at.Place); err == nil {
			m.checker.Seen(f.link.results.stream, seen)
		}
	}
	return m
}

// isMissing reports whether results are missing before this one. Then the follower waits for
// a new generation, in which they come again.
func (f *follower) isMissing(m jetstream.Msg) bool {
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
		f.tell(nil)
	}
	err = f.missing.checker.Next(f.subject, m.Headers())
	var lost *output.MissingError
	if !errors.As(err, &lost) {
		return false
	}
	for _, newest := range f.newest {
		if !at.After(newest) { // the log has it, and so what was before it
			f.missing.checker.Seen(f.link.results.stream, at)
			return false
		}
	}
	f.missing.generation, f.missing.passed = at.Generation, 1
	f.tell(fmt.Errorf("JetStream stream %s: %w; go back to a checkpoint before it, and they come again: eventflux recover %s --to EPOCH", f.stream, lost, f.link.results.app))
	return true
}
