package processor

import (
	"context"
	"errors"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/testing/faultpoint"
)

const (
	heartbeatEvery = control.HeartbeatTimeout / 5
	// heartbeatWait is how long a heartbeat waits for its answer. Tasks keep running: the
	// fence, not the heartbeat, ensures that only one task writes for a partition.
	heartbeatWait = 2 * time.Second
)

// follow runs the partitions that the checkpointer assigns, until ctx ends or the service has
// to drain.
func (s *Service) follow(ctx context.Context) error {
	nudges, err := s.cfg.Conn.Subscribe(control.NudgeSubject, func(*nats.Msg) { s.wake() })
	if err != nil {
		return err
	}
	defer func() { _ = nudges.Unsubscribe() }() // the connection may be gone already
	tick := time.NewTicker(heartbeatEvery)
	defer tick.Stop()
	defer s.beat.Stop()
	for {
		s.beat.Now()
		if err := s.heartbeat(ctx); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.running.Done():
			return nil
		case <-tick.C:
		case <-s.changed:
		}
	}
}

// heartbeat reports the states of the tasks to the checkpointer, and starts and stops tasks
// as the answer says.
func (s *Service) heartbeat(ctx context.Context) error {
	r := control.HeartbeatRequest{Processor: s.cfg.ID, Incarnation: s.incarnation, Level: engine.Level, Leaving: s.leaving.Load(), Died: s.died}
	for now, all := time.Now(), s.all(); len(all) > 0; all = all[1:] {
		t := all[0]
		report := control.TaskReport{App: t.as.App, Partition: t.as.Partition, State: t.status.is(), Applied: t.status.applied.Load(), Version: uint32(t.status.version.Load())}
		if f, ok := t.flow(now); ok {
			report.LagMillis = f.Lag(0).Milliseconds()
		}
		r.Tasks = append(r.Tasks, report)
	}
	limited, cancel := context.WithTimeout(ctx, heartbeatWait)
	defer cancel()
	var answer control.Heartbeat
	err := faultpoint.Fail(faultpoint.HeartbeatBefore)
	if err == nil {
		answer, err = s.cfg.Control.Heartbeat(limited, r)
	}
	switch {
	case control.Code(err) == control.CodeFenced, control.Code(err) == control.CodeVersion:
		return err
	case err != nil:
		if ctx.Err() == nil {
			s.cfg.Log.Warn("the checkpointer does not answer; tasks continue as they are", "err", err)
		}
		return nil
	}
	s.heard.Now()
	s.openWork()
	s.reconcile(ctx, answer.Assigned)
	if r.Leaving && (len(answer.Assigned) == 0 && len(s.all()) == 0 || answer.Alone) {
		s.leave()
	}
	return nil
}

// reconcile stops tasks that are no longer assigned and starts those that are. A task that
// was fenced although it is assigned here starts again. It does not wait: a task may take
// long to end, and heartbeats report it until then.
func (s *Service) reconcile(ctx context.Context, assigned []control.Assigned) {
	want := map[slot]control.Assigned{}
	for _, as := range assigned {
		want[slot{as.App, as.Partition}] = as
	}
	keeps := map[slot]bool{}
	for _, t := range s.all() {
		at := slot{t.as.App, t.as.Partition}
		as, still := want[at]
		if still && t.as.Standby && !as.Standby && t.status.is() == control.TaskStandby {
			t.promote()
			t.as.Standby = false
		}
		if still {
			t.suspect.Store(as.Suspect)
			t.as.Suspect = as.Suspect
		}
		if still && as == t.as && !t.ending && t.status.is() != control.TaskFenced {
			keeps[at] = true
			continue
		}
		t.ending = true
		t.cancel()
		select {
		case <-t.ended:
			s.forget(t)
		default: // it wakes follow when it has ended
			keeps[at] = true
		}
	}
	apps := map[string]app{}
	for _, as := range assigned {
		if keeps[slot{as.App, as.Partition}] {
			continue
		}
		a, ok := apps[as.App]
		if !ok {
			var err error
			if a, err = s.app(ctx, as); err != nil {
				s.cfg.Log.Warn("read an assigned app; trying again", "app", as.App, "err", err)
				continue
			}
			apps[as.App] = a
		}
		s.start(ctx, a, as)
	}
}

// app is a version of an app that tasks run.
type app struct {
	plan     *siddhiql.Plan
	settings engine.Settings
	number   uint32 // of the version
	first    string // digest of the text of version 1
	scalings uint32 // how often the number of partitions has changed
}

// app returns the app of an assignment.
func (s *Service) app(ctx context.Context, as control.Assigned) (app, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatWait)
	defer cancel()
	deployed, err := s.cfg.Control.App(ctx, control.AppRequest{App: as.App})
	if err != nil {
		return app{}, err
	}
	if deployed.Index != as.Index {
		return app{}, errors.New("it was deployed again")
	}
	plan, err := siddhiql.CompileDeployed(deployed.Text)
	a := app{plan: plan, settings: deployed.Settings, number: max(deployed.Version, 1), first: deployed.Plan, scalings: deployed.Scalings}
	if err != nil || a.number == 1 {
		return a, err
	}
	history, err := s.cfg.Control.History(ctx, control.AppRequest{App: as.App})
	if err != nil {
		return app{}, err
	}
	a.first = history.Versions[0].Plan
	return a, nil
}

// leave reports that there is nothing left to give up.
func (s *Service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.alone:
	default:
		close(s.alone)
	}
}

// Leave gives up the assigned partitions. It returns once other processors have taken them
// over, if there is no other processor, or when ctx ends. Run continues.
func (s *Service) Leave(ctx context.Context) {
	s.leaving.Store(true)
	s.wake()
	select {
	case <-s.alone:
	case <-s.ended:
	case <-ctx.Done():
	}
}
