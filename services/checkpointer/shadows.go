package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/shadow"
)

// shadowAnswerTimeout is how long the process that runs a shadow may take to come to the end of the
// log, and to answer. A shadow that has caught up is there at once.
const shadowAnswerTimeout = 8 * time.Second

// shadower starts and ends shadows, and records what was approved. A recovery process runs them.
type shadower struct {
	*shadowReports
	upgrader *upgrader
}

// shadowReports asks the processes that run shadows how they compare.
type shadowReports struct{ *leadership }

// start starts a shadow of the app that a text names.
func (sh *shadower) start(ctx context.Context, r *control.ShadowRequest) (any, error) {
	c, err := sh.upgrader.planChange(ctx, &control.UpgradeRequest{Text: r.Text, Drop: r.Drop})
	if err != nil {
		return nil, err
	}
	a := c.app
	if err := sh.possible(ctx, c, r); err != nil {
		return nil, err
	}
	answer := control.ShadowStarted{App: a.Name}
	if c.already {
		if err := sh.upgrader.planComponents(ctx, c, &control.UpgradeRequest{}); err != nil {
			return nil, err
		}
	}
	answer.Changes = *c.answer.Changes
	from, err := startOf(a, r)
	if err != nil {
		return nil, err
	}
	if old := a.Shadow; old != nil && old.Plan == c.plan.Digest && old.Drop == r.Drop && (r.From == 0 && r.At.IsZero() || old.Checkpoint == from.Epoch) {
		answer.Shadow = *withoutText(old)
		return answer, nil
	}
	answer.Replaced = a.Shadow != nil
	next := &control.Shadow{
		Text: r.Text, Plan: c.plan.Digest, Drop: r.Drop, Version: a.newest().Number, Checkpoint: from.Epoch, Started: sh.cfg.Now(),
	}
	if _, err := sh.propose(ctx, &command{Kind: kindShadow, App: a.Name, Shadow: next}); err != nil {
		return nil, err
	}
	now, err := sh.of(a.Name)
	if err != nil {
		return nil, err
	}
	sh.log.Info("a shadow starts", "app", a.Name, "checkpoint", next.Checkpoint, "version", next.Version)
	answer.Shadow = *withoutText(now)
	return answer, nil
}

// possible returns why the text cannot run beside the app, or nil.
func (sh *shadower) possible(ctx context.Context, c *change, r *control.ShadowRequest) error {
	if err := c.refusal(&control.UpgradeRequest{Text: r.Text, Drop: r.Drop}); err != nil {
		return err
	}
	version := *c.from
	if !c.already {
		version = c.version
	}
	return sh.upgrader.changeable(ctx, c.app, &version)
}

// startOf returns the checkpoint that a shadow starts from. All partitions have the newest version
// there, or the shadow would compare with several.
func startOf(a *appState, r *control.ShadowRequest) (*committed, error) {
	newest := a.newest().Number
	var older, other bool
	for _, k := range slices.Backward(a.Committed) {
		switch {
		case k.Generation != a.Generation:
			other = true
			continue
		case len(k.Versions) > 0 && slices.Min(k.Versions) != newest || len(k.Versions) == 0 && newest > 1:
			older = true
			continue
		case r.From > 0 && k.Epoch != r.From, !r.At.IsZero() && k.Time.After(r.At):
			continue
		}
		return &k, nil
	}
	which := "has none yet"
	switch {
	case r.From > 0:
		which = fmt.Sprintf("has no checkpoint %d", r.From)
	case !r.At.IsZero():
		which = "has none at or before " + r.At.UTC().Format(time.RFC3339)
	}
	switch {
	case older:
		which += fmt.Sprintf(" with version %d, which the shadow is compared with", newest)
	case other:
		which += " since it was restored or scaled"
	}
	return nil, failure(control.CodeInvalid, "a shadow starts from a checkpoint, and app %s %s; eventflux checkpoint trigger %[1]s makes one, and eventflux checkpoint ls %[1]s lists them", a.Name, which)
}

// of returns the shadow of an app.
func (sh *shadowReports) of(app string) (*control.Shadow, error) {
	a, err := sh.cfg.FSM.known(app)
	if err != nil {
		return nil, err
	}
	if a.Shadow == nil {
		return nil, failure(control.CodeNotFound, "app %s has no shadow; eventflux app shadow FILE starts one, and an upgrade, a scaling or a restore ends it", app)
	}
	return a.Shadow, nil
}

