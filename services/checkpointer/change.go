package checkpointer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
)

// planChange finds out what change a request asks for, and what it does to the state.
func (up *upgrader) planChange(ctx context.Context, r *control.UpgradeRequest) (*change, error) {
	c := &change{}
	text := r.Text
	var err error
	if text == "" {
		if c.app, text, err = up.former(r, c); err != nil {
			return nil, err
		}
	}
	if c.plan, err = siddhiql.Compile(text, up.cfg.Conn.Opts.InboxPrefix); err != nil && r.Text == "" {
		c.plan, err = siddhiql.CompileDeployed(text) // it was accepted before
	}
	if err != nil {
		return nil, failure(control.CodeInvalid, "%v", err)
	}
	if c.app, err = up.cfg.FSM.known(c.plan.Name); err != nil {
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
	c.version.Level, c.version.Build, c.version.Settings = engine.Level, up.cfg.Self.Version, up.cfg.Settings
	c.version.Time = up.cfg.Now()
	c.version.Stamp = c.version.Time.UnixMilli()
	return c, up.planComponents(ctx, c, r)
}

// former returns the text of the version that a rollback puts in force again, with the number of
// partitions that the app has now.
func (up *upgrader) former(r *control.UpgradeRequest, c *change) (*appState, string, error) {
	a, err := up.cfg.FSM.known(r.App)
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
	for r.To == 0 && v != nil && v.Plan != newest.Plan && a.asScaled(v.Text) == newest.Text { // a scaling made the next one
		to--
		v = a.versionOf(to)
	}
	switch {
	case v == nil:
		return nil, "", failure(control.CodeNotFound, "app %s has no version %d; eventflux app history %[1]s lists them", a.Name, to)
	case v.Text == "":
		return nil, "", failure(control.CodeNotFound, "the text of version %d of app %s is not kept any more; upgrade to the text itself: eventflux app upgrade FILE", to, a.Name)
	}
	text := a.asScaled(v.Text)
	if text != newest.Text {
		c.version.Of = v.Number
	}
	return a, text, nil
}

// planComponents plans, with package engine, what happens to each component.
func (up *upgrader) planComponents(ctx context.Context, c *change, r *control.UpgradeRequest) error {
	old, err := engine.Compile(&frame.Version{Text: c.from.Text, Change: c.from.Change})
	if err != nil {
		return failure(control.CodeInternal, "version %d of app %s does not compile any more: %v", c.from.Number, c.app.Name, err)
	}
	o := engine.MigrateOptions{Drop: r.Drop}
	if r.Backfill {
		if o.Backfill, err = up.readableFrom(ctx, c.app); err != nil {
			return err
		}
	}
	m, err := engine.Migrate(old, c.plan, o)
	if err != nil {
		return failure(control.CodeInvalid, "%v", err)
	}
	if c.backfill = m.Change.Backfill; m.FromLog() {
		if c.answer.Backfill, err = up.backfillStarts(ctx, c.app.Name, c.backfill); err != nil {
			return err
		}
		m.Since(startsText(c.answer.Backfill))
	}
	c.answer.Changes, c.version.Change = m, m.Change.JSON()
	if c.version.Of > 0 {
		if c.answer.Differs, err = c.differences(); err != nil {
			return failure(control.CodeInternal, "compare the versions of app %s: %v", c.app.Name, err)
		}
	}
	for _, step := range m.Steps {
		if step.Outcome == engine.OutcomeDropped {
			c.version.Dropped = append(c.version.Dropped, step.ID)
		}
	}
	return nil
}

// differences lists the components that each change since the version of a rollback has left
// different, each once.
func (c *change) differences() (list []engine.Difference, err error) {
	var next *siddhiql.Plan
	for _, v := range slices.Backward(c.app.versions()) {
		if v.Number < c.version.Of {
			break
		}
		if v.Text == "" {
			return append(list, engine.Difference{ID: "all", Reason: fmt.Sprintf("the text of version %d is not kept any more, so it is not known what it changed", v.Number)}), nil
		}
		plan, err := engine.Compile(&frame.Version{Text: v.Text, Change: v.Change})
		if err != nil {
			return nil, err
		}
		if next != nil {
			more, err := engine.Differences(plan, next)
			if err != nil {
				return nil, err
			}
			list = append(list, more...)
		}
		next = plan
	}
	goesOn := func(d engine.Difference) bool {
		return slices.ContainsFunc(c.answer.Changes.Steps, func(s engine.ComponentStep) bool { return s.ID == d.ID && s.New != "" })
	}
	var there []engine.Difference
	for _, d := range list {
		if goesOn(d) && !slices.ContainsFunc(there, func(o engine.Difference) bool { return o.ID == d.ID }) {
			there = append(there, d)
		}
	}
	return there, nil
}

// refusal returns why the requested change is not possible, or nil.
func (c *change) refusal(r *control.UpgradeRequest) error {
	if c.already {
		return nil
	}
	if c.plan.Partitions != int(c.app.Partitions) {
		return failure(control.CodeInvalid, "app %s has %d partitions, and the text says %d; write @app:partitions('%[2]d'), and change the number with eventflux app scale %[1]s --partitions %[3]d", c.app.Name, c.app.Partitions, c.plan.Partitions)
	}
	if views := c.plan.Views(); c.app.Scalings > 0 && len(views) > 0 {
		return failure(control.CodeInvalid, "app %s was scaled, so the results of a key are in the streams of several partitions, and stream %s cannot have a view; deploy the text as another app", c.app.Name, views[0].Name)
	}
	err := c.answer.Changes.Err()
	if lost := c.droppedComponents(); err == nil && len(lost) > 0 && !r.Drop {
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

// droppedComponents lists the components that a rollback starts empty, because a later change dropped
// their state.
func (c *change) droppedComponents() (ids []string) {
	if c.version.Of == 0 {
		return nil
	}
	for _, step := range c.answer.Changes.Steps {
		dropped := slices.ContainsFunc(c.app.versions(), func(v control.Version) bool {
			return v.Number > c.version.Of && slices.Contains(v.Dropped, step.ID)
		})
		if dropped && step.Outcome == engine.OutcomeNew && !step.FromLog {
			ids = append(ids, step.ID)
		}
	}
	return ids
}
