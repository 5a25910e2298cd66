package merger

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"github.com/nats-io/nuid"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

const (
	// askTimeout bounds how long a pass waits for a leader.
	askTimeout = 10 * time.Second
	// renewEvery is how often a long pass renews the lease, which lasts 15 s.
	renewEvery = 5 * time.Second
	// reportsMax bounds concurrent reports; each reads all state of an app.
	reportsMax      = 2
	requestsMax     = 64 // handled concurrently
	requestBytesMax = 1 << 20
)

// Service is this process's merger.
type Service struct {
	cfg     Config
	id      string
	log     *slog.Logger
	js      jetstream.JetStream
	commits chan struct{} // some app has a new checkpoint
	reports chan struct{} // holds one element per running report
	server  *control.RequestServer

	// State of the active merger.
	looked map[string]string   // by app: digest of the newest manifest found to need no work
	known  map[string][]string // by manifest or run: the objects that it refers to
	swept  time.Time

	counters counters
	ready    chan struct{} // closed: it answers requests
}

// counters count what the merger has done.
type counters struct {
	working                                  atomic.Bool
	swaps, chains, overtaken                 atomic.Uint64
	read, written, reused                    atomic.Uint64
	saved                                    atomic.Int64
	sweeps, sweptObjects, sweptBytes, errors atomic.Uint64

	mu        sync.Mutex
	lastSweep time.Time
	lastError string
}

// New checks the configuration. Nothing is started before Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("merger: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.SweepEvery == 0 {
		cfg.SweepEvery = sweepEveryDefault
	}
	if cfg.PackDeadMin == 0 {
		cfg.PackDeadMin = packDeadMinDefault
	}
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("merger: %w", err)
	}
	return &Service{
		cfg: cfg, id: nuid.Next(), log: cfg.Log, js: js,
		commits: make(chan struct{}, 1), reports: make(chan struct{}, reportsMax),
		server: control.NewRequestServer(cfg.Conn, requestsMax, requestBytesMax, cfg.Log),
		looked: map[string]string{}, ready: make(chan struct{}),
	}, nil
}

func (s *Service) limits() limits { return limits{s.cfg.ChainMax, s.cfg.DeltaRatio, s.cfg.PackDeadMin} }

// Ready is closed once the service answers requests.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run merges and sweeps until ctx ends.
func (s *Service) Run(ctx context.Context) error {
	var group sync.WaitGroup
	info, err := s.announce(ctx, &group)
	if err != nil {
		return fmt.Errorf("merger: %w", err)
	}
	group.Go(func() { natsconn.WhenKnown(ctx, s.cfg.Conn, s.ready) })
	group.Go(func() { s.watch(ctx) })
	tick := time.NewTicker(s.cfg.Interval)
	defer tick.Stop()
	for ctx.Err() == nil {
		s.pass(ctx)
		select {
		case <-ctx.Done():
		case <-tick.C:
		case <-s.commits:
		}
	}
	_ = info.Stop() // the connection may be gone already
	group.Wait()
	return nil
}

// pass does all work that is due, if this merger has the lease.
func (s *Service) pass(ctx context.Context) {
	lease, err := s.lease(ctx)
	s.counters.working.Store(err == nil && lease.Holder == s.id)
	if err != nil {
		s.recordError(ctx, fmt.Errorf("ask for the lease: %w", err))
		return
	}
	if lease.Holder != s.id {
		return
	}
	working, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	group.Go(func() { s.keepLease(working) })
	s.recordError(ctx, s.Work(ctx))
	cancel()
	group.Wait()
}

// Work makes one pass: it merges the chains that are due, and sweeps if it is time. One
// merger must not call it concurrently; several mergers may work at the same time.
func (s *Service) Work(ctx context.Context) error {
	live, err := s.live(ctx, control.LiveRequest{})
	if err != nil {
		return fmt.Errorf("ask what is live: %w", err)
	}
	var errs []error
	for i := range live.Apps {
		errs = append(errs, s.mergeApp(ctx, &live.Apps[i], live.Time))
	}
	if now := time.Now(); now.Sub(s.swept) >= s.cfg.SweepEvery {
		s.swept = now
		errs = append(errs, s.sweep(ctx))
	}
	return errors.Join(errs...)
}

func (s *Service) lease(ctx context.Context) (control.Lease, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.cfg.Control.Lease(ctx, control.LeaseRequest{ID: s.id})
}

