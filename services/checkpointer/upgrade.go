package checkpointer

import (
	"context"
	"errors"
	"sync"
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

// upgrader completes the changes of apps that Raft knows. It owns the changes in progress.
type upgrader struct {
	*leadership
	projection *projection
	streams    *streamKeeper
	admission  *admission
	reports    *reports
	shadows    *shadowReports
	upgrading  sync.Map // apps whose logs get the frame of a version
}

// change is a planned upgrade.
type change struct {
	app     *appState
	from    *control.Version
	version control.Version // the new one
	plan    *siddhiql.Plan
	answer  control.Upgraded
	already bool // the text is in force, or is being put in force
	// backfill is from where the logs are read to build state, by partition; nil: they are not.
	backfill []uint64
}

// upgrade changes an app, or plans that.
func (up *upgrader) upgrade(ctx context.Context, r *control.UpgradeRequest) (any, error) {
	c, err := up.planChange(ctx, r)
	if err != nil {
		return nil, err
	}
	refused := c.refusal(r)
	if refused == nil && !c.already {
		if refused = up.changeable(ctx, c.app, &c.version); refused == nil {
			c.answer.Warnings, refused = up.admission.reachableFor(ctx, c.plan)
		}
		if refused == nil && r.Shadowed && len(c.backfill) > 0 {
			refused = failure(control.CodeInvalid, "a shadow builds no state from the log, so it does not tell the results of this change; leave out --shadowed or --backfill")
		}
		if refused == nil && r.Shadowed {
			refused = up.shadows.agreed(ctx, c, r.Drop)
		}
	}
	if r.Plan {
		if refused != nil {
			c.answer.Refused = refused.Error()
		}
		return c.done(up)
	}
	if refused != nil {
		return nil, refused
	}
	if c.already {
		return c.done(up)
	}
	if err := up.streams.widenStreams(ctx, c); err != nil {
		return nil, err
	}
	faultpoint.Reach(faultpoint.UpgradeBefore)
	if _, err := up.propose(ctx, &command{Kind: kindUpgrade, App: c.app.Name, Upgrade: &c.version, Backfill: c.backfill, Time: c.version.Time}); err != nil {
		return nil, err
	}
	up.log.Info("app is changed", "app", c.app.Name, "version", c.version.Number, "from", c.from.Number)
	faultpoint.Reach(faultpoint.UpgradeRaft)
	up.lookSoon()
	return c.done(up)
}

// done returns the answer, with the app as it is now.
func (c *change) done(up *upgrader) (any, error) {
	a, err := up.cfg.FSM.known(c.app.Name)
	if err != nil {
		return nil, err
	}
	up.reports.addStates(a)
	c.answer.App = a.App
	c.answer.Text, c.answer.Missing = "", up.reports.missing(a, time.Now())
	c.answer.Warnings = append(c.answer.Warnings, conflicts(c.plan, up.cfg.FSM.apps())...)
	return c.answer, nil
}

// changeable returns why an app cannot be changed now, or nil.
func (up *upgrader) changeable(ctx context.Context, a *appState, v *control.Version) error {
	switch {
	case a.Removing:
		return failure(control.CodeInvalid, "app %s is being removed", a.Name)
	case a.Level == 0:
		return failure(control.CodeUnavailable, "app %s of version 0.x is not taken over yet; try again", a.Name)
	case a.changing() != nil:
		return failure(control.CodeInvalid, "app %s is being changed to version %d; change it again when eventflux app history %[1]s shows that as current", a.Name, a.changing().Number)
	case a.Scaling != nil:
		return failure(control.CodeInvalid, "app %s is being scaled to %d partitions; change it when eventflux app ls shows that number", a.Name, a.Scaling.To)
	case a.Open != nil && a.Open.Restore != nil:
		return failure(control.CodeInvalid, "app %s is being restored; change it when eventflux app ls shows the new generation", a.Name)
	case a.Held:
		return failure(control.CodeInvalid, "app %s is held where it was restored; release it first: eventflux recover %[1]s --release", a.Name)
	}
	if err := up.admission.checkFrame(&a.App, v); err != nil {
		return err
	}
	up.reports.addStates(a)
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
	return up.levelKnown(ctx, v.Level)
}

// memberTimeout is how long another checkpointer may take to report its level. If it does
// not answer, it is not connected; if it lacks the level, it will halt at the change.
const memberTimeout = time.Second

// levelKnown refuses a semantics level that a connected process lacks.
func (up *upgrader) levelKnown(ctx context.Context, level uint32) error {
	now := time.Now()
	for _, name := range up.reports.processors.lacking(level, now) {
		return up.lacks("processor", name, level)
	}
	for _, one := range up.reports.ingests.alive(now) {
		if one.level < level {
			return up.lacks("ingest", one.name, level)
		}
	}
	var others []string
	for _, peer := range up.cfg.Raft.Status().Peers {
		if peer.ID != up.cfg.Raft.ID() {
			others = append(others, peer.ID)
		}
	}
	return up.membersKnow(ctx, others, level)
}

func (up *upgrader) lacks(kind, name string, level uint32) error {
	return failure(control.CodeInvalid, "%s %s runs a build that cannot change apps, or lacks semantics level %d; run version %s there first", kind, name, level, up.cfg.Self.Version)
}

// membersKnow refuses a semantics level that a connected checkpointer lacks.
func (up *upgrader) membersKnow(ctx context.Context, ids []string, level uint32) error {
	ctx, cancel := context.WithTimeout(ctx, memberTimeout)
	defer cancel()
	var group errgroup.Group
	for _, id := range ids {
		group.Go(func() error {
			client := &control.Client{Conn: up.cfg.Conn, Self: up.cfg.Self}
			status, err := client.StatusOf(ctx, id)
			if err == nil && status.Level < level {
				return up.lacks("checkpointer", id, level)
			}
			return nil
		})
	}
	return group.Wait()
}

// upgradeOnce starts to carry out a change, unless that is already in progress.
func (up *upgrader) upgradeOnce(ctx context.Context, app string) {
	if _, under := up.upgrading.LoadOrStore(app, true); under {
		return
	}
	up.work.Go(func() {
		defer up.upgrading.Delete(app)
		for {
			err := up.completeUpgrade(ctx, app)
			if err == nil || ctx.Err() != nil {
				return
			}
			up.log.Warn("change an app; trying again", "app", app, "err", err)
			if !pauseFor(ctx, projectRetry) {
				return
			}
		}
	})
}

// completeUpgrade appends the frame of the newest version to all logs, and records that in
// Raft.
func (up *upgrader) completeUpgrade(ctx context.Context, app string) error {
	done, err := up.streams.turn(ctx, app)
	if err != nil {
		return err
	}
	defer done()
	a := up.cfg.FSM.app(app)
	if a == nil || a.Removing {
		return nil
	}
	v := a.changing()
	if v == nil {
		return nil
	}
	if err := errors.Join(up.streams.startEach(ctx, a)...); err != nil {
		return err
	}
	d := deployment(&a.App, v)
	errs := make([]error, a.Partitions)
	var group errgroup.Group
	group.SetLimit(startedAtOnce)
	for p := range a.Partitions {
		group.Go(func() error {
			errs[p] = d.Append(ctx, up.js, p)
			faultpoint.Reach(faultpoint.UpgradeFrame)
			return nil
		})
	}
	_ = group.Wait() // the functions return nil; errs has the errors
	if err := errors.Join(errs...); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.UpgradeFrames)
	if _, err := up.propose(ctx, &command{Kind: kindUpgraded, App: app, Upgrade: &control.Version{Number: v.Number}}); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.UpgradeDone)
	up.log.Info("all logs of an app have the frame of its version", "app", app, "version", v.Number)
	up.nudge()
	return up.projection.project(ctx)
}

// history lists the versions of an app.
func (s *Service) history(_ context.Context, l *leader, r *control.AppRequest) (any, error) {
	a, err := s.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	h := control.History{App: a.Name, Current: max(a.Version, 1), Versions: a.versions(), Scalings: a.scalings(), Partitions: make([]uint32, a.Partitions)}
	for i := range h.Versions {
		h.Versions[i].Text = ""
	}
	for _, o := range a.Owners {
		h.Partitions[o.Partition] = l.reports.processors.version(o.Processor, slot{a.Name, o.Partition}, time.Now())
	}
	return h, nil
}

// version returns a version of an app with its text.
func (s *Service) version(_ context.Context, _ *leader, r *control.VersionRequest) (any, error) {
	a, err := s.cfg.FSM.known(r.App)
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
