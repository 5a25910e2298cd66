package checkpointer

import (
	"context"
	"strings"
	"time"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// A scaling has these steps. Up to the commit it can be aborted, and a leader that takes over
// starts it again. After the commit any leader completes it:
//
//	Raft knows the intention ─▶ ingests refuse events ─▶ logs are closed ─▶ a checkpoint of all, with equal
//	clocks ─▶ its state is divided ─▶ commit of the generation with the new number ─▶ logs open under a new
//	subject ─▶ Raft knows that ─▶ ingests accept events
//
// While the logs are closed, only the leader appends to them. So nothing follows that
// checkpoint, and what an ingest sends late is never in a log.

// scale changes the number of partitions of an app, or plans or aborts that.
func (sc *scaler) scale(ctx context.Context, r *control.ScaleRequest) (any, error) {
	a, err := sc.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	if r.Abort {
		return sc.abortScaling(a)
	}
	if a.Scaling != nil && a.Scaling.To == r.Partitions || a.Scaling == nil && a.Partitions == r.Partitions {
		return sc.scaledAnswer(a.Name, a.Partitions, r.Partitions, nil)
	}
	v, refused := sc.planScaling(ctx, a, r.Partitions)
	if r.Plan {
		return sc.scaledAnswer(a.Name, a.Partitions, r.Partitions, refused)
	}
	if refused != nil {
		return nil, refused
	}
	if _, err := sc.propose(ctx, &command{Kind: kindScale, App: a.Name, Upgrade: v, To: r.Partitions, Time: v.Time}); err != nil {
		return nil, err
	}
	sc.log.Info("app is scaled", "app", a.Name, "from", a.Partitions, "to", r.Partitions)
	faultpoint.Reach(faultpoint.ScaleRaft)
	sc.lookSoon()
	return sc.scaledAnswer(a.Name, a.Partitions, r.Partitions, nil)
}

func (sc *scaler) scaledAnswer(name string, from, to uint32, refused error) (any, error) {
	a, err := sc.cfg.FSM.known(name)
	if err != nil {
		return nil, err
	}
	sc.reports.addStates(a)
	sc.showProgress(a)
	answer := control.Scaled{App: a.App, From: from, To: to, Refused: text(refused)}
	answer.Text, answer.Missing = "", sc.reports.missing(a, time.Now())
	if n := len(a.Committed); n > 0 {
		answer.Bytes = a.Committed[n-1].StateBytes
	}
	return answer, nil
}

// abortScaling asks the goroutine that scales an app to stop.
func (sc *scaler) abortScaling(a *appState) (any, error) {
	switch {
	case a.Scaling == nil:
		return nil, failure(control.CodeInvalid, "app %s is not being scaled", a.Name)
	case a.Scaling.Committed:
		return nil, failure(control.CodeInvalid, "app %s has %d partitions by now, and only its logs are still being opened; eventflux app scale goes back", a.Name, a.Partitions)
	}
	running, ok := sc.scaling.Load(a.Name)
	if !ok {
		return nil, failure(control.CodeUnavailable, "the scaling of app %s has not started yet; try again", a.Name)
	}
	running.(*scalingRun).stop(errAborted)
	return sc.scaledAnswer(a.Name, a.Scaling.From, a.Scaling.To, nil)
}

// planScaling returns the version of the app that has the number of partitions, or why that is
// not possible.
func (sc *scaler) planScaling(ctx context.Context, a *appState, partitions uint32) (*control.Version, error) {
	if partitions == 0 {
		return nil, failure(control.CodeInvalid, "app %s cannot have 0 partitions: expected 1 or more", a.Name)
	}
	if most := sc.cfg.PartitionsMax; most > 0 && int(partitions) > most {
		return nil, failure(control.CodeInvalid, "app %s cannot have %d partitions: expected 1 to %d (limits.partitions_max at the checkpointers)", a.Name, partitions, most)
	}
	if a.Starting() {
		return nil, failure(control.CodeInvalid, "app %s has not been given the state of checkpoint %d yet; complete that first, with the same eventflux app deploy --from %[2]d", a.Name, a.From)
	}
	from := a.newest()
	text, err := siddhiql.WithPartitions(from.Text, int(partitions))
	if err != nil {
		return nil, failure(control.CodeInvalid, "%v", err)
	}
	// Several partitions have rules of their own, and one partition has none.
	next, err := siddhiql.Compile(text, sc.cfg.Conn.Opts.InboxPrefix)
	if err != nil && partitions == 1 {
		next, err = siddhiql.CompileDeployed(text)
	}
	if err != nil {
		return nil, failure(control.CodeInvalid, "app %s cannot have %d partitions: %v", a.Name, partitions, strings.TrimSpace(err.Error()))
	}
	for _, stream := range next.Views() {
		return nil, failure(control.CodeInvalid, "app %s cannot be scaled: stream %s has a view in KV bucket %s, and a view cannot follow its keys to another partition; remove it with an upgrade first", a.Name, stream.Name, stream.Sink.View.Bucket)
	}
	for _, stream := range next.Streams {
		if partitions > 1 && stream.Input() && stream.ShardKey == nil {
			return nil, failure(control.CodeInvalid, "app %s cannot have %d partitions: nothing reads stream %s by a key, so its events have no partition; read it in partition with (key of %[3]s), or remove it", a.Name, partitions, stream.Name)
		}
	}
	old, err := engine.Compile(&frame.Version{Text: from.Text, Change: from.Change})
	if err != nil {
		return nil, failure(control.CodeInternal, "version %d of app %s does not compile any more: %v", from.Number, a.Name, err)
	}
	old.Partitions = next.Partitions // the only difference
	m, err := engine.Migrate(old, next, engine.MigrateOptions{})
	if err == nil {
		err = m.Err()
	}
	if err != nil || m.Count(engine.OutcomeKept) != len(m.Steps) {
		return nil, failure(control.CodeInternal, "app %s: another number of partitions changes more than that: %v\n%v", a.Name, err, m)
	}
	now := sc.cfg.Now()
	v := &control.Version{
		Number: from.Number + 1, Plan: next.Digest, Level: from.Level, Build: sc.cfg.Self.Version, Stamp: now.UnixMilli(), Time: now,
		Settings: from.Settings, Text: text, Change: m.Change.JSON(),
	}
	return v, sc.upgrader.changeable(ctx, a, v)
}

// errAborted is why a scaling ends that someone has aborted.
var errAborted = failure(control.CodeInvalid, "it was aborted by a request")

// showProgress adds to an app what this leader knows of its scaling.
func (sc *scaler) showProgress(a *appState) {
	if a.Scaling == nil {
		return
	}
	running, ok := sc.scaling.Load(a.Name)
	if !ok {
		a.Scaling.Step = "waits for the leader"
		return
	}
	run := running.(*scalingRun)
	a.Scaling.Step, _ = run.step.Load().(string)
	a.Scaling.Read, a.Scaling.Total = run.read.Load(), run.total.Load()
}
