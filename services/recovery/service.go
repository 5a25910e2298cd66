package recovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	requestsMax     = 64 // handled concurrently
	rebuildsMax     = 2  // concurrent rebuilds, which hold state in memory; others wait
	requestBytesMax = 1 << 20
)

// Service is this process's recovery service.
type Service struct {
	cfg      Config
	js       jetstream.JetStream
	id       string // prefix of the ids of this process's jobs
	server   *control.RequestServer
	rebuilds chan struct{} // holds one element per rebuild that has state in memory
	jobs     *jobs
	shadows  shadows
	rates    rates
	ready    chan struct{} // closed: it answers requests
}

// New checks the configuration. Nothing is started before Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("recovery: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("recovery: %w", err)
	}
	s := &Service{cfg: cfg, js: js, id: nuid.Next(), server: control.NewRequestServer(cfg.Conn, requestsMax, requestBytesMax, cfg.Log), rebuilds: make(chan struct{}, rebuildsMax), ready: make(chan struct{})}
	s.jobs = newJobs(s)
	s.shadows = shadows{s: s, running: map[string]*shadowRun{}}
	return s, nil
}

// Ready is closed once the service answers requests.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run answers requests until ctx ends, which also ends the jobs.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	info, err := s.announce(ctx, &work)
	if err != nil {
		cancel()
		return fmt.Errorf("recovery: %w", err)
	}
	work.Go(func() { natsconn.WhenKnown(ctx, s.cfg.Conn, s.ready) })
	work.Go(func() { s.shadows.keep(ctx) })
	<-ctx.Done()
	cancel()
	_ = info.Stop() // the connection may be gone already
	work.Wait()
	return nil
}

// announce registers the service with the NATS service registry and accepts requests. Any free
// instance answers, but only the instance that runs a job knows it.
func (s *Service) announce(ctx context.Context, work *sync.WaitGroup) (micro.Service, error) {
	info, err := micro.AddService(s.cfg.Conn, micro.Config{
		Name: natsconn.ServiceName(ServiceName), Version: s.cfg.Version,
		Description: "plans and makes recoveries, verifies checkpoints, and shows state of any instant",
		Metadata:    natsconn.Where(nil),
	})
	if err != nil {
		return nil, fmt.Errorf("announce service: %w", err)
	}
	endpoint := func(v verb) micro.Handler {
		return s.server.Handler(work, func(r micro.Request) error { return v(ctx, r) })
	}
	var errs []error
	for name, v := range s.verbs(ctx, work) {
		errs = append(errs, info.AddEndpoint(name, endpoint(v), micro.WithEndpointSubject(natsconn.ServiceSubject(ServiceName, name))))
	}
	own := natsconn.ServiceSubject(ServiceName, "node."+s.id+"."+VerbJob)
	errs = append(errs, info.AddEndpoint("node-"+VerbJob, endpoint(answering(s.ownJob)),
		micro.WithEndpointSubject(own), micro.WithEndpointQueueGroupDisabled()))
	if err := errors.Join(errs...); err != nil {
		_ = info.Stop()
		return nil, fmt.Errorf("announce endpoints: %w", err)
	}
	return info, nil
}

// verb answers one request.
type verb func(ctx context.Context, r micro.Request) error

func (s *Service) verbs(life context.Context, work *sync.WaitGroup) map[string]verb {
	return map[string]verb{
		VerbPlan:  answering(s.plan),
		VerbState: answering(s.state),
		VerbDiff:  answering(s.diff),
		VerbVerify: answering(func(ctx context.Context, r *VerifyRequest) (any, error) {
			return s.startVerify(ctx, life, work, r)
		}),
		VerbRestore: answering(func(ctx context.Context, r *RestoreRequest) (any, error) {
			return s.startRestore(ctx, life, work, r)
		}),
		VerbJob:    s.job,
		VerbObject: s.object,
	}
}

// answering makes a verb of a function with a JSON request and answer.
func answering[T any](answer func(context.Context, *T) (any, error)) verb {
	return func(ctx context.Context, r micro.Request) error {
		request := new(T)
		if err := control.Parse(r.Data(), request); err != nil {
			return err
		}
		got, err := answer(ctx, request)
		if err != nil {
			return err
		}
		return r.RespondJSON(got)
	}
}

func failure(code, format string, args ...any) error {
	return &control.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// rebuilding waits until this rebuild may hold state in memory. The caller must call the
// returned function when it is done.
func (s *Service) rebuilding(ctx context.Context) (func(), error) {
	select {
	case s.rebuilds <- struct{}{}:
		return func() { <-s.rebuilds }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