// approve approves what differs in a result stream.
func (sh *shadower) approve(ctx context.Context, r *control.ApproveRequest) (any, error) {
	of, err := sh.of(r.App)
	if err != nil {
		return nil, err
	}
	report, err := sh.report(ctx, r.App, of)
	if err != nil {
		return nil, err
	}
	known := slices.ContainsFunc(report.Streams, func(s shadow.Stream) bool { return s.Name == r.Stream })
	if !known && r.Stream != shadow.DeadLetterStream {
		names := []string{}
		for _, s := range report.Streams {
			names = append(names, s.Name)
		}
		return nil, failure(control.CodeInvalid, "app %s has no result stream %q; it has %s", r.App, r.Stream, strings.Join(names, ", "))
	}
	kinds := of.Unapproved(&report.Report)[r.Stream]
	if len(kinds) == 0 {
		return nil, failure(control.CodeInvalid, "nothing differs in %s that was not approved before", r.Stream)
	}
	more := &control.Shadow{ID: of.ID, Approved: map[string][]shadow.Kind{r.Stream: kinds}}
	if _, err := sh.propose(ctx, &command{Kind: kindShadow, App: r.App, Shadow: more}); err != nil {
		return nil, err
	}
	now, err := sh.of(r.App)
	if err != nil {
		return nil, err
	}
	return withoutText(now), nil
}

// stop ends the shadow of an app.
func (sh *shadower) stop(ctx context.Context, r *control.AppRequest) (any, error) {
	a, err := sh.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	if a.Shadow != nil {
		if _, err := sh.propose(ctx, &command{Kind: kindShadow, App: r.App}); err != nil {
			return nil, err
		}
		sh.log.Info("a shadow ends", "app", r.App)
	}
	if a, err = sh.cfg.FSM.known(r.App); err != nil {
		return nil, err
	}
	a.Text = ""
	return a.App, nil
}

func withoutText(s *control.Shadow) *control.Shadow {
	short := *s
	short.Text = ""
	return &short
}

// report asks for the report of a shadow, up to what is in the log now.
func (sh *shadowReports) report(ctx context.Context, app string, of *control.Shadow) (*control.ShadowReport, error) {
	ctx, cancel := context.WithTimeout(ctx, shadowAnswerTimeout)
	defer cancel()
	client := &control.Client{Conn: sh.cfg.Conn, Attempt: shadowAnswerTimeout}
	report, err := client.ShadowReport(ctx, app, control.ShadowReportRequest{ID: of.ID, CaughtUp: true})
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, failure(control.CodeInvalid, "the shadow of app %s has not caught up with the log; eventflux app shadow report %[1]s shows how far it is", app)
	case err != nil:
		return nil, err
	case report.State == control.ShadowFailed:
		return nil, failure(control.CodeInvalid, "the shadow of app %s has failed: %s", app, report.Error)
	}
	return &report, nil
}

// agreed returns nil if an upgrade to a text was run as a shadow up to the end of the log, and every
// difference was approved.
func (sh *shadowReports) agreed(ctx context.Context, c *change, drop bool) error {
	of, err := sh.of(c.app.Name)
	if err != nil {
		return err
	}
	if of.Plan != c.plan.Digest || of.Drop != drop {
		return failure(control.CodeInvalid, "the shadow of app %s runs another text or has another --drop; start one with these: eventflux app shadow FILE", c.app.Name)
	}
	report, err := sh.report(ctx, c.app.Name, of)
	if err != nil {
		return err
	}
	left := of.Unapproved(&report.Report)
	var found []string
	for _, stream := range slices.Sorted(maps.Keys(left)) {
		found = append(found, fmt.Sprintf("%s (%s)", stream, shadow.Text(left[stream])))
	}
	if len(found) > 0 {
		return failure(control.CodeInvalid, "the shadow of app %s has differences that were not approved: %s; see eventflux app shadow report %[1]s, and approve each stream: eventflux app shadow approve %[1]s STREAM", c.app.Name, strings.Join(found, ", "))
	}
	return nil
}
