package recovery

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	// shadowLook is how often a process looks for shadows to run, and shadowAsk how long it waits
	// for that.
	shadowLook = time.Second
	shadowAsk  = 5 * time.Second
	// rivalLook is how often a process asks whether another one runs the same shadow, and rivalAsk
	// how long it waits for an answer.
	rivalLook = 10 * time.Second
	rivalAsk  = 500 * time.Millisecond
)

// shadows runs the shadows that Raft has and that no other process runs. The results of a shadow
// are a function of the log: if two processes run one for a moment, both find the same, and
// after a restart it is run again from its checkpoint.
type shadows struct {
	s       *Service
	mu      sync.Mutex
	running map[string]*shadowRun // by app
}

// keep starts and stops shadows until ctx ends, and returns when all have stopped.
func (sh *shadows) keep(ctx context.Context) {
	tick := time.NewTicker(shadowLook)
	defer tick.Stop()
	defer func() {
		for _, run := range sh.list() {
			run.cancel()
			<-run.done
		}
	}()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if err := sh.look(ctx); err != nil && ctx.Err() == nil {
			sh.s.cfg.Log.Debug("look for shadows to run", "err", err)
		}
	}
}

// list returns a copy of the running shadows.
func (sh *shadows) list() map[string]*shadowRun {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	return maps.Clone(sh.running)
}

// look stops shadows that Raft does not have any more, and starts those that no process runs.
func (sh *shadows) look(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, shadowAsk)
	defer cancel()
	apps, err := sh.s.cfg.Control.Apps(ask)
	if err != nil {
		return err
	}
	want := map[string]*control.Shadow{}
	for i := range apps.Apps {
		if a := &apps.Apps[i]; a.Shadow != nil {
			want[a.Name] = a.Shadow
		}
	}
	for app, run := range sh.list() {
		of := want[app]
		if of != nil && of.ID == run.id && !run.over() {
			run.set(of)
			delete(want, app)
			continue
		}
		run.cancel()
		<-run.done
		sh.mu.Lock()
		delete(sh.running, app)
		sh.mu.Unlock()
	}
	for app, of := range want {
		if rival, err := sh.s.runnerOf(ctx, app); err != nil || rival != "" {
			continue // it cannot be known, or another process runs it
		}
		run, err := sh.s.startShadow(ctx, app, of)
		if err != nil {
			return err
		}
		sh.mu.Lock()
		sh.running[app] = run
		sh.mu.Unlock()
	}
	return nil
}

// runnerOf returns the id of a process that runs the shadow of an app, other than this one; "" if
// there is none.
func (s *Service) runnerOf(ctx context.Context, app string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, rivalAsk)
	defer cancel()
	m, err := s.cfg.Conn.RequestWithContext(ctx, claimSubject(app), []byte(s.id))
	switch {
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, context.DeadlineExceeded):
		return "", nil // after the timeout, this process alone has heard the request
	case err != nil:
		return "", err
	}
	return string(m.Data), nil
}

// claimSubject is where each process that runs the shadow of an app answers the others.
func claimSubject(app string) string {
	return natsconn.ServiceSubject(ServiceName, control.ShadowVerb(app)+".claim")
}

// serve answers requests about the shadow until ctx ends.
func (r *shadowRun) serve(ctx context.Context, work *sync.WaitGroup) (micro.Service, error) {
	info, err := micro.AddService(r.s.cfg.Conn, micro.Config{
		Name: natsconn.ServiceName("shadow"), Version: r.s.cfg.Version,
		Description: "compares the next version of an app with the one that runs",
		Metadata:    natsconn.Where(map[string]string{"app": r.app}),
	})
	if err != nil {
		return nil, fmt.Errorf("announce the shadow of app %s: %w", r.app, err)
	}
	report := r.s.server.Handler(work, func(q micro.Request) error {
		return answering(r.report)(ctx, q)
	})
	claim := micro.HandlerFunc(func(q micro.Request) {
		if string(q.Data()) != r.s.id {
			_ = q.Respond([]byte(r.s.id)) // the asker looks again
		}
	})
	err = errors.Join(
		info.AddEndpoint("report", report, micro.WithEndpointSubject(natsconn.ServiceSubject(ServiceName, control.ShadowVerb(r.app)))),
		info.AddEndpoint("claim", claim, micro.WithEndpointSubject(claimSubject(r.app)), micro.WithEndpointQueueGroupDisabled()),
	)
	if err != nil {
		_ = info.Stop()
		return nil, fmt.Errorf("announce the shadow of app %s: %w", r.app, err)
	}
	return info, nil
}

// yield gives the shadow up if another process runs it as well: the one with the smaller id goes
// on.
func (r *shadowRun) yield(ctx context.Context) {
	tick := time.NewTicker(rivalLook)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if rival, err := r.s.runnerOf(ctx, r.app); err == nil && rival != "" && rival < r.s.id {
			r.s.cfg.Log.Info("another process runs a shadow", "app", r.app)
			r.cancel()
		}
	}
}
