package checkpointer

import (
	"context"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// planChange finds out what change a request asks for, and what it does to the state.
func (s *Service) planChange(_ context.Context, _ *leader, r *control.UpgradeRequest) (*change, error) {
	c := &change{}
	text := r.Text
	var err error
	if text == "" {
		if c.app, text, err = s.former(r, c); err != nil {
			return nil, err
		}
	}
	if c.plan, err = siddhiql.Compile(text, s.cfg.Conn.Opts.InboxPrefix); err != nil && r.Text == "" {
		c.plan, err = siddhiql.CompileDeployed(text) // it was accepted before
	}
	if err != nil {
		return nil, failure(control.CodeInvalid, "%v", err)
	}
	if c.app, err = s.known(c.plan.Name); err != nil {
		return nil, failure(control.CodeNotFound, "no app is called %q, which is the @app:name of the text; eventflux app ls lists them, eventflux app deploy deploys a new one", c.plan.Name)
	}
	newest := c.app.newest()
	c.from = newest
	c.already = newest.Plan == c.plan.Digest
	if pending := c.app.changing(); c.already && pending != nil {
		c.from = c.app.versionOf(max(c.app.Version, 1))
	}
	c.answer.From, c.answer.To = c.from.Number, newest.Number
	if c.already {
		return c, nil
	}
	if r.From > 0 && r.From != newest.Number {
		return nil, failure(control.CodeFenced, "the change was planned for version %d of app %s, and %d is the newest; plan it again", r.From, c.app.Name, newest.Number)
	}
	c.answer.To = newest.Number + 1
	c.version.Number, c.version.Plan, c.version.Text = c.answer.To, c.plan.Digest, text
	c.version.Level, c.version.Build, c.version.Settings = engine.Level, s.cfg.Self.Version, s.cfg.Settings
	c.version.Time = s.cfg.Now()
	c.version.Stamp = c.version.Time.UnixMilli()
	return c, s.planComponents(c, r.Drop)
}

// former returns the text of the version that a rollback puts in force again.
func (s *Service) former(r *control.UpgradeRequest, c *change) (*appState, string, error) {
	a, err := s.known(r.App)
	if err != nil {
		return nil, "", err
	}
	newest, to := a.newest(), r.To
	if to == 0 {
		if to = newest.Number - 1; newest.Of > 1 {
			to = newest.Of - 1 // a rollback of a rollback goes further back
		}
	}
	v := a.versionOf(to)
	switch {
	case v == nil:
		return nil, "", failure(control.CodeNotFound, "app %s has no version %d; eventflux app history %[1]s lists them", a.Name, to)
	case v.Text == "":
		return nil, "", failure(control.CodeNotFound, "the text of version %d of app %s is not kept any more; upgrade to the text itself: eventflux app upgrade FILE", to, a.Name)
	}
	if v.Plan != newest.Plan {
		c.version.Of = v.Number
	}
	return a, v.Text, nil
}

// planComponents plans, with package engine, what happens to each component.
func (s *Service) planComponents(c *change, drop bool) error {
	old, err := engine.Compile(&frame.Version{Text: c.from.Text, Change: c.from.Change})
	if err != nil {
		return failure(control.CodeInternal, "version %d of app %s does not compile any more: %v", c.from.Number, c.app.Name, err)
	}
	m, err := engine.Migrate(old, c.plan, engine.MigrateOptions{Drop: drop})
	if err != nil {
		return failure(control.CodeInvalid, "%v", err)
	}
	c.answer.Changes, c.version.Change = m, m.Change.JSON()
	for _, step := range m.Steps {
		if step.Outcome == engine.OutcomeDropped {
			c.version.Dropped = append(c.version.Dropped, step.ID)
		}
	}
	return nil
}

// refusal returns why the requested change is not possible, or nil.
func (c *change) refusal(r *control.UpgradeRequest) error {
	if c.already {
		return nil
	}
	if c.plan.Partitions != int(c.app.Partitions) {
		return failure(control.CodeInvalid, "app %s has %d partitions, and the text says %d; leave @app:partitions as it is: the number of partitions belongs to the deployment", c.app.Name, c.app.Partitions, c.plan.Partitions)
	}
	err := c.answer.Changes.Err()
	if lost := c.lost(); err == nil && len(lost) > 0 && !r.Drop {
		return failure(control.CodeInvalid, "the state of %s was dropped after version %d of app %s; --drop has it start empty, and eventflux recover %[3]s --at TIME goes back to it", strings.Join(lost, ", "), c.version.Of, c.app.Name)
	}
	if err == nil {
		return nil
	}
	if refused := c.answer.Changes.Count(engine.OutcomeRefused); refused > 0 && len(c.answer.Changes.Refusals) == 0 && !r.Drop {
		return failure(control.CodeInvalid, "%v (--drop gives the state of all of them up)", err)
	}
	return failure(control.CodeInvalid, "%v", err)
}

// lost lists the components that a rollback starts empty, because a later change dropped
// their state.
func (c *change) lost() (ids []string) {
	if c.version.Of == 0 {
		return nil
	}
	for _, step := range c.answer.Changes.Steps {
		dropped := slices.ContainsFunc(c.app.versions(), func(v control.Version) bool {
			return v.Number > c.version.Of && slices.Contains(v.Dropped, step.ID)
		})
		if dropped && step.Outcome == engine.OutcomeNew {
			ids = append(ids, step.ID)
		}
	}
	return ids
}
