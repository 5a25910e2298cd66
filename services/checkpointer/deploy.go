package checkpointer

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// deployer deploys apps: it checks them, makes their streams, and starts their logs.
type deployer struct {
	*leadership
	coordinators *coordinators
	projection   *projection
	streams      *streamKeeper
	admission    *admission
	restorer     *restorer
	reports      *reports
}

func (dp *deployer) deploy(ctx context.Context, r *control.DeployRequest) (any, error) {
	r.Text = dp.asScaled(r.Text)
	plan, err := deployable(r.Text, dp.cfg.Conn.Opts.InboxPrefix, dp.cfg.FSM)
	if err != nil {
		return nil, failure(control.CodeInvalid, "%v", err)
	}
	if err := subject.CheckName(plan.Name); err != nil {
		return nil, failure(control.CodeInvalid, "the app has no valid name; start its text with @app:name('…'): %v", err)
	}
	head, err := dp.cfg.Store.Head(ctx, plan.Name)
	if err != nil {
		return nil, failure(control.CodeUnavailable, "ask the store for older checkpoints of app %s: %v", plan.Name, err)
	}
	app := &control.App{
		Name: plan.Name, Plan: plan.Digest, Partitions: uint32(plan.Partitions), Text: r.Text, Settings: dp.cfg.Settings,
		Version: 1, Level: engine.Level, Build: dp.cfg.Self.Version, Stamp: dp.cfg.Now().UnixMilli(),
	}
	if err := dp.admission.checkFrame(app, &(&appState{App: *app}).versions()[0]); err != nil {
		return nil, err
	}
	var warnings []string
	if dp.cfg.FSM.app(plan.Name) == nil { // an app that is deployed already stays accepted
		if warnings, err = dp.admission.reachableFor(ctx, plan); err != nil {
			return nil, err
		}
	}
	app.First, err = dp.firstGeneration(ctx, head)
	if errors.Is(err, checkpoint.ErrVersion) {
		return nil, failure(control.CodeInvalid, "the store has checkpoints of app %s, and this version cannot tell where they end: %v", plan.Name, err)
	}
	if err != nil {
		return nil, failure(control.CodeUnavailable, "look at the checkpoints that the store has of app %s: %v", plan.Name, err)
	}
	if err := dp.withinLimits(plan); err != nil {
		return nil, err
	}
	if err := dp.startsFrom(ctx, app, state.Epoch(head.Epoch), r.From); err != nil {
		return nil, err
	}
	// Epochs continue after those in the store, if there was an app of this name before.
	if err := dp.streams.deploy(ctx, &command{Kind: kindDeploy, App: app.Name, Deploy: app, Time: dp.cfg.Now(), Epoch: state.Epoch(head.Epoch), Term: checkpoint.Term(head.Term)}); err != nil {
		return nil, err
	}
	if has := dp.cfg.FSM.app(app.Name); has != nil && has.Settings != app.Settings {
		dp.cfg.Log.Warn("the app keeps the settings that it was deployed with", "app", app.Name,
			"has", has.Settings.JSON(), "configured", app.Settings.JSON())
	}
	if err := dp.projection.project(ctx); err != nil {
		return nil, err
	}
	dp.coordinators.send(loopMessage{app: app.Name})
	dp.lookSoon()
	a, err := dp.cfg.FSM.known(app.Name)
	if err != nil {
		return nil, err
	}
	dp.reports.addStates(a)
	a.Missing = dp.reports.missing(a, time.Now())
	return control.Deployed{App: a.App, Warnings: append(warnings, conflicts(plan, dp.cfg.FSM.apps())...)}, nil
}

// startsFrom checks the checkpoint that a new app starts from, if there is one.
func (dp *deployer) startsFrom(ctx context.Context, app *control.App, newest, from state.Epoch) error {
	if from == 0 {
		return nil
	}
	if has := dp.cfg.FSM.app(app.Name); has != nil {
		if has.From == from {
			return nil // a repeated request
		}
		return failure(control.CodeInvalid, "app %s is deployed already, and only a new app starts from a checkpoint; eventflux recover %[1]s --to EPOCH takes it back to one of its own", app.Name)
	}
	app.From = from
	a := &appState{App: *app}
	a.Base = newest
	_, err := dp.restorer.former(ctx, a, from)
	return err
}

// asScaled returns the text of an app with the number of partitions that it has, if the app was
// scaled and nothing else in the text is different: the number in a file is the first one.
func (dp *deployer) asScaled(text string) string {
	for _, a := range dp.cfg.FSM.apps() {
		if same := a.asScaled(text); same == a.newest().Text {
			return same
		}
	}
	return text
}

