package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// admission checks a new or changed app against JetStream and the other apps. It changes
// nothing.
type admission struct {
	cfg *Config
	js  jetstream.JetStream
}

// reachable checks the app of a plan against the JetStream streams that exist.
func (ad *admission) reachable(ctx context.Context, plan *siddhiql.Plan) (warnings []string, err error) {
	if err := ad.captured(ctx, plan); err != nil {
		return nil, err
	}
	if err := ad.checkSinkSubjects(ctx, plan); err != nil {
		return nil, err
	}
	if err := unreadable(plan, ad.cfg.FSM.apps()); err != nil {
		return nil, err
	}
	if err := ad.checkViews(ctx, plan); err != nil {
		return nil, err
	}
	return ad.origins(ctx, plan)
}

// reachableFor is like reachable, but returns an error that can be sent to the client.
func (ad *admission) reachableFor(ctx context.Context, plan *siddhiql.Plan) (warnings []string, err error) {
	if warnings, err = ad.reachable(ctx, plan); err != nil {
		return nil, failure(control.CodeInvalid, "%v", err)
	}
	return warnings, nil
}

// origins checks the JetStream streams that the app of the plan reads. It refuses streams
// whose messages cannot be read exactly once, and warns about likely mistakes.
func (ad *admission) origins(ctx context.Context, plan *siddhiql.Plan) (warnings []string, err error) {
	for _, s := range plan.Streams {
		if s.Origin == nil {
			continue
		}
		stream, err := ad.js.Stream(ctx, s.Origin.JetStream)
		switch {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			warnings = append(warnings, fmt.Sprintf("stream %s: there is no JetStream stream %s; it is read once it is created", s.Name, s.Origin.JetStream))
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("stream %s: it is not known whether JetStream stream %s can be read: %v", s.Name, s.Origin.JetStream, err))
		default:
			info := stream.CachedInfo()
			if err := natsconn.CheckOrigin(info); err != nil {
				return nil, fmt.Errorf("stream %s: %w", s.Name, err)
			}
			warnings = append(warnings, doubtful(s, info)...)
		}
	}
	for _, t := range plan.Tables {
		if t.Bucket == nil {
			continue
		}
		switch _, err := ad.js.Stream(ctx, "KV_"+t.Bucket.Name); {
		case errors.Is(err, jetstream.ErrStreamNotFound):
			warnings = append(warnings, fmt.Sprintf("table %s: there is no KV bucket %s; the app waits a minute for its rows before it accepts events (nats kv add %[2]s)", t.Name, t.Bucket.Name))
		case err != nil:
			warnings = append(warnings, fmt.Sprintf("table %s: it is not known whether KV bucket %s can be read: %v", t.Name, t.Bucket.Name, err))
		}
	}
	return warnings, nil
}

// doubtful returns warnings about likely mistakes in a source.
func doubtful(s *siddhiql.Stream, info *jetstream.StreamInfo) (warnings []string) {
	o, state := s.Origin, info.State
	if of := info.Config.Subjects; o.Filter != "" && len(of) > 0 && !slices.ContainsFunc(of, func(pattern string) bool { return subject.Overlap(pattern, o.Filter) }) {
		warnings = append(warnings, fmt.Sprintf("stream %s: JetStream stream %s has no message with the subject %s, only %s", s.Name, o.JetStream, o.Filter, strings.Join(of, ", ")))
	}
	switch {
	case o.From.Seq > state.LastSeq+1:
		warnings = append(warnings, fmt.Sprintf("stream %s: JetStream stream %s ends at message %d; reading starts when message %d comes", s.Name, o.JetStream, state.LastSeq, o.From.Seq))
	case o.From.Seq > 0 && o.From.Seq < state.FirstSeq:
		warnings = append(warnings, fmt.Sprintf("stream %s: JetStream stream %s has no message %d any more; reading starts at %d", s.Name, o.JetStream, o.From.Seq, state.FirstSeq))
	}
	return warnings
}
