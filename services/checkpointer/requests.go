package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

// verb answers one kind of request.
type verb struct {
	anyone bool // any member may answer; otherwise only the leader
	answer func(ctx context.Context, l *leader, data []byte) (any, error)
}

func (s *Service) verbs() map[string]verb {
	return map[string]verb{
		control.VerbDeploy:        {false, by(func(l *leader) handler[control.DeployRequest] { return l.deployer.deploy })},
		control.VerbApps:          {false, typed(s.apps)},
		control.VerbApp:           {false, typed(s.app)},
		control.VerbUpgrade:       {false, by(func(l *leader) handler[control.UpgradeRequest] { return l.upgrader.upgrade })},
		control.VerbScale:         {false, by(func(l *leader) handler[control.ScaleRequest] { return l.scaler.scale })},
		control.VerbShadow:        {false, by(func(l *leader) handler[control.ShadowRequest] { return l.shadower.start })},
		control.VerbShadowApprove: {false, by(func(l *leader) handler[control.ApproveRequest] { return l.shadower.approve })},
		control.VerbShadowStop:    {false, by(func(l *leader) handler[control.AppRequest] { return l.shadower.stop })},
		control.VerbHistory:       {false, typed(s.history)},
		control.VerbVersion:       {false, typed(s.version)},
		control.VerbRemove:        {false, by(func(l *leader) handler[control.AppRequest] { return l.remover.remove })},
		control.VerbRestore:       {false, by(func(l *leader) handler[control.RestoreRequest] { return l.restorer.restore })},
		control.VerbAdopt:         {false, by(func(l *leader) handler[control.AdoptRequest] { return l.restorer.adopt })},
		control.VerbRelease:       {false, typed(s.release)},
		control.VerbResume:        {false, typed(s.resume)},
		control.VerbHeartbeat:     {false, by(func(l *leader) handler[control.HeartbeatRequest] { return l.assigner.heartbeat })},
		control.VerbServing:       {false, by(func(l *leader) handler[control.ServingRequest] { return l.reports.serving })},
		control.VerbAttach:        {false, typed(s.attach)},
		control.VerbPrepared:      {false, typed(s.prepared)},
		control.VerbFailed:        {false, typed(s.failed)},
		control.VerbTrigger:       {false, typed(s.trigger)},
		control.VerbCheckpoints:   {false, typed(s.checkpoints)},
		control.VerbCheckpoint:    {false, typed(s.checkpoint)},
		control.VerbVerify:        {false, typed(s.verify)},
		control.VerbDigests:       {false, typed(s.digests)},
		control.VerbStatus:        {true, typed(s.status)},
		control.VerbMembers:       {false, typed(s.members)},
		control.VerbTransfer:      {false, typed(s.transfer)},
		control.VerbLease:         {false, by(func(l *leader) handler[control.LeaseRequest] { return l.merges.lease })},
		control.VerbLive:          {false, by(func(l *leader) handler[control.LiveRequest] { return l.merges.live })},
		control.VerbSwap:          {false, by(func(l *leader) handler[control.SwapRequest] { return l.merges.swap })},
		control.VerbSwitch:        {false, by(func(l *leader) handler[control.SwitchRequest] { return l.storeSwitch.switchStore })},
	}
}

// typed makes a handler of JSON from a function with a typed request.
func typed[T any](answer func(context.Context, *leader, *T) (any, error)) func(context.Context, *leader, []byte) (any, error) {
	return func(ctx context.Context, l *leader, data []byte) (any, error) {
		request := new(T)
		if err := control.Parse(data, request); err != nil {
			return nil, err
		}
		return answer(ctx, l, request)
	}
}

// handler answers requests of one type.
type handler[T any] func(context.Context, *T) (any, error)

// by is like typed, for a handler of a part of the leader.
func by[T any](part func(*leader) handler[T]) func(context.Context, *leader, []byte) (any, error) {
	return typed(func(ctx context.Context, l *leader, r *T) (any, error) { return part(l)(ctx, r) })
}