// asScaled returns a text with the number of partitions that the app has, if the app was scaled.
func (a *appState) asScaled(text string) string {
	if a.Scalings == 0 {
		return text
	}
	if same, err := siddhiql.WithPartitions(text, int(a.Partitions)); err == nil {
		return same
	}
	return text
}

// withinLimits refuses an app if there are too many apps, or if it has too many partitions.
// It accepts an app that is deployed already.
func (dp *deployer) withinLimits(plan *siddhiql.Plan) error {
	apps := dp.cfg.FSM.apps()
	if slices.ContainsFunc(apps, func(a *appState) bool { return a.Name == plan.Name }) {
		return nil
	}
	if most := dp.cfg.AppsMax; most > 0 && len(apps) >= most {
		return failure(control.CodeInvalid, "%d apps are deployed, limit %d (limits.apps_max at the checkpointers); remove one with eventflux app rm, or raise the limit", len(apps), most)
	}
	if most := dp.cfg.PartitionsMax; most > 0 && plan.Partitions > most {
		return failure(control.CodeInvalid, "app %s has %d partitions, limit %d (limits.partitions_max at the checkpointers); take fewer in @app:partitions, or raise the limit", plan.Name, plan.Partitions, most)
	}
	return nil
}

// deployable compiles a text to deploy. It accepts the unchanged text of a deployed app even
// if newer rules refuse it, because eventflux run deploys its files at each start.
func deployable(text, inbox string, fsm *FSM) (*siddhiql.Plan, error) {
	plan, err := siddhiql.Compile(text, inbox)
	if err == nil {
		return plan, nil
	}
	old, oldErr := siddhiql.CompileDeployed(text)
	if oldErr != nil {
		return nil, err
	}
	if has := fsm.app(old.Name); has == nil || has.newest().Plan != old.Digest {
		return nil, err
	}
	return old, nil
}

// checkFrame refuses an app whose deploy frame is too large for a log.
func (ad *admission) checkFrame(app *control.App, v *control.Version) error {
	data, err := deployment(app, v).Frame(0)
	if err != nil {
		return failure(control.CodeTooLarge, "the text of app %s has %d bytes, limit %d: %v; split the app", app.Name, len(v.Text), frame.AppBytesMax, err)
	}
	if limit := ad.cfg.Conn.MaxPayload(); int64(len(data)) > limit {
		return failure(control.CodeTooLarge, "the deploy frame of app %s has %d bytes, but the NATS server accepts messages of at most %d; split the app, or raise the server's max_payload", app.Name, len(data), limit)
	}
	return nil
}

// firstGeneration returns the first generation of an app. If the store has a checkpoint of a
// former app of that name, it is larger than the generation of that checkpoint, so that the
// results of the two apps are never confused.
func (dp *deployer) firstGeneration(ctx context.Context, head store.Head) (checkpoint.Generation, error) {
	if head.Name == "" {
		return 1, nil
	}
	m, err := checkpoint.ReadManifest(ctx, dp.cfg.Store, head.Name, "")
	if errors.Is(err, checkpoint.ErrCorrupt) {
		return 1, nil // the checkpoint is gone, because the app was removed
	}
	if err != nil {
		return 0, err
	}
	return m.Generation + 1, nil
}

// deploy makes an app's streams, commits the app in Raft, and appends the deploy frame as
// the first frame of each log. If the leader dies before the app is in Raft, nothing was
// deployed, and the next request finds the streams. After that, the next leader completes
// the deployment.
func (sk *streamKeeper) deploy(ctx context.Context, c *command) error {
	done, err := sk.turn(ctx, c.App)
	if err != nil {
		return err
	}
	defer done()
	if a := sk.cfg.FSM.app(c.App); a == nil || !a.Removing && a.newest().Plan == c.Deploy.Plan { // otherwise Raft refuses the command
		if err := sk.makeStreams(ctx, c.App, c.Deploy.Partitions, c.Deploy.Text); err != nil {
			sk.log.Warn("an app is not deployed, because its streams could not be made", "app", c.App, "err", err)
			return failure(streamsCode(err), "make the streams of app %s: %v", c.App, err)
		}
	}
	faultpoint.Reach(faultpoint.DeployStreams)
	if _, err = sk.propose(ctx, c); err != nil {
		return err
	}
	faultpoint.Reach(faultpoint.DeployRaft)
	if err := sk.startLogs(ctx, c.App); err != nil {
		sk.remakeSoon()
		return failure(control.CodeUnavailable, "app %s is deployed, but its logs do not have their deploy frames yet: %v; the checkpointers complete it", c.App, err)
	}
	faultpoint.Reach(faultpoint.DeployDone)
	return nil
}
