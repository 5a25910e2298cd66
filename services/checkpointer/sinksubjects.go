package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// sinkSubjects lists the subjects that an app has chosen for its results
// (@sink(subject='…')), by any version that is kept or by a text. A task that goes back in the
// log puts out the results of an earlier version again.
func sinkSubjects(a *appState, text string) (patterns []func(partition uint32) string) {
	texts := []string{text}
	if a != nil {
		for _, v := range a.versions() {
			texts = append(texts, v.Text)
		}
	}
	seen := map[string]bool{}
	for _, text := range texts {
		if !strings.Contains(text, "subject") {
			continue
		}
		plan, err := siddhiql.CompileDeployed(text)
		if err != nil {
			continue // ingest tells why a text cannot be read
		}
		for _, t := range plan.Templates() {
			if !seen[t.Text] {
				seen[t.Text] = true
				patterns = append(patterns, t.PatternOf)
			}
		}
	}
	return patterns
}

// widenStreams has the output streams of an app take the subjects of a new version, before a
// task can come to it, and makes the buckets of its views.
func (sk *streamKeeper) widenStreams(ctx context.Context, c *change) error {
	if len(c.plan.Templates()) == 0 && len(c.plan.Views()) == 0 {
		return nil
	}
	done, err := sk.turn(ctx, c.app.Name)
	if err != nil {
		return err
	}
	defer done()
	if err := sk.makeStreams(ctx, c.app.Name, c.app.Partitions, c.version.Text); err != nil {
		return failure(streamsCode(err), "prepare the output streams of app %s for the subjects of its new version: %v", c.app.Name, err)
	}
	return nil
}

// checkSinkSubjects refuses an app whose results could have a subject that another JetStream stream
// captures, or that another app reads.
func (ad *admission) checkSinkSubjects(ctx context.Context, plan *siddhiql.Plan) error {
	templates := plan.Templates()
	own := natsconn.AppStreams(plan.Name, uint32(plan.Partitions))
	for _, t := range templates {
		pattern := t.Pattern("*")
		names := ad.js.StreamNames(ctx, jetstream.WithStreamListSubject(pattern))
		for name := range names.Name() {
			switch {
			case slices.Contains(own, name):
			case strings.HasPrefix(name, "EFO_"):
				return fmt.Errorf("results on '%s' would also be captured by JetStream stream %s, which has the results of another app; choose another subject in @sink", t.Text, name)
			default:
				return fmt.Errorf("results on '%s' would also be captured by JetStream stream %s; choose another subject in @sink, or change the subjects of that stream", t.Text, name)
			}
		}
		if err := names.Err(); err != nil && !errors.Is(err, jetstream.ErrEndOfData) {
			return fmt.Errorf("list JetStream streams with %s: %w", pattern, err)
		}
	}
	if len(templates) == 0 {
		return nil
	}
	if err := ad.overlapsFormer(plan); err != nil {
		return err
	}
	for _, other := range otherPlans(plan, ad.cfg.FSM.apps()) {
		for _, s := range inputs(other) {
			for _, t := range templates {
				if subject.Overlap(t.Pattern("*"), s.Subject) {
					return fmt.Errorf("results on '%s' would be events of stream %s of app %s, which reads %s; choose another subject in @sink, and have that app read the results with @source(subject='out.%s.<Stream>.*')", t.Text, s.Name, other.Name, s.Subject, plan.Name)
				}
			}
		}
	}
	return nil
}

// overlapsFormer refuses subjects that NATS would refuse beside those of earlier versions, which
// the output streams keep: subjects of one stream must not overlap unless one covers the other,
// and those of two streams must not overlap at all.
func (ad *admission) overlapsFormer(plan *siddhiql.Plan) error {
	for _, former := range sinkSubjects(ad.cfg.FSM.app(plan.Name), "") {
		for _, t := range plan.Templates() {
			for p := range uint32(plan.Partitions) {
				for q := range uint32(plan.Partitions) {
					mine, theirs := t.PatternOf(p), former(q)
					if !subject.Overlap(mine, theirs) || p == q && (subject.Covers(mine, theirs) || subject.Covers(theirs, mine)) {
						continue
					}
					return fmt.Errorf("results on '%s' could have a subject of %s, which an earlier version of the app has chosen and its output streams keep; choose another first word in @sink", t.Text, theirs)
				}
			}
		}
	}
	return nil
}

// unreadable refuses an app that reads results of another one which have subjects of their own,
// another format, or a bound on each subject, or the other way round: links read all results on
// out.<app>.<Stream>.<p>.
func unreadable(plan *siddhiql.Plan, apps []*appState) error {
	check := func(reader, writer *siddhiql.Plan) error {
		for _, s := range reader.Streams {
			app, stream, ok := linkOf(s)
			if !ok || app != writer.Name {
				continue
			}
			of := writer.Stream(stream)
			if of == nil {
				continue
			}
			if writes, reads := of.Sink.ContentType(), s.ReadsContentType(); writes != reads {
				return fmt.Errorf("stream %s of app %s reads %s as %s, but results of stream %s of app %s are %s; write the same `@map` at both, or have a query of app %[6]s insert the rows into another stream as well, and read that one", s.Name, reader.Name, s.Subject, formatName(reads), stream, writer.Name, formatName(writes))
			}
			if of.Sink.PerSubject > 0 && of.Sink.Subject == nil {
				return fmt.Errorf("stream %s of app %s reads %s, but of the results of stream %s of app %s only the newest %d stay (max.msgs.per.subject), and a reader that is further behind would miss some; leave that bound out, or have a query of app %[5]s insert the rows into another stream as well, and read that one", s.Name, reader.Name, s.Subject, stream, writer.Name, of.Sink.PerSubject)
			}
			if of.Sink.Subject != nil {
				return fmt.Errorf("stream %s of app %s reads %s, but results of stream %s of app %s have the subject '%s'; have a query of app %[5]s insert them into another stream as well, without a subject, and read that one", s.Name, reader.Name, s.Subject, stream, writer.Name, of.Sink.Subject.Text)
			}
		}
		return nil
	}
	for _, other := range otherPlans(plan, apps) {
		if err := errors.Join(check(plan, other), check(other, plan)); err != nil {
			return err
		}
	}
	return nil
}

// formatName describes the format of results.
func formatName(contentType string) string {
	if contentType == "" {
		return "JSON"
	}
	return contentType
}

// linkOf returns the app and the stream whose results a stream reads.
func linkOf(s *siddhiql.Stream) (app, stream string, ok bool) {
	tokens := strings.Split(s.Subject, ".")
	if len(tokens) != 4 || tokens[0] != "out" {
		return "", "", false
	}
	return tokens[1], tokens[2], true
}

// otherPlans returns the plans of the deployed apps but one.
func otherPlans(plan *siddhiql.Plan, apps []*appState) (list []*siddhiql.Plan) {
	for _, a := range apps {
		if a.Name == plan.Name || a.Removing {
			continue
		}
		if other, err := siddhiql.CompileDeployed(a.Text); err == nil {
			list = append(list, other)
		}
	}
	return list
}