func failure(code, format string, args ...any) error {
	return &control.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// endpoint handles requests. A follower passes requests for the leader on to it, once.
func (s *Service) endpoint(ctx context.Context, group *sync.WaitGroup, name string, passOn bool) micro.Handler {
	v := s.verbs()[name]
	return s.server.Handler(group, func(r micro.Request) error {
		if err := s.cfg.Self.Hear(r.Headers()); err != nil {
			return err
		}
		l := s.leading()
		if l == nil && !v.anyone {
			return s.passOn(r, name, passOn)
		}
		answer, err := v.answer(ctx, l, r.Data())
		if err != nil {
			return retryable(err)
		}
		return r.RespondJSON(answer, micro.WithHeaders(micro.Headers(s.cfg.Self.Headers())))
	})
}

func (s *Service) passOn(r micro.Request, name string, may bool) error {
	leader := s.cfg.Raft.LeaderID()
	if !may || leader == "" || leader == s.cfg.Raft.ID() {
		return failure(control.CodeUnavailable, "no checkpointer leads at the moment; try again")
	}
	on := &nats.Msg{
		Subject: natsconn.ServiceSubject(control.Service, "node."+leader+"."+name),
		Reply:   r.Reply(), Header: nats.Header(r.Headers()), Data: r.Data(),
	}
	if err := s.cfg.Conn.PublishMsg(on); err != nil {
		return failure(control.CodeUnavailable, "pass the request on to the leader %s: %v", leader, err)
	}
	return nil
}

// retryable makes an error of Raft an error that tells the client to try again.
func retryable(err error) error {
	if control.Code(err) == "" &&
		(errors.Is(err, consensus.ErrNotLeader) || errors.Is(err, consensus.ErrUnknown) || errors.Is(err, consensus.ErrUnavailable)) {
		return failure(control.CodeUnavailable, "%v", err)
	}
	return err
}

func (s *Service) apps(_ context.Context, l *leader, _ *struct{}) (any, error) {
	list := control.AppList{Apps: []control.App{}}
	for _, a := range s.cfg.FSM.apps() {
		a.Text = ""
		if a.Shadow != nil {
			a.Shadow = withoutText(a.Shadow)
		}
		l.reports.addStates(a)
		list.Apps = append(list.Apps, a.App)
	}
	return list, nil
}

func (s *Service) app(_ context.Context, l *leader, r *control.AppRequest) (any, error) {
	a, err := s.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	l.reports.addStates(a)
	l.scaler.showProgress(a)
	a.Missing = l.reports.missing(a, time.Now())
	return a.App, nil
}

func (s *Service) attach(ctx context.Context, l *leader, r *control.AttachRequest) (any, error) {
	a, err := s.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	switch {
	case r.Owner == "" || r.Partition >= a.Partitions:
		return nil, failure(control.CodeInvalid, "owner %q of partition %d; app %s has the partitions 0 to %d", r.Owner, r.Partition, a.Name, a.Partitions-1)
	case !a.planned(r.Plan):
		return nil, failure(control.CodeInvalid, "app %q is deployed with another text (%s, and the task has %s)", a.Name, a.Plan, r.Plan)
	}
	answer, err := l.propose(ctx, &command{Kind: kindAttach, App: a.Name, Owner: &control.Owner{
		Partition: r.Partition, Owner: r.Owner, Processor: r.Processor,
	}})
	if err != nil {
		return nil, err
	}
	number, _ := answer.(uint64)
	if a, err = s.cfg.FSM.known(r.App); err != nil {
		return nil, err
	}
	attached := control.Attached{
		Generation: a.Generation, First: a.Generation == a.First, Held: a.Held, Assignment: number, Decided: a.Decided, Checkpoints: []control.CheckpointRef{},
	}
	for _, k := range slices.Backward(a.Committed) {
		if k.Generation == a.Generation {
			attached.Checkpoints = append(attached.Checkpoints, k.CheckpointRef)
		}
	}
	return attached, nil
}

func (s *Service) prepared(ctx context.Context, l *leader, r *control.PreparedRequest) (any, error) {
	answer, err := s.prepare(ctx, l, r)
	if err != nil {
		return nil, err
	}
	if a := s.cfg.FSM.app(r.App); a != nil {
		answer.Merged = a.merged()
	}
	return answer, nil
}

func (s *Service) prepare(ctx context.Context, l *leader, r *control.PreparedRequest) (*control.Outcome, error) {
	part := &r.Partition
	if o, err := s.decided(r.App, r.Epoch, r.Term, part.Partition, part.Assignment); err != nil || o != nil {
		return o, err
	}
	if what := part.Wrong(); what != "" {
		return nil, failure(control.CodeInvalid, "partition %d of epoch %d: %s", part.Partition, r.Epoch, what)
	}
	ctx, done := l.waits.add(ctx, waitKey{control.VerbPrepared, slot{r.App, part.Partition}})
	defer done()
	faultpoint.Reach(faultpoint.Prepared)
	answer, err := l.coordinators.ask(ctx, r.App, message{kind: msgPrepared, epoch: r.Epoch, part: part})
	if err != nil {
		return nil, err
	}
	// The epoch may have been decided while the request was on its way to the coordinator.
	if a, err := s.cfg.FSM.known(r.App); err == nil {
		if o, ok := a.outcome(r.Epoch); ok && !answer.Whole {
			return &o, nil
		}
	}
	return &answer, nil
}

// waits are the requests of tasks that wait for the end of an epoch, one of each task. A
// task asks again while it waits, because the leader it asked may be gone. The new request
// replaces the old one, which gets an error. Otherwise waiting requests would leave no room
// for heartbeats.
type waits struct {
	mu sync.Mutex
	of map[waitKey]*context.CancelFunc
}

type waitKey struct {
	verb string
	of   slot
}

// add adds a request and cancels the previous one with the same key. The caller calls the
// returned function when it has an answer.
func (w *waits) add(ctx context.Context, key waitKey) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	if before := w.of[key]; before != nil {
		(*before)()
	}
	w.of[key] = &cancel
	return ctx, func() {
		cancel()
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.of[key] == &cancel {
			delete(w.of, key)
		}
	}
}

