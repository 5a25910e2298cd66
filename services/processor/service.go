package processor

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/eventflux/eventflux/services/processor/view"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/obs"
	"github.com/eventflux/eventflux/shared/ops/trace"
)

// Service runs the tasks that are assigned to it.
type Service struct {
	cfg         Config
	js          jetstream.JetStream
	viewJS      jetstream.JetStream    // of views
	denied      atomic.Pointer[string] // a subject that the server refuses to publish to
	incarnation string
	changed     chan struct{} // wakes follow to send a heartbeat

	mu    sync.Mutex
	tasks map[slot]*assignedTask

	died       *control.Died // the frames that an earlier process was applying when it died; nil once reported
	work       *workFile     // the frames that this process applies; nil until died is reported, or without a file
	workFailed atomic.Bool   // a failure to write the file is logged
	frames     sync.RWMutex  // read-locked while a frame is applied, write-locked for a suspected frame

	running context.Context // ends when tasks have to stop at the end of their logs
	drain   context.CancelFunc
	leaving atomic.Bool
	alone   chan struct{} // closed: nothing is assigned any more, or no other processor could take it over
	beat    obs.Heartbeat // of follow
	heard   obs.Heartbeat // of the checkpointer's answers
	emitted *prometheus.HistogramVec
	refused *prometheus.CounterVec
	ready   chan struct{} // closed: it answers requests
	ended   chan struct{} // closed: Run has returned
}

// slot is a partition of an app.
type slot struct {
	app       string
	partition uint32
}

// assignedTask is a task with its assignment.
type assignedTask struct {
	*task
	as      control.Assigned
	promote func() // promotes a standby
	cancel  context.CancelFunc
	ending  bool // cancelled: it does not come back, even if it is assigned again before it has ended
	ended   chan struct{}
}

// New checks the configuration. Nothing is started or created before Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("processor: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.BatchMessagesMax == 0 {
		cfg.BatchMessagesMax = batchMessagesDefault
	}
	if cfg.FullEvery == 0 {
		cfg.FullEvery = fullEveryDefault
	}
	if cfg.Workers == 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Tracer.Tracer == nil {
		cfg.Tracer = trace.Off()
	}
	js, err := cfg.jetStream()
	if err != nil {
		return nil, fmt.Errorf("processor: %w", err)
	}
	viewJS, err := jetstream.New(cfg.Conn, jetstream.WithPublishAsyncTimeout(view.PublishTimeout))
	if err != nil {
		return nil, fmt.Errorf("processor: %w", err)
	}
	s := &Service{
		cfg: cfg, js: js, viewJS: viewJS, incarnation: nuid.Next(), changed: make(chan struct{}, 1),
		tasks: map[slot]*assignedTask{}, alone: make(chan struct{}), ready: make(chan struct{}), ended: make(chan struct{}), emitted: newEmitted(), refused: newRefused(),
	}
	s.running, s.drain = context.WithCancel(context.Background())
	return s, nil
}

// Ready is closed once the service answers requests.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run runs the assigned tasks until ctx ends, or until it has drained. A task whose streams
// do not exist waits for them. A task that halts ends neither other tasks nor Run. An error
// means that another process has started under the same name, or that the checkpointer has
// another major version.
func (s *Service) Run(ctx context.Context) error {
	defer close(s.ended)
	defer s.drain()
	s.readWork()
	defer s.closeWork()
	s.hearDenied()
	info, err := s.announce()
	if err != nil {
		return fmt.Errorf("processor: %w", err)
	}
	defer func() { _ = info.Stop() }() // the connection may be gone already
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	reporting, stop := context.WithCancel(ctx)
	var reports sync.WaitGroup
	defer reports.Wait()
	defer stop()
	reports.Go(func() { natsconn.WhenKnown(reporting, s.cfg.Conn, s.ready) })
	reports.Go(func() { s.reportFlow(reporting) })
	if s.cfg.Control != nil {
		err = s.follow(ctx)
	} else {
		s.runAll(ctx)
	}
	if err != nil {
		cancel()
		err = fmt.Errorf("processor: %w", err)
	}
	for _, t := range s.all() {
		<-t.ended
	}
	return err
}

// runAll runs every partition of the configured apps until the service has to drain or ctx
// ends.
func (s *Service) runAll(ctx context.Context) {
	for _, plan := range s.cfg.Apps {
		for p := range uint32(plan.Partitions) {
			s.start(ctx, app{plan: plan, settings: s.cfg.Settings, number: 1, first: plan.Digest}, control.Assigned{App: plan.Name, Partition: p})
		}
	}
	select {
	case <-ctx.Done():
	case <-s.running.Done():
	}
}

func (s *Service) start(ctx context.Context, a app, as control.Assigned) {
	ctx, cancel := context.WithCancel(ctx)
	t := &assignedTask{task: newTask(s, a, as.Partition), as: as, cancel: cancel, ended: make(chan struct{})}
	t.suspect.Store(as.Suspect)
	if s.work != nil {
		s.logWorkError(s.work.add(as))
	}
	if as.Standby {
		t.standby = newStandby()
		t.promote = t.standby.promote
	}
	s.mu.Lock()
	s.tasks[slot{as.App, as.Partition}] = t
	s.mu.Unlock()
	go func() {
		defer s.wake()
		defer close(t.ended)
		defer cancel()
		t.run(ctx)
	}()
}

// forget drops a task that has ended.
func (s *Service) forget(t *assignedTask) {
	s.emitted.DeleteLabelValues(t.as.App, decimal(t.as.Partition))
	if s.work != nil {
		s.logWorkError(s.work.remove(slot{t.as.App, t.as.Partition}))
	}
	s.mu.Lock()
	delete(s.tasks, slot{t.as.App, t.as.Partition})
	s.mu.Unlock()
}

func (s *Service) all() []*assignedTask {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.tasks))
}

// wake makes follow send a heartbeat with the states of the tasks at once.
func (s *Service) wake() {
	select {
	case s.changed <- struct{}{}:
	default: // a wake-up is pending
	}
}

// Drain lets every task apply the frames that its log holds now and make the results durable,
// and then ends Run. It returns early with the error of ctx if ctx ends.
func (s *Service) Drain(ctx context.Context) error {
	s.drain()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain processor: %w; the next start publishes the missing results", ctx.Err())
	}
}
