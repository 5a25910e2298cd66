package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
)

// captured refuses an app with a subject that a JetStream stream captures: NATS would answer
// publishers as well, and its answer may come first, before an event is in the app's log. A
// stream that does not answer does no harm.
func (ad *admission) captured(ctx context.Context, plan *siddhiql.Plan) error {
	for _, s := range inputs(plan) {
		names := ad.js.StreamNames(ctx, jetstream.WithStreamListSubject(s.Subject))
		for name := range names.Name() {
			stream, err := ad.js.Stream(ctx, name)
			if errors.Is(err, jetstream.ErrStreamNotFound) {
				continue // the stream was just deleted
			}
			if err != nil {
				return fmt.Errorf("look at JetStream stream %s, which captures %s: %w", name, s.Subject, err)
			}
			config := &stream.CachedInfo().Config
			if config.NoAck {
				continue
			}
			for _, pattern := range config.Subjects {
				if subject.Overlap(pattern, s.Subject) && strings.HasPrefix(name, "EFO_") {
					return fmt.Errorf("the subject %s of stream %s also has results of an app, in JetStream stream %s (%s); give the app another subject; to read those results, have the app that makes them insert them into a second stream without a subject, and use @source(subject='out.<app>.<Stream>.*')",
						s.Subject, s.Name, name, strings.Join(config.Subjects, ", "))
				}
				if subject.Overlap(pattern, s.Subject) {
					return fmt.Errorf("the subject %s of stream %s is also captured by JetStream stream %s (%s), so a publisher would get two answers, and one of them does not mean that the event is in the app's log; read that stream with %s, or give the app another subject",
						s.Subject, s.Name, name, strings.Join(config.Subjects, ", "), readsInstead(name, s.Subject))
				}
			}
		}
		if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return fmt.Errorf("list JetStream streams with %s: %w", s.Subject, err)
		}
	}
	return nil
}

func readsInstead(stream, pattern string) string {
	return fmt.Sprintf("@source(stream='%s', subject='%s')", stream, pattern)
}
