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
func (l *leader) captured(ctx context.Context, plan *siddhiql.Plan) error {
	for _, s := range inputs(plan) {
		streams := l.s.js.ListStreams(ctx, jetstream.WithStreamListSubject(s.Subject))
		for info := range streams.Info() {
			if info.Config.NoAck {
				continue
			}
			for _, pattern := range info.Config.Subjects {
				if subject.Overlap(pattern, s.Subject) {
					return fmt.Errorf("the subject %s of stream %s is also captured by JetStream stream %s (%s), so a publisher would get two answers, and one of them does not mean that the event is in the app's log; read that stream with %s, or give the app another subject",
						s.Subject, s.Name, info.Config.Name, strings.Join(info.Config.Subjects, ", "), readsInstead(info.Config.Name, s.Subject))
				}
			}
		}
		if err := streams.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return fmt.Errorf("list JetStream streams with %s: %w", s.Subject, err)
		}
	}
	return nil
}

func readsInstead(stream, pattern string) string {
	return fmt.Sprintf("@source(stream='%s', subject='%s')", stream, pattern)
}
