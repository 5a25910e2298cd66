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
	// heartbeatWait is how long one waits for its answer. Tasks run on meanwhile: what
	// keeps two from running the same partition is the fence, not the heartbeat.
	heartbeatWait = 2 * time.Second
)

// follow runs what the checkpointer assigns until ctx ends, or until the service is to
// drain.
func (s *Service) follow(ctx context.Context) error {
	nudges, err := s.cfg.Conn.Subscribe(control.NudgeSubject, func(*nats.Msg) { s.tell() })
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

// heartbeat tells the checkpointer how the tasks are, and starts and stops what its
// answer says.
func (s *Service) heartbeat(ctx context.Context) error {
	r := control.HeartbeatRequest{Processor: s.cfg.ID, Incarnation: s.incarnation, Level: engine.Level, Leaving: s.leaving.Load(), Died: s.died}
	for now, all := time.Now(), s.all(); len(all) > 0; all = all[1:] {
		t := all[0]
		report := control.TaskReport{App: t.as.App, Partition: t.as.Partition, State: string(t.status.is()), Applied: t.status.applied.Load(), Version: uint32(t.status.version.Load())}
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
			s.cfg.Log.Warn("the checkpointer does not answer; tasks go on as they are", "err", err)
		}
		return nil
	}
	s.heard.Now()
	s.openWork()
	s.adopt(ctx, answer.Assigned)
	if r.Leaving && (len(answer.Assigned) == 0 && len(s.all()) == 0 || answer.Alone) {
		s.leave()
	}
	return nil
}

// adopt stops what is not assigned any more and starts what is. A task that was fenced,
// though it is assigned here, begins again. Nothing is waited for: a task may take long to
// end, and is told of until it has.
func (s *Service) adopt(ctx context.Context, assigned []control.Assigned) {
	want := map[slot]control.Assigned{}
	for _, as := range assigned {
		want[slot{as.App, as.Partition}] = as
	}
	keeps := map[slot]bool{}
	for _, t := range s.all() {
		at := slot{t.as.App, t.as.Partition}
		as, still := want[at]
		if still && t.as.Standby && !as.Standby && t.status.is() == stateStandby {
			t.promote()
			t.as.Standby = false
		}
		if still {
			t.suspect.Store(as.Suspect)
			t.as.Suspect = as.Suspect
		}
		if still && as == t.as && !t.ending && t.status.is() != stateFenced {
			keeps[at] = true
			continue
		}
		t.ending = true
		t.cancel()
		select {
		case <-t.ended:
			s.forget(t)
		default: // it tells when it has ended
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
				s.cfg.Log.Warn("learn what is assigned; trying again", "app", as.App, "err", err)
				continue
			}
			apps[as.App] = a
		}
		s.start(ctx, a, as)
	}
}

// app is what tasks run.
type app struct {
	plan     *siddhiql.Plan
	settings engine.Settings
	number   uint32 // of the version
	first    string // digest of the text of version 1
}

// app returns that of an assignment.
func (s *Service) app(ctx context.Context, as control.Assigned) (app, error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatWait)
	defer cancel()
	deployed, err := s.cfg.Control.App(ctx, control.AppRequest{App: as.App})
	if err != nil {
		return app{}, err
	}
	if deployed.Index != as.Index {
		return app{}, errors.New("it was deployed anew")
	}
	plan, err := siddhiql.CompileDeployed(deployed.Text)
	a := app{plan: plan, settings: deployed.Settings, number: max(deployed.Version, 1), first: deployed.Plan}
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

// leave says that there is nothing left to give up.
func (s *Service) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.alone:
	default:
		close(s.alone)
	}
}

// Leave gives up what is assigned, for others to run, and returns once they have taken
// it, nobody could, or ctx has ended. Run goes on.
func (s *Service) Leave(ctx context.Context) {
	s.leaving.Store(true)
	s.tell()
	select {
	case <-s.alone:
	case <-s.ended:
	case <-ctx.Done():
	}
}
