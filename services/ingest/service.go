package ingest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/ops/obs"
)

// Service accepts events for a set of apps, which may change while it runs.
type Service struct {
	cfg       Config
	js        jetstream.JetStream // of links
	logJS     jetstream.JetStream // of the logs and dead letters
	listener  *listener
	dead      *deadLetters
	counters  counters
	appended  *prometheus.HistogramVec
	beat      obs.Heartbeat // of watch
	acks      sync.Pool
	id        string // of this run of the process, in leases
	leaseBeat time.Duration
	ready     chan struct{}
	news      chan struct{}          // the state of an app has changed
	denied    atomic.Pointer[string] // a subject that the server refuses to publish to

	// table is replaced under changing.
	table atomic.Pointer[table]
	// handling is held while a message of a publisher is handled. It guards intake and
	// unit.refusing.
	handling sync.Mutex
	intake   *intake

	// changing is held while the apps, the table and the subscriptions change.
	changing sync.Mutex
	taking   context.Context // ends when no more results of other apps are accepted; nil before Run
	work     context.Context // ends when writers stop making events durable
	running  sync.WaitGroup  // units

	mu     sync.Mutex // guards what follows
	units  map[string]*unit
	ending map[*unit]bool // no longer served, but not all events that they accepted are durable
}

// New checks cfg and returns a service without apps, which does nothing before Run.
func New(cfg Config) (*Service, error) {
	cfg, err := cfg.withDefaults()
	if err != nil {
		return nil, err
	}
	s := &Service{cfg: cfg, ready: make(chan struct{}), news: make(chan struct{}, 1), units: map[string]*unit{}, ending: map[*unit]bool{}, id: nuid.Next(), leaseBeat: leaseBeat}
	if s.js, err = jetstream.New(cfg.Conn); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	if s.logJS, err = jetstream.New(cfg.LogConn); err != nil {
		return nil, fmt.Errorf("ingest: %w", err)
	}
	s.acks.New = func() any { return &ack{s: s} }
	s.appended = newAppended()
	s.intake = newIntake(s)
	s.listener = newListener(s)
	s.table.Store(newTable(nil))
	s.dead, err = newDeadLetters(cfg.LogConn, &s.counters)
	return s, err
}

// Ready is closed once the service runs and each app that Serve got before Run is served, or
// cannot be served for a known reason. It is closed after a minute in any case.
func (s *Service) Ready() <-chan struct{} { return s.ready }

// Serve serves exactly these apps from now on. It returns at once; Apps returns the state of
// each app. Apps that stay are served without interruption. An app that is new to a running
// service gets events as soon as it is ready. The apps that the service starts with were
// served before: until such an app is ready, its publishers get an error, and no other app
// gets events that it would miss.
func (s *Service) Serve(apps []App) {
	s.changing.Lock()
	defer s.changing.Unlock()
	gone := map[string]*unit{}
	for _, u := range s.all() {
		gone[u.name] = u
	}
	var added []*unit
	changed := false
	for _, a := range apps {
		before := gone[a.Name]
		if before != nil && before.index == a.Index {
			same := before.appState().Version == a.Version
			if as := before.paused == a.Paused && before.scalings == a.Scalings; as && (same || before.change(a)) {
				delete(gone, a.Name)
				changed = changed || !same
				continue
			}
		}
		u := newUnit(s, a)
		u.joined = (s.taking == nil || u.paused) && u.problem == nil
		if before != nil && s.taking != nil {
			u.before = before.ended
		}
		added = append(added, u)
	}
	s.mu.Lock()
	for name := range gone {
		delete(s.units, name)
	}
	for _, u := range added {
		s.units[u.name] = u
	}
	s.mu.Unlock()
	if (len(gone) > 0 || changed) && s.taking != nil {
		if err := s.reroute(); err != nil && s.taking.Err() == nil {
			s.cfg.Log.Warn("ingest stays subscribed to subjects that no app reads, until apps change again", "err", err)
		}
	}
	for _, u := range gone {
		s.end(u)
	}
	for _, u := range added {
		s.start(u)
	}
	s.notify()
}

// start runs a unit, if the service runs. The caller holds changing.
func (s *Service) start(u *unit) {
	if s.taking == nil {
		return
	}
	ctx, cancel := context.WithCancel(s.work)
	u.cancel = cancel
	s.running.Go(func() { u.run(ctx) })
}

// end ends a unit that was started, if the service runs. The caller holds changing.
func (s *Service) end(u *unit) {
	if s.taking == nil {
		return
	}
	s.mu.Lock()
	s.ending[u] = true
	s.mu.Unlock()
	u.cancel()
	s.running.Go(func() {
		<-u.ended
		s.mu.Lock()
		delete(s.ending, u)
		if s.units[u.name] == nil {
			s.appended.DeletePartialMatch(prometheus.Labels{"app": u.name})
		}
		s.mu.Unlock()
		s.notify()
	})
}