// decided returns the outcome of an epoch, if it is decided or over. The error says that
// another task owns the partition. Both are nil if the task can take part in the epoch.
func (s *Service) decided(app string, epoch state.Epoch, term checkpoint.Term, partition uint32, assignment uint64) (*control.Outcome, error) {
	a, err := s.cfg.FSM.known(app)
	if err != nil {
		return nil, err
	}
	if now := a.Tasks[partition]; now.Assignment != assignment {
		return nil, failure(control.CodeFenced, "partition %d of app %s is assigned as %d to %s, and this task is %d: stop", partition, app, now.Assignment, now.Owner, assignment)
	}
	if o, ok := a.outcome(epoch); ok {
		return &o, nil
	}
	if a.Open == nil || a.Open.Epoch != epoch || a.Open.Term != term {
		return &control.Outcome{Epoch: epoch, Reason: fmt.Sprintf("epoch %d of term %d is not open", epoch, term)}, nil
	}
	return nil, nil
}

func (s *Service) failed(ctx context.Context, l *leader, r *control.FailedRequest) (any, error) {
	if o, err := s.decided(r.App, r.Epoch, r.Term, r.Partition, r.Assignment); err != nil || o != nil {
		return o, err
	}
	return l.coordinators.ask(ctx, r.App, message{kind: msgFailed, epoch: r.Epoch, reason: fmt.Sprintf("partition %d: %s", r.Partition, r.Reason)})
}

func (s *Service) trigger(ctx context.Context, l *leader, r *control.AppRequest) (any, error) {
	a, err := s.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	if len(a.Owners) < int(a.Partitions) {
		return nil, failure(control.CodeUnavailable, "%d of %d partitions of app %s have a task; a checkpoint needs all", len(a.Owners), a.Partitions, a.Name)
	}
	if a.Held {
		return nil, failure(control.CodeInvalid, "app %s is held where it was restored; eventflux recover %[1]s --release makes it continue", a.Name)
	}
	return l.coordinators.ask(ctx, r.App, message{kind: msgTrigger})
}

