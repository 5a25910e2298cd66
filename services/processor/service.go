package processor

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// Service runs the tasks of its apps.
type Service struct {
	cfg   Config
	js    jetstream.JetStream
	tasks []*task

	running context.Context // ends when tasks are to end at the end of their logs
	drain   context.CancelFunc
	opening sync.WaitGroup // tasks that have not looked at the end of their logs yet
	ready   chan struct{}  // closed: there are none
	ended   chan struct{}  // closed: Run has returned
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
	js, err := cfg.jetStream()
	if err != nil {
		return nil, fmt.Errorf("processor: %w", err)
	}
	s := &Service{cfg: cfg, js: js, ready: make(chan struct{}), ended: make(chan struct{})}
	s.running, s.drain = context.WithCancel(context.Background())
	for _, app := range cfg.Apps {
		for p := range uint32(app.Partitions) {
			s.tasks = append(s.tasks, newTask(s, app, p))
		}
	}
	s.opening.Add(len(s.tasks))
	return s, nil
}

// Ready is closed once every task has taken its partition over, or halted. From
// then on frames may be appended to the logs. Before, new frames could take the
// sequences of lost ones, and hide the loss.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run creates the streams that are missing and runs all tasks until ctx ends, or
// until they have drained. A task that halts ends neither the others nor Run.
func (s *Service) Run(ctx context.Context) error {
	defer close(s.ended)
	defer s.drain()
	info, err := s.announce()
	if err != nil {
		return fmt.Errorf("processor: %w", err)
	}
	defer func() { _ = info.Stop() }() // the connection may be gone already
	var group sync.WaitGroup
	for _, t := range s.tasks {
		group.Go(func() { t.run(ctx) })
	}
	s.opening.Wait() // every task comes to this point, however it ends
	close(s.ready)
	group.Wait()
	// Where all tasks have halted, somebody has to tell why, until told to stop.
	select {
	case <-ctx.Done():
	case <-s.running.Done():
	}
	return nil
}

// Drain lets every task apply what its log holds by now and make the results
// durable, and then ends Run. It returns early with ctx's error if ctx ends.
func (s *Service) Drain(ctx context.Context) error {
	s.drain()
	select {
	case <-s.ended:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("drain processor: %w; results that are missing come with the next start", ctx.Err())
	}
}
