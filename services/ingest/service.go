package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"eventflux/shared/bus"
	"eventflux/shared/control"
	"eventflux/shared/obs"
	"eventflux/shared/wal"
)

// Service accepts events for a set of apps.
type Service struct {
	cfg       Config
	sources   []*source
	logs      []*log
	links     []*link
	js        jetstream.JetStream // of links
	patterns  []string
	listing   string // the streams that exist
	dead      *deadLetters
	counters  counters
	appended  *prometheus.HistogramVec
	beat      obs.Beat // of watch
	acks      sync.Pool
	id        string // of this run of the process, in leases
	leaseBeat time.Duration
	ready     chan struct{}
}

// New checks cfg and returns a service, which does nothing before Run.
func New(cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, ready: make(chan struct{}), id: nuid.Next(), leaseBeat: leaseBeat}
	s.sources, s.logs = newSources(cfg.Plans)
	for _, src := range s.sources {
		src.keyMax = cfg.keyMaxOf(src.app.Name)
	}
	s.patterns, s.listing = patterns(s.sources), listing(s.sources)
	if s.js, err = jetstream.New(cfg.Conn); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if s.links, err = newLinks(s); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	s.acks.New = func() any { return &ack{s: s} }
	s.appended = newAppended()
	for _, l := range s.logs {
		took := s.appended.WithLabelValues(l.app, decimal(l.part))
		l.writer, err = wal.NewWriter(wal.WriterConfig{
			Acknowledged: func(seq uint64, d time.Duration) {
				l.flow.end.Store(seq)
				took.Observe(d.Seconds())
			},
			Conn: cfg.LogConn, App: l.app, Partition: l.part, Codec: cfg.Codec, Log: cfg.Log, Witness: cfg.Witness,
			PendingBytesMax: math.MaxInt, // MemoryMax bounds all logs together
		})
		if err != nil {
			return nil, fmt.Errorf("ingest: %w", err)
		}
	}
	s.dead, err = newDeadLetters(cfg.LogConn, &s.counters)
	return s, err
}

// Ready is closed once events are accepted.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run accepts events until ctx ends, then stops: what the server has delivered is
// handled, made durable and answered, for at most the stop timeout. It returns
// nil, or why it could not start or go on: a bus.ErrNoStream if a stream of an app is not
// there. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	if err := s.findStreams(ctx); err != nil {
		if ctx.Err() != nil {
			return nil // stopped before it had begun
		}
		return err
	}
	// What is accepted outlives ctx, until it is durable.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)

	var group errgroup.Group
	for _, l := range s.logs {
		group.Go(func() error {
			err := l.writer.Run(work)
			if err != nil {
				fail(err) // no event can be accepted for one app alone
			}
			return err
		})
	}
	group.Go(func() error { return s.dead.run(work) })

	intakes, err := s.openIntakes()
	if err == nil {
		err = s.serve(ctx, intakes)
	}
	s.stop(intakes)
	cancel()
	return errors.Join(err, group.Wait())
}

// serve is the time between start and stop.
func (s *Service) serve(ctx context.Context, intakes []*intake) error {
	info, err := s.openInfo()
	if err != nil {
		return err
	}
	reports, err := control.SubscribeFlow(s.cfg.Conn, s.hearFlow)
	if err != nil {
		return errors.Join(fmt.Errorf("ingest: %w", err), info.Stop())
	}
	defer func() { _ = reports.Unsubscribe() }() // the connection may be gone already
	alive, err := s.cfg.Conn.Subscribe(readerSubject(s.id), func(*nats.Msg) {})
	if err != nil {
		return errors.Join(fmt.Errorf("ingest: subscribe: %w", err), info.Stop())
	}
	defer func() { _ = alive.Unsubscribe() }()
	if err := s.cfg.Conn.Flush(); err != nil && ctx.Err() == nil {
		return errors.Join(fmt.Errorf("ingest: subscribe: %w", err), info.Stop())
	}
	close(s.ready)
	var links sync.WaitGroup
	for _, l := range s.links {
		links.Go(func() { l.run(ctx) })
	}
	s.watch(ctx, intakes)
	links.Wait() // what they have appended is made durable and acknowledged by stop
	return info.Stop()
}

// findStreams looks for the logs and the dead letters' streams.
func (s *Service) findStreams(ctx context.Context) error {
	js, err := jetstream.New(s.cfg.LogConn)
	if err != nil {
		return fmt.Errorf("ingest: %w", err)
	}
	for _, l := range s.logs {
		if _, err := bus.FindWAL(ctx, js, l.app, l.part); err != nil {
			return fmt.Errorf("ingest: log of %s/%d: %w", l.app, l.part, err)
		}
	}
	for _, p := range s.cfg.Plans {
		if _, err := bus.FindDLQ(ctx, js, p.Name); err != nil {
			return fmt.Errorf("ingest: dead letters of %s: %w", p.Name, err)
		}
	}
	return nil
}

// stop ends intake, and waits until what was accepted is durable and answered.
func (s *Service) stop(intakes []*intake) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StopTimeout)
	defer cancel()
	for _, in := range intakes {
		in.drain(ctx)
	}
	var group errgroup.Group
	for _, l := range s.logs {
		group.Go(func() error { return l.writer.Close(ctx) })
	}
	err := errors.Join(group.Wait(), s.dead.close(ctx), s.cfg.Conn.FlushWithContext(ctx))
	if err != nil {
		s.cfg.Log.Warn("ingest stops before all is durable; publishers without an answer must repeat",
			"bytes_waiting", s.counters.waiting.Load(), "err", err)
	}
	s.logCounters(true)
}
