package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
)

// For each output stream, doctor checks at most this many of the newest messages, for at most
// this long.
const (
	resultsMax     = 1_000_000
	resultsTimeout = 10 * time.Second
)

// checkResults reads the output streams and checks whether results are missing in them.
func (p *examination) checkResults(ctx context.Context, r *report) {
	if p.appsErr != nil {
		return
	}
	for _, a := range p.apps {
		for part := range a.Partitions {
			name := natsconn.OutStream(a.Name, part)
			s := p.streams[name]
			if s == nil {
				continue // checkStreams says so
			}
			expire := s.config.MaxAge > 0 && time.Since(s.created) > s.config.MaxAge
			if s.state.FirstSeq > 1 && !expire && len(output.Compactions(s.config)) == 0 && !p.bounded(ctx, a.Name) {
				r.add(Warning, name, "if they were not removed on purpose, go back to a checkpoint before them: eventflux recover "+a.Name+" --to EPOCH; eventflux checkpoint ls "+a.Name+" lists them",
					"the stream starts at message %d: those before it were removed by hand, or NATS lost them. EventFlux removes none, as the app has no bounds such as @sink(max.age=…)", s.state.FirstSeq)
			}
			if s.state.Msgs == 0 {
				continue
			}
			from := max(s.state.FirstSeq, s.state.LastSeq-min(s.state.LastSeq, resultsMax)+1)
			fences := natsconn.FenceSubject(a.Name, part)
			checker := output.Checker{Untrimmed: from <= 1, Compactions: func() (map[string]output.Compaction, error) { return output.ReadCompactions(ctx, p.js, name) }}
			limited, cancel := context.WithTimeout(ctx, resultsTimeout)
			read := from
			var former *output.MissingError // the first of a generation before the app's
			err := output.Scan(limited, p.js, name, from, s.state.LastSeq, func(seq uint64, subject string, h nats.Header) error {
				read = seq
				if subject == fences {
					return nil
				}
				err := checker.Next(seq, subject, h)
				var missing *output.MissingError
				if !errors.As(err, &missing) || missing.Before.Generation >= uint64(a.Generation) {
					return err
				}
				if former == nil {
					former = missing
				}
				checker.Pass(missing)
				return nil
			})
			cancel()
			if former != nil {
				r.add(Warning, name, "nothing, if the app has been taken back to before them: then they have come again; else eventflux recover "+a.Name+" --to EPOCH does it",
					"in a generation before the app's present one, %d, %v", a.Generation, former)
			}
			var missing *output.MissingError
			switch {
			case errors.As(err, &missing):
				r.add(Error, name, "go back to a checkpoint before it: eventflux recover "+a.Name+" --to EPOCH; eventflux checkpoint ls "+a.Name+" lists them",
					"message %d: %v", read, missing)
			case errors.Is(err, context.DeadlineExceeded):
				r.add(Warning, name, "the processors check all of them after each start; look for 'results are missing' in their logs", "not all results could be checked within %s: those from %d to %d were, and the stream ends at %d", resultsTimeout, from, read, s.state.LastSeq)
			case err != nil && ctx.Err() == nil:
				r.add(Warning, name, "see that this user may read the stream, and that NATS has a leader for it", "results could not be checked: %v", err)
			}
		}
	}
	r.fine("results", "none is missing in the output streams, as far back as the newest %d messages of each", resultsMax)
}

// bounded reports whether EventFlux removes old results of an app (@sink(max.age=…)).
func (p *examination) bounded(ctx context.Context, app string) bool {
	full, err := p.control.App(ctx, control.AppRequest{App: app})
	if err != nil {
		return false
	}
	plan, err := siddhiql.CompileDeployed(full.Text)
	return err == nil && plan.Bounds != siddhiql.Bounds{}
}
