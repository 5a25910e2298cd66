package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// A change of an app has these steps. Once the second is done, any leader completes the rest:
//
//	plan ─▶ Raft has version n ─▶ each log has frame n ─▶ Raft: all have ─▶ ingests write its schemas
//
// A task changes its state at the frame, so the third step is all that it needs.

// change is a planned upgrade.
type change struct {
	app     *appState
	from    *control.Version
	version control.Version // the new one
	plan    *siddhiql.Plan
	answer  control.Upgraded
	already bool // the text is in force, or is being put in force
}

// upgrade changes an app, or plans that.
func (s *Service) upgrade(ctx context.Context, l *leader, r *control.UpgradeRequest) (any, error) {
	c, err := s.planChange(ctx, l, r)
	if err != nil {
		return nil, err
	}
	refused := c.refusal(r)
	if refused == nil && !c.already {
		if refused = s.changeable(ctx, l, c); refused == nil {
			c.answer.Warnings, refused = l.reachableFor(ctx, c.plan)
		}
	}
	if r.Plan {
		if refused != nil {
			c.answer.Refused = refused.Error()
		}
		return c.done(s, l)
	}
	if refused != nil {
		return nil, refused
	}
	if c.already {
		return c.done(s, l)
	}
	if err := l.widenStreams(ctx, c); err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.UpgradeBefore)
	if _, err := l.propose(ctx, &command{Kind: kindUpgrade, App: c.app.Name, Upgrade: &c.version, Time: c.version.Time}); err != nil {
		return nil, err
	}
	l.log.Info("app is changed", "app", c.app.Name, "version", c.version.Number, "from", c.from.Number)
	faultpoint.Reach(faultpoint.UpgradeRaft)
	l.replace()
	return c.done(s, l)
}

// done returns the answer, with the app as it is now.
func (c *change) done(s *Service, l *leader) (any, error) {
	a, err := s.known(c.app.Name)
	if err != nil {
		return nil, err
	}
	s.addStates(l, a)
	c.answer.App = a.App
	c.answer.Text, c.answer.Missing = "", l.missing(a, time.Now())
	c.answer.Warnings = append(c.answer.Warnings, conflicts(c.plan, s.cfg.FSM.apps())...)
	return c.answer, nil
}

// changeable returns why an app cannot be changed now, or nil.
func (s *Service) changeable(ctx context.Context, l *leader, c *change) error {
	a := c.app
	switch {
	case a.Removing:
		return failure(control.CodeInvalid, "app %s is being removed", a.Name)
	case a.Level == 0:
		return failure(control.CodeUnavailable, "app %s of version 0.x is not taken over yet; try again", a.Name)
	case a.changing() != nil:
		return failure(control.CodeInvalid, "app %s is being changed to version %d; change it again when eventflux app history %[1]s shows that as current", a.Name, a.changing().Number)
	case a.Open != nil && a.Open.Restore != nil:
		return failure(control.CodeInvalid, "app %s is being restored; change it when eventflux app ls shows the new generation", a.Name)
	case a.Held:
		return failure(control.CodeInvalid, "app %s is held where it was restored; release it first: eventflux recover %[1]s --release", a.Name)
	}
	if err := s.checkFrame(&a.App, &c.version); err != nil {
		return err
	}
	s.addStates(l, a)
	var halted []uint32
	for _, o := range a.Owners {
		if o.State == control.TaskHalted {
			halted = append(halted, o.Partition)
		}
	}
	if len(halted) > 0 {
		return failure(control.CodeInvalid, "app %s, %s: halted, and a task that has halted does not come to the change; eventflux doctor says why and what to do", a.Name, partitionsText(halted))
	}
	for p := range a.Partitions {
		if a.quarantined(p) {
			return failure(control.CodeInvalid, "app %s, partition %d is in quarantine; run it again first: eventflux app resume %[1]s", a.Name, p)
		}
	}
	return l.levelKnown(ctx, c.version.Level)
}

// memberTimeout is how long another checkpointer may take to report its level. If it does
// not answer, it is not connected; if it lacks the level, it will halt at the change.
const memberTimeout = time.Second