func (s *Service) checkpoints(_ context.Context, _ *leader, r *control.AppRequest) (any, error) {
	a, err := s.cfg.FSM.known(r.App)
	if err != nil {
		return nil, err
	}
	list := control.CheckpointList{App: a.Name, Generation: a.Generation, Checkpoints: []control.CheckpointInfo{}}
	if a.Open != nil {
		list.Checkpoints = append(list.Checkpoints, control.CheckpointInfo{State: control.CheckpointOpen, CheckpointRef: control.CheckpointRef{
			Generation: a.Generation, Epoch: a.Open.Epoch, Term: a.Open.Term, Time: a.Open.Time,
		}})
	}
	for _, k := range a.Committed {
		list.Checkpoints = append(list.Checkpoints, control.CheckpointInfo{
			CheckpointRef: k.CheckpointRef, State: control.CheckpointCommitted, Bytes: k.Bytes, StateBytes: k.StateBytes, Milliseconds: k.Milliseconds,
		})
	}
	for _, x := range a.Aborted {
		list.Checkpoints = append(list.Checkpoints, control.CheckpointInfo{State: control.CheckpointAborted, Reason: x.Reason, CheckpointRef: control.CheckpointRef{
			Generation: a.Generation, Epoch: x.Epoch, Time: x.Time,
		}})
	}
	slices.SortFunc(list.Checkpoints, func(x, y control.CheckpointInfo) int { return int(y.Epoch) - int(x.Epoch) })
	return list, nil
}

func (s *Service) checkpoint(ctx context.Context, _ *leader, r *control.CheckpointRequest) (any, error) {
	k, err := s.cfg.FSM.ref(r)
	if err != nil {
		return nil, err
	}
	return checkpoint.ReadManifest(ctx, s.cfg.Store, k.Manifest, k.Digest)
}

func (s *Service) verify(ctx context.Context, _ *leader, r *control.CheckpointRequest) (any, error) {
	k, err := s.cfg.FSM.ref(r)
	if err != nil {
		return nil, err
	}
	report := control.VerifyReport{App: r.App, Epoch: k.Epoch}
	m, err := checkpoint.ReadManifest(ctx, s.cfg.Store, k.Manifest, k.Digest)
	var wrong *checkpoint.CorruptError
	if errors.As(err, &wrong) {
		report.Problems = []control.Problem{{Object: wrong.Object, What: wrong.What}}
		return report, nil
	}
	if err != nil {
		return nil, err
	}
	found, err := checkpoint.Verify(ctx, s.cfg.Store, m, 2)
	if err != nil {
		return nil, err
	}
	report.Runs, report.Blocks, report.Entries, report.Bytes = found.Runs, found.Blocks, found.Entries, found.Bytes
	for _, p := range found.Problems {
		report.Problems = append(report.Problems, control.Problem(p))
	}
	report.Sound = len(report.Problems) == 0
	if report.Sound {
		return report, nil
	}
	if now, err := s.cfg.FSM.ref(&control.CheckpointRequest{App: r.App, Epoch: k.Epoch}); err != nil || now.Digest != k.Digest {
		return nil, failure(control.CodeUnavailable, "checkpoint %d of app %s was retired or merged while it was read; try again", k.Epoch, r.App)
	}
	return report, nil
}

func (s *Service) status(context.Context, *leader, *struct{}) (any, error) {
	status := s.cfg.Raft.Status()
	status.Level = engine.Level
	return status, nil
}

func (s *Service) members(ctx context.Context, _ *leader, r *control.MembersRequest) (any, error) {
	if r.Add != nil {
		if err := s.cfg.Raft.AddPeer(ctx, *r.Add); err != nil {
			return nil, err
		}
	}
	if r.Remove != "" {
		if err := s.cfg.Raft.RemovePeer(ctx, r.Remove); err != nil {
			return nil, err
		}
	}
	return s.cfg.Raft.Status(), nil
}

func (s *Service) transfer(ctx context.Context, _ *leader, r *control.TransferRequest) (any, error) {
	if err := s.cfg.Raft.Transfer(ctx, r.To); err != nil {
		return nil, err
	}
	return s.cfg.Raft.Status(), nil
}
