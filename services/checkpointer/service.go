package checkpointer

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/obs"
	"github.com/eventflux/eventflux/shared/ops/trace"
)

const (
	requestsMax     = 1024    // concurrent; requests of tasks wait for the end of their epoch
	requestBytesMax = 8 << 20 // a task's part has about 200 bytes per run
	decideTimeout   = 30 * time.Second
)

// Service is this process's checkpointer.
type Service struct {
	cfg    Config
	js     jetstream.JetStream
	server *control.RequestServer
	tally  tally
	beat   obs.Heartbeat // of the leader's loop

	refused chan error // receives an error if data of version 0.x cannot be taken over, or the store belongs to another cluster

	ready chan struct{} // closed: it answers requests

	mu     sync.Mutex
	leader *leader // nil while another member leads
}

// New checks the configuration. Nothing is started before Run.
func New(cfg Config) (*Service, error) {
	if err := cfg.check(); err != nil {
		return nil, fmt.Errorf("checkpointer: %w", err)
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Tracer.Tracer == nil {
		cfg.Tracer = trace.Off()
	}
	js, err := jetstream.New(cfg.Conn)
	if err != nil {
		return nil, fmt.Errorf("checkpointer: %w", err)
	}
	return &Service{cfg: cfg, js: js, refused: make(chan error, 1), ready: make(chan struct{}), server: control.NewRequestServer(cfg.Conn, requestsMax, requestBytesMax, cfg.Log)}, nil
}

// Ready is closed once the service answers requests.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Run answers requests and, while it leads, makes checkpoints, until ctx ends. An error
// means that the group has committed a command that this version does not know, that the
// leader cannot take over the data of major version 0, or that the store belongs to another
// cluster.
func (s *Service) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var requests sync.WaitGroup
	info, err := s.announce(ctx, &requests)
	if err != nil {
		cancel()
		return fmt.Errorf("checkpointer: %w", err)
	}
	requests.Go(func() { natsconn.WhenKnown(ctx, s.cfg.Conn, s.ready) })
	var leading sync.WaitGroup
	resign := func() {}
	for more := true; more; {
		select {
		case l := <-s.cfg.Raft.Leadership():
			resign()
			leading.Wait()
			resign = func() {}
			if l.Leader {
				resign = s.lead(ctx, &leading, l)
			} else {
				s.cfg.Log.Info("another checkpointer leads, or none", "term", l.Term)
			}
		case <-s.cfg.FSM.Halted():
			err = fmt.Errorf("checkpointer: %w", s.cfg.FSM.Err())
			more = false
		case err = <-s.refused:
			err = fmt.Errorf("checkpointer: %w", err)
			more = false
		case <-ctx.Done():
			more = false
		}
	}
	resign()
	leading.Wait()
	cancel()
	_ = info.Stop() // the connection may be gone already
	requests.Wait()
	return err
}

// lead starts a leadership. The caller ends it with the returned function.
func (s *Service) lead(ctx context.Context, group *sync.WaitGroup, l consensus.Leadership) context.CancelFunc {
	ctx, cancel := context.WithCancel(ctx)
	leader := newLeader(s, l.Term)
	group.Go(func() {
		first := &startup{leadership: leader.leadership, streams: leader.streams}
		err := first.checkRollback(ctx)
		if err == nil {
			err = first.takeOver(ctx)
		}
		if err != nil {
			if ctx.Err() == nil {
				s.refused <- err // there is room: the service ends after the first error
			}
			return
		}
		s.setLeader(leader)
		defer s.setLeader(nil)
		s.cfg.Log.Info("this checkpointer leads", "term", l.Term)
		leader.run(ctx)
	})
	return cancel
}

func (s *Service) setLeader(l *leader) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leader = l
}

// leading returns the current leadership, or nil.
func (s *Service) leading() *leader {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.leader
}

// announce registers the service with the NATS service registry and accepts requests.
func (s *Service) announce(ctx context.Context, group *sync.WaitGroup) (micro.Service, error) {
	info, err := micro.AddService(s.cfg.Conn, micro.Config{
		Name: natsconn.ServiceName(control.Service), Version: s.cfg.Self.Version,
		Description:  "keeps apps, orders barriers and commits checkpoints",
		Metadata:     natsconn.Where(map[string]string{"raft_id": s.cfg.Raft.ID()}),
		StatsHandler: func(*micro.Endpoint) any { return s.cfg.Raft.Status() },
	})
	if err != nil {
		return nil, fmt.Errorf("announce service: %w", err)
	}
	for verb := range s.verbs() {
		own := natsconn.ServiceSubject(control.Service, "node."+s.cfg.Raft.ID()+"."+verb)
		err := errors.Join(
			info.AddEndpoint(verb, s.endpoint(ctx, group, verb, true), micro.WithEndpointSubject(natsconn.ServiceSubject(control.Service, verb))),
			info.AddEndpoint("node-"+verb, s.endpoint(ctx, group, verb, false), micro.WithEndpointSubject(own), micro.WithEndpointQueueGroupDisabled()),
		)
		if err != nil {
			_ = info.Stop()
			return nil, fmt.Errorf("announce endpoint %s: %w", verb, err)
		}
	}
	return info, nil
}
