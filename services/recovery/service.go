package recovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"

	"eventflux/shared/bus"
	"eventflux/shared/checkpoint"
	"eventflux/shared/control"
	"eventflux/shared/state"
	"eventflux/shared/store"
)

const (
	requestsMax     = 64 // answered at once
	rebuildsMax     = 2  // that hold state in memory at once; others wait
	requestBytesMax = 1 << 20
)

// Service is this process's recovery service.
type Service struct {
	cfg      Config
	js       jetstream.JetStream
	id       string        // begins the ids of this process's jobs
	slots    chan struct{} // one for each request that is being answered
	rebuilds chan struct{} // one for each that holds state in memory
	jobs     *jobs
	rates    rates
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
	s := &Service{cfg: cfg, js: js, id: nuid.Next(), slots: make(chan struct{}, requestsMax), rebuilds: make(chan struct{}, rebuildsMax)}
	s.jobs = newJobs(s)
	return s, nil
}

// Run answers requests until ctx ends. Jobs end with it.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var work sync.WaitGroup
	info, err := s.announce(ctx, &work)
	if err != nil {
		cancel()
		return fmt.Errorf("recovery: %w", err)
	}
	<-ctx.Done()
	cancel()
	_ = info.Stop() // the connection may be gone already
	work.Wait()
	return nil
}

// announce makes the service known to the NATS service registry and takes requests.
// Whoever of several such services is free answers; only of its jobs each knows alone.
func (s *Service) announce(ctx context.Context, work *sync.WaitGroup) (micro.Service, error) {
	info, err := micro.AddService(s.cfg.Conn, micro.Config{
		Name: bus.ServiceName(ServiceName), Version: s.cfg.Version,
		Description: "plans and makes recoveries, verifies checkpoints, and shows state of any instant",
		Metadata:    bus.Where(nil),
	})
	if err != nil {
		return nil, fmt.Errorf("announce service: %w", err)
	}
	var errs []error
	for name, v := range s.verbs(ctx, work) {
		errs = append(errs, info.AddEndpoint(name, s.endpoint(ctx, work, v), micro.WithEndpointSubject(bus.ServiceSubject(ServiceName, name))))
	}
	own := bus.ServiceSubject(ServiceName, "node."+s.id+"."+VerbJob)
	errs = append(errs, info.AddEndpoint("node-"+VerbJob, s.endpoint(ctx, work, answering(s.ownJob)),
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

// answering makes a verb of a function of JSON.
func answering[T any](answer func(context.Context, *T) (any, error)) verb {
	return func(ctx context.Context, r micro.Request) error {
		request := new(T)
		if err := parse(r.Data(), request); err != nil {
			return err
		}
		got, err := answer(ctx, request)
		if err != nil {
			return err
		}
		return r.RespondJSON(got)
	}
}

func parse(data []byte, request any) error {
	if len(data) == 0 {
		return nil
	}
	if err := json.Unmarshal(data, request); err != nil {
		return failure(control.CodeInvalid, "the request is not what it should be: %v; docs/api.md shows each", err)
	}
	return nil
}

func failure(code, format string, args ...any) error {
	return &control.Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

func (s *Service) endpoint(ctx context.Context, work *sync.WaitGroup, v verb) micro.Handler {
	return micro.HandlerFunc(func(r micro.Request) {
		if n := len(r.Data()); n > requestBytesMax {
			_ = r.Error(control.CodeTooLarge, fmt.Sprintf("a request of %d bytes, limit %d", n, requestBytesMax), nil)
			return
		}
		select {
		case s.slots <- struct{}{}:
		default:
			_ = r.Error(control.CodeUnavailable, fmt.Sprintf("%d requests are being answered; try again", requestsMax), nil)
			return
		}
		work.Go(func() {
			defer func() { <-s.slots }()
			if err := v(ctx, r); err != nil {
				code, text := codeOf(err), err.Error()
				_ = r.Error(code, text, nil) // whoever asked may have gone
			}
		})
	})
}

// codeOf says what the one who asked can do about an error.
func codeOf(err error) string {
	var version *state.VersionError
	switch code := control.Code(err); {
	case code != "":
		return code
	case errors.Is(err, checkpoint.ErrCorrupt), errors.Is(err, checkpoint.ErrVersion), errors.As(err, &version):
		return control.CodeInternal
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded), errors.Is(err, store.ErrLost):
		return control.CodeUnavailable
	}
	return control.CodeInternal
}

// rebuilding waits for its turn to hold state in memory. The caller calls what it
// returns when it is done.
func (s *Service) rebuilding(ctx context.Context) (func(), error) {
	select {
	case s.rebuilds <- struct{}{}:
		return func() { <-s.rebuilds }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