// levelKnown refuses a semantics level that a connected process lacks.
func (l *leader) levelKnown(ctx context.Context, level uint32) error {
	now := time.Now()
	refuse := func(kind, name string) error {
		return failure(control.CodeInvalid, "%s %s runs a build that cannot change apps, or lacks semantics level %d; run version %s there first", kind, name, level, l.s.cfg.Self.Version)
	}
	for _, name := range l.processors.lacking(level, now) {
		return refuse("processor", name)
	}
	for _, one := range l.ingests.alive(now) {
		if one.level < level {
			return refuse("ingest", one.name)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	var group errgroup.Group
	for _, peer := range l.s.cfg.Raft.Status().Peers {
		if peer.ID == l.s.cfg.Raft.ID() {
			continue
		}
		group.Go(func() error {
			client := &control.Client{Conn: l.s.cfg.Conn, Self: l.s.cfg.Self}
			status, err := client.StatusOf(ctx, peer.ID)
			if err == nil && status.Level < level {
				return refuse("checkpointer", peer.ID)
			}
			return nil
		})
	}
	return group.Wait()
}

// upgradeOnce starts to carry out a change, unless that is already in progress.
func (l *leader) upgradeOnce(ctx context.Context, app string) {
	if _, under := l.upgrading.LoadOrStore(app, true); under {
		return
	}
	l.work.Go(func() {
		defer l.upgrading.Delete(app)
		for {
			err := l.completeUpgrade(ctx, app)
			if err == nil || ctx.Err() != nil {
				return
			}
			l.log.Warn("change an app; trying again", "app", app, "err", err)
			if !pauseFor(ctx, projectRetry) {
				return
			}
		}
	})
}

// completeUpgrade appends the frame of the newest version to all logs, and records that in
// Raft.
func (l *leader) completeUpgrade(ctx context.Context, app string) error {
	done, err := l.turn(ctx, app)
	if err != nil {
		return err
	}
	defer done()
	a := l.s.cfg.FSM.app(app)
	if a == nil || a.Removing {
		return nil
	}
	v := a.changing()
	if v == nil {
		return nil
	}
	if err := errors.Join(l.startEach(ctx, a)...); err != nil {
		return err
	}
	d := deployment(&a.App, v)
	errs := make([]error, a.Partitions)
	var group errgroup.Group
	group.SetLimit(startedAtOnce)
	for p := range a.Partitions {
		group.Go(func() error {
			errs[p] = d.Append(ctx, l.s.js, p)
			faultpoint.Reach(faultpoint.UpgradeFrame)
			return nil
		})
	}
	_ = group.Wait() // the functions return nil; errs has the errors
	if err := errors.Join(errs...); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.UpgradeFrames)
	if _, err := l.propose(ctx, &command{Kind: kindUpgraded, App: app, Upgrade: &control.Version{Number: v.Number}}); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.UpgradeDone)
	l.log.Info("all logs of an app have the frame of its version", "app", app, "version", v.Number)
	l.nudge()
	return l.project(ctx)
}

// missingVersions lists the partitions that do not run the newest version.
func (l *leader) missingVersions(a *appState, now time.Time) (what []string) {
	if len(a.Versions) == 0 {
		return nil
	}
	v := a.newest()
	if a.changing() != nil {
		return []string{fmt.Sprintf("the logs do not all have the frame of version %d yet", v.Number)}
	}
	of := map[uint32][]uint32{}
	var versions []uint32
	for _, o := range a.Owners {
		runs := l.processors.version(o.Processor, slot{a.Name, o.Partition}, now)
		if runs >= v.Number {
			continue
		}
		if of[runs] == nil {
			versions = append(versions, runs)
		}
		of[runs] = append(of[runs], o.Partition)
	}
	for _, runs := range versions {
		what = append(what, fmt.Sprintf("%s: at version %d, and the log has version %d", partitionsText(of[runs]), runs, v.Number))
	}
	return what
}

func (l *leader) versionsOf(app string) []control.Version {
	if a := l.s.cfg.FSM.app(app); a != nil {
		return a.Versions
	}
	return nil
}

// history lists the versions of an app.
func (s *Service) history(_ context.Context, l *leader, r *control.AppRequest) (any, error) {
	a, err := s.known(r.App)
	if err != nil {
		return nil, err
	}
	h := control.History{App: a.Name, Current: max(a.Version, 1), Versions: a.versions(), Partitions: make([]uint32, a.Partitions)}
	for i := range h.Versions {
		h.Versions[i].Text = ""
	}
	for _, o := range a.Owners {
		h.Partitions[o.Partition] = l.processors.version(o.Processor, slot{a.Name, o.Partition}, time.Now())
	}
	return h, nil
}

// version returns a version of an app with its text.
func (s *Service) version(_ context.Context, _ *leader, r *control.VersionRequest) (any, error) {
	a, err := s.known(r.App)
	if err != nil {
		return nil, err
	}
	v := a.newest()
	if r.Number > 0 {
		v = a.versionOf(r.Number)
	}
	if v == nil {
		return nil, failure(control.CodeNotFound, "app %s has no version %d; eventflux app history %[1]s lists them", a.Name, r.Number)
	}
	return v, nil
}