func (s *Service) live(ctx context.Context, r control.LiveRequest) (control.Live, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	return s.cfg.Control.Live(ctx, r)
}

// keepLease renews the lease until ctx ends. If a renewal fails, another merger may start
// to work too.
func (s *Service) keepLease(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_, _ = s.lease(ctx)
		}
	}
}

// recordError counts and logs an error. The next pass tries again.
func (s *Service) recordError(ctx context.Context, err error) {
	if err == nil || ctx.Err() != nil {
		return
	}
	s.counters.errors.Add(1)
	s.counters.mu.Lock()
	s.counters.lastError = err.Error()
	s.counters.mu.Unlock()
	s.log.Warn("a pass of the merger failed; it tries again", "in", s.cfg.Interval, "err", err)
}

func (c *counters) swept(at time.Time) {
	c.sweeps.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lastSweep = at
}

// watch wakes the merger after each commit until ctx ends. While it cannot watch, the
// merger works at each interval.
func (s *Service) watch(ctx context.Context) {
	for ctx.Err() == nil {
		err := s.watchOnce(ctx)
		if err != nil && ctx.Err() == nil {
			s.log.Debug("watch the cluster's bucket; trying again", "bucket", natsconn.ClusterBucket, "err", err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(s.cfg.Interval):
		}
	}
}

func (s *Service) watchOnce(ctx context.Context) error {
	bucket, err := s.js.KeyValue(ctx, natsconn.ClusterBucket)
	if err != nil {
		return err
	}
	watch, err := bucket.Watch(ctx, control.CheckpointKey("*"), jetstream.MetaOnly())
	if err != nil {
		return err
	}
	defer func() { _ = watch.Stop() }() // the connection may be gone already
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, open := <-watch.Updates():
			if !open {
				return errors.New("the watch has ended")
			}
			if e == nil {
				continue // end of the initial values
			}
			select {
			case s.commits <- struct{}{}:
			default:
			}
		}
	}
}

// Status returns what the merger has done so far.
func (s *Service) Status() control.MergerStatus {
	c := &s.counters
	c.mu.Lock()
	defer c.mu.Unlock()
	return control.MergerStatus{
		ID: s.id, Working: c.working.Load(),
		Swaps: c.swaps.Load(), Chains: c.chains.Load(), Overtaken: c.overtaken.Load(),
		BytesRead: c.read.Load(), BytesWritten: c.written.Load(), BytesReused: c.reused.Load(), BytesSaved: c.saved.Load(),
		Sweeps: c.sweeps.Load(), LastSweep: c.lastSweep, SweptObjects: c.sweptObjects.Load(), SweptBytes: c.sweptBytes.Load(),
		Errors: c.errors.Load(), LastError: c.lastError,
	}
}

// announce registers the service with the NATS service registry and accepts requests.
func (s *Service) announce(ctx context.Context, group *sync.WaitGroup) (micro.Service, error) {
	info, err := micro.AddService(s.cfg.Conn, micro.Config{
		Name: natsconn.ServiceName(control.MergerService), Version: s.cfg.Version,
		Description:  "folds chains of runs, and deletes what nothing refers to",
		Metadata:     natsconn.Where(map[string]string{"merger_id": s.id}),
		StatsHandler: func(*micro.Endpoint) any { return s.Status() },
	})
	if err != nil {
		return nil, fmt.Errorf("announce service: %w", err)
	}
	for verb, answer := range map[string]func(micro.Request) error{
		control.VerbMergerStatus: func(r micro.Request) error { return r.RespondJSON(s.Status()) },
		control.VerbChains:       func(r micro.Request) error { return s.answerChains(ctx, r) },
	} {
		err := info.AddEndpoint(verb, s.server.Handler(group, answer), micro.WithEndpointSubject(natsconn.ServiceSubject(control.MergerService, verb)))
		if err != nil {
			_ = info.Stop()
			return nil, fmt.Errorf("announce endpoint %s: %w", verb, err)
		}
	}
	return info, nil
}

func (s *Service) answerChains(ctx context.Context, r micro.Request) error {
	var request control.AppRequest
	if err := control.Parse(r.Data(), &request); err != nil {
		return err
	}
	select {
	case s.reports <- struct{}{}:
		defer func() { <-s.reports }()
	default:
		return &control.Error{Code: control.CodeUnavailable, Text: fmt.Sprintf("%d reports are being made; try again", reportsMax)}
	}
	report, err := s.Chains(ctx, request.App)
	if err != nil {
		return err
	}
	return r.RespondJSON(report)
}