// unit returns the unit of an app, or nil.
func (s *Service) unit(app string) *unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.units[app]
}

// all returns the units by the names of their apps.
func (s *Service) all() []*unit {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*unit, 0, len(s.units))
	for _, u := range s.units {
		all = append(all, u)
	}
	slices.SortFunc(all, func(a, b *unit) int { return strings.Compare(a.name, b.name) })
	return all
}

// reroute routes messages to the units that have joined, and returns once the server has the
// subscriptions. The caller holds changing.
func (s *Service) reroute() error {
	for {
		joined := slices.DeleteFunc(s.all(), func(u *unit) bool { return !u.joined })
		t := newTable(joined)
		s.handling.Lock() // the message that is being handled uses the former table
		s.table.Store(t)
		s.handling.Unlock()
		denied, err := s.listener.listen(s.taking, t.patterns)
		if leaveOut(joined, denied) {
			continue
		}
		s.listener.keep(t.patterns)
		return err
	}
}

// leaveOut leaves out the units that need a subscription that the server refuses, and reports
// whether there are any. The caller holds changing.
func leaveOut(joined []*unit, denied []string) (some bool) {
	for _, u := range joined {
		if i := slices.IndexFunc(denied, u.reads); i >= 0 {
			u.joined, some = false, true
			u.fail(&deniedError{denied[i]})
		}
	}
	return some
}

// heed leaves out the apps that need a subscription that the server refuses, either when it
// is made again after a disconnection or because the permissions have changed.
func (s *Service) heed(pattern string) {
	s.listener.mu.Lock()
	s.listener.forget(pattern)
	s.listener.mu.Unlock()
	for _, u := range s.all() {
		if u.reads(pattern) {
			u.fail(&deniedError{pattern})
		}
	}
}

// notify reports that the state of an app has changed.
func (s *Service) notify() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Run accepts events until ctx ends. Then it stops: it handles the delivered messages, makes
// their events durable and answers them, for at most the stop timeout. It returns nil, or
// why it could not start or continue. It may be called once.
func (s *Service) Run(ctx context.Context) error {
	// Accepted events are made durable even after ctx ends.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	letters, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	var group errgroup.Group
	group.Go(func() error { return s.dead.run(letters) })
	taking, end := context.WithCancel(ctx)
	s.listener.begin()
	told := s.cfg.Conn.ErrorHandler()
	s.cfg.Conn.SetErrorHandler(func(nc *nats.Conn, sub *nats.Subscription, err error) {
		if told != nil {
			told(nc, sub, err)
		}
		s.noteDenied(err)
		if pattern := deniedPattern(err); pattern != "" {
			s.heed(pattern)
		}
	})
	err := s.serve(ctx, taking, work)
	end()
	s.stop(cancel)
	giveUp()
	return errors.Join(err, group.Wait())
}

// begin subscribes, and starts the existing units.
func (s *Service) begin(taking, work context.Context) {
	s.changing.Lock()
	defer s.changing.Unlock()
	s.taking, s.work = taking, work
	if err := s.reroute(); err != nil && taking.Err() == nil {
		s.cfg.Log.Warn("NATS does not confirm the subscriptions; they are made once it can be reached", "err", err)
	}
	for _, u := range s.all() {
		s.start(u)
	}
	s.notify()
}

// serve is the time between start and stop.
func (s *Service) serve(ctx, taking, work context.Context) error {
	info, err := s.openInfo()
	if err != nil {
		return err
	}
	reports, err := control.SubscribeFlow(s.cfg.Conn, s.hearFlow)
	if err != nil {
		return errors.Join(fmt.Errorf("ingest: %w", err), info.Stop())
	}
	defer func() { _ = reports.Unsubscribe() }() // the connection may be gone already
	// Other processes take over a lease if there is no subscriber here, so subscribe first.
	alive, err := s.cfg.Conn.Subscribe(readerSubject(s.id), func(*nats.Msg) {})
	if err != nil {
		return errors.Join(fmt.Errorf("ingest: subscribe: %w", err), info.Stop())
	}
	defer func() { _ = alive.Unsubscribe() }()
	s.begin(taking, work)
	return errors.Join(s.watch(ctx), info.Stop())
}

// stop ends intake, and waits until accepted events are durable and answered.
func (s *Service) stop(cancel context.CancelFunc) {
	ctx, done := context.WithTimeout(context.Background(), s.cfg.StopTimeout)
	defer done()
	s.changing.Lock()
	err := s.listener.end(ctx)
	s.changing.Unlock()
	cancel() // units close their logs
	s.running.Wait()
	err = errors.Join(err, s.dead.close(ctx), s.cfg.Conn.FlushWithContext(ctx))
	if err != nil {
		s.cfg.Log.Warn("ingest stops before everything is durable; publishers without an answer must repeat",
			"bytes_waiting", s.counters.waiting.Load(), "err", err)
	}
	s.logCounters(true)
}
