package ingest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/lang/subject"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/log/output"
	"github.com/eventflux/eventflux/shared/log/wal"
)

const (
	unitWaitMin = 100 * time.Millisecond // between two attempts to serve an app
	unitWaitMax = 5 * time.Second
	// findAtOnce is how many streams of an app are looked up in parallel.
	findAtOnce  = 8
	findTimeout = 5 * time.Second
)

// App is an app to be served.
type App struct {
	Name string
	// Index is the Raft index of its deployment: each deployment of a name has another one.
	Index uint64
	// Version is the version of the app that Plan has. All logs have its frame.
	Version uint32
	Plan    *siddhiql.Plan
	// KeyBytesMax is the longest text that may be a key in the app (limits.key_bytes_max of
	// its deployment); zero is the default.
	KeyBytesMax int64
	// DedupWindow is how long, in ms, tasks of the app remember message ids (dedup.window of
	// its deployment); zero is the default.
	DedupWindow int64
	// Scalings is how often the number of partitions has changed. Paused says that it is
	// changing: events are refused until that is done.
	Scalings uint32
	Paused   bool
	// Problem is why there is no plan; then the app is left out.
	Problem error
}

// State says whether an app is served.
type State string

// The states.
const (
	Starting State = "starting" // its logs are being looked up
	Serving  State = "serving"  // its events are accepted
	Waiting  State = "waiting"  // its events are refused until a problem is over
	LeftOut  State = "left out" // it cannot be served as it is, and gets no events
)

// AppState is the state of an app, with a reason.
type AppState struct {
	App     string `json:"app"`
	Index   uint64 `json:"index"` // of its deployment
	Version uint32 `json:"version,omitempty"`
	State   State  `json:"state"`
	Reason  string `json:"reason,omitempty"` // of waiting and left out
}

// pausedText is why the events of an app are refused while it is being scaled.
const pausedText = "the number of its partitions is being changed; publish again in a moment"

// unit serves one app: its logs, their writers, and the links that feed it. A problem of one
// unit does not affect other units. A unit that cannot serve refuses the events for its app
// and tries again.
type unit struct {
	s       *Service
	name    string
	index   uint64
	problem error // why it can never be served
	paused  bool  // the app is being scaled

	scalings uint32

	logs    []*log        // by partition
	changed chan struct{} // has a message when the sources have changed

	before chan struct{} // closed when the unit of the former deployment has ended; nil: there was none
	cancel context.CancelFunc
	ended  chan struct{}

	joined   bool   // the table has its sources; Service.changing guards it
	refusing string // why no events are accepted, "" if they are; Service.handling guards it

	mu      sync.Mutex // guards what follows
	state   State
	reason  string
	version uint32    // of the app
	sources []*source // of that version
	links   []*link
	failed  context.CancelCauseFunc // ends the current serve; nil if there is none
}

func newUnit(s *Service, a App) *unit {
	u := &unit{
		s: s, name: a.Name, index: a.Index, version: a.Version, problem: a.Problem, paused: a.Paused, scalings: a.Scalings, changed: make(chan struct{}, 1),
		cancel: func() {}, ended: make(chan struct{}), state: Starting, refusing: "it is starting",
	}
	if u.problem == nil {
		u.problem = checkPlan(a.Plan, inboxOf(s.cfg.Conn))
	}
	if u.problem != nil {
		u.state, u.reason = LeftOut, u.problem.Error()
		return u
	}
	if u.paused {
		u.joined, u.refusing = true, pausedText
	}
	for p := range uint32(a.Plan.Partitions) {
		name := natsconn.WALStream(a.Name, p)
		u.logs = append(u.logs, &log{app: a.Name, part: p, stream: name, prefix: answerPrefix(name), recent: newRecentIDs(dedupOf(a), a.Plan.Partitions)})
	}
	u.sources = u.sourcesOf(a)
	return u
}

func (u *unit) sourcesOf(a App) (sources []*source) {
	keys := engine.KeyTexts(a.Plan)
	for _, stream := range a.Plan.Streams {
		if isInput(stream) {
			sources = append(sources, &source{
				app: a.Plan, unit: u, stream: stream, logs: u.logs, dead: natsconn.DLQSubject(a.Name, stream.Name),
				keys: letters(keys[stream.ID]), keyMax: keyMaxOf(a), made: time.Now(), added: a.Version > 1,
			})
		}
	}
	for _, t := range a.Plan.Tables {
		if t.Bucket != nil {
			sources = append(sources, &source{
				app: a.Plan, unit: u, stream: t.Stream, logs: u.logs, dead: natsconn.DLQSubject(a.Name, t.Name),
				keyMax: keyMaxOf(a), made: time.Now(), added: a.Version > 1,
			})
		}
	}
	return sources
}

// change serves another version of the app from the next message on. The logs stay as they
// are: events that were accepted under the former version are still written, and tasks adapt
// them. It returns false if the version needs another unit. The caller holds
// Service.changing, and must call reroute.
func (u *unit) change(a App) bool {
	if u.problem != nil || a.Problem != nil || checkPlan(a.Plan, inboxOf(u.s.cfg.Conn)) != nil || a.Plan.Partitions != len(u.logs) {
		return false
	}
	sources, before := u.sourcesOf(a), u.served()
	for _, s := range sources {
		s.countFrom(before)
	}
	u.mu.Lock()
	u.version, u.sources = a.Version, sources
	u.mu.Unlock()
	select {
	case u.changed <- struct{}{}:
	default:
	}
	return true
}

// served returns the sources of the version that is served.
func (u *unit) served() []*source {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.sources
}

// countFrom continues the counters that the same stream had before a change.
func (s *source) countFrom(before []*source) {
	for _, b := range before {
		if b.stream.Name == s.stream.Name {
			s.accepted.Store(b.accepted.Load())
			s.refused.Store(b.refused.Load())
			s.timed.from(&b.timed)
		}
	}
}

// run serves the app until ctx ends, again and again.
func (u *unit) run(ctx context.Context) {
	defer close(u.ended)
	if u.before != nil {
		<-u.before
	}
	if u.paused && u.problem == nil {
		u.setState(Waiting, pausedText)
		<-ctx.Done()
		return
	}
	if u.problem != nil {
		u.s.cfg.Log.Error("an app is left out, because ingest cannot serve it; the other apps are served", "app", u.name, "reason", u.problem)
		<-ctx.Done()
		return
	}
	for wait := unitWaitMin; ; wait = min(2*wait, unitWaitMax) {
		served, err := u.serve(ctx)
		if ctx.Err() != nil {
			return
		}
		var denied *deniedError
		if errors.As(err, &denied) {
			u.leave()
			u.setState(LeftOut, denied.Error())
		} else {
			u.setState(Waiting, err.Error())
		}
		if served {
			wait = unitWaitMin
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// serve serves the app until ctx ends, or until one of its logs cannot be written. It
// reports whether events were accepted.
func (u *unit) serve(ctx context.Context) (served bool, err error) {
	if err := u.findStreams(ctx); err != nil {
		return false, err
	}
	// Accepted events are made durable even after ctx ends.
	work, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var writers sync.WaitGroup
	defer writers.Wait()
	defer cancel()
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	u.mu.Lock()
	u.failed = fail
	u.mu.Unlock()
	for _, l := range u.logs {
		w, err := u.newWriter(l)
		if err != nil {
			return false, err
		}
		l.writer.Store(w)
	}
	for _, l := range u.logs {
		writers.Go(func() {
			if err := l.writer.Load().Run(work); err != nil {
				fail(err)
			}
		})
	}
	for _, l := range u.logs {
		select {
		case <-l.writer.Load().Runs():
		case <-ctx.Done():
		}
	}
	accepts := make(chan struct{})
	var following sync.WaitGroup
	following.Go(func() { u.follow(ctx, accepts) })
	u.awaitFirstLoad(ctx)
	if err = u.accept(ctx); err == nil {
		served = true
		close(accepts)
		u.setState(Serving, "")
		writers.Go(func() { u.remember(ctx) })
		<-ctx.Done()
		err = context.Cause(ctx)
		u.refuse(err)
	}
	fail(err)
	following.Wait()
	return served, errors.Join(err, u.closeLogs())
}

// accept starts to accept the app's events.
func (u *unit) accept(ctx context.Context) error {
	u.s.changing.Lock()
	defer u.s.changing.Unlock()
	if ctx.Err() != nil || u.s.taking.Err() != nil {
		return context.Canceled
	}
	u.s.handling.Lock()
	u.refusing = ""
	u.s.handling.Unlock()
	u.joined = true
	err := u.s.reroute()
	if err == nil && !u.joined {
		err = context.Cause(ctx)
	}
	if err != nil {
		u.refuse(err)
	}
	return err
}

// leave stops routing events to the app.
func (u *unit) leave() {
	u.s.changing.Lock()
	defer u.s.changing.Unlock()
	if u.s.taking.Err() != nil {
		return
	}
	u.joined = false
	if err := u.s.reroute(); err != nil {
		u.s.cfg.Log.Warn("NATS does not confirm the subscriptions; they are made once apps change again", "err", err)
	}
}

// reads reports whether the app needs the subscription to a pattern.
func (u *unit) reads(pattern string) bool {
	return slices.ContainsFunc(u.served(), func(s *source) bool {
		to := s.stream.Subject
		return !s.linked() && (to == pattern || pattern == inputs && subject.Covers(inputs, to))
	})
}

// fail ends the current serve. The unit tries again.
func (u *unit) fail(why error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.failed != nil {
		u.failed(why)
	}
}

// refuse makes the app's publishers get an error. When it returns, no message is on its way
// to the logs.
func (u *unit) refuse(why error) {
	u.s.handling.Lock()
	defer u.s.handling.Unlock()
	u.refusing = why.Error()
}

// follow reads KV buckets, and once the app accepts events, the results of other apps and
// JetStream streams, until ctx or intake ends. After a change of the app it starts again, with
// the sources of the new version.
func (u *unit) follow(ctx context.Context, accepts <-chan struct{}) {
	ctx, cancel := context.WithCancel(ctx)
	defer context.AfterFunc(u.s.taking, cancel)()
	defer cancel()
	for ctx.Err() == nil {
		reading, stop := context.WithCancel(ctx)
		var all sync.WaitGroup
		for _, l := range u.link() {
			all.Go(func() {
				if l.source.stream.ReadsBucket() == nil {
					select {
					case <-accepts:
					case <-reading.Done():
						return
					}
				}
				l.run(reading)
			})
		}
		select {
		case <-u.changed:
		case <-ctx.Done():
		}
		stop()
		all.Wait()
	}
}

// link makes the links of the current sources.
func (u *unit) link() []*link {
	links, err := newLinks(u.s, u.served())
	if err != nil {
		panic(err) // checkPlan has parsed the subjects
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.links = links
	return links
}

// closeLogs returns once the appended frames are durable, or the stop timeout is over.
func (u *unit) closeLogs() error {
	ctx, cancel := context.WithTimeout(context.Background(), u.s.cfg.StopTimeout)
	defer cancel()
	var group errgroup.Group
	for _, l := range u.logs {
		group.Go(func() error { return l.writer.Load().Close(ctx) })
	}
	err := group.Wait()
	if err != nil {
		u.s.cfg.Log.Warn("an app's logs close before everything is durable; publishers without an answer must repeat", "app", u.name, "err", err)
	}
	return err
}

func (u *unit) newWriter(l *log) (*wal.Writer, error) {
	took := u.s.appended.WithLabelValues(l.app, natsconn.Decimal(l.part))
	return wal.NewWriter(wal.WriterConfig{
		Acknowledged: func(seq uint64, events int, d time.Duration) {
			l.flow.backlog.wrote(seq, events)
			took.Observe(d.Seconds())
		},
		Conn: u.s.cfg.LogConn, App: l.app, Partition: l.part, Subject: natsconn.RoutedSubject(l.app, l.part, u.scalings), Codec: u.s.cfg.Codec, Log: u.s.cfg.Log, Witness: u.s.cfg.Witness,
		PendingBytesMax: math.MaxInt, // MemoryMax bounds all logs together
	})
}

// findStreams looks up the logs and the dead-letter stream.
func (u *unit) findStreams(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, findTimeout*time.Duration(1+len(u.logs)/findAtOnce))
	defer cancel()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(findAtOnce)
	for _, l := range u.logs {
		group.Go(func() error {
			if err := u.findLog(ctx, l); err != nil {
				return fmt.Errorf("log of %s/%d: %w", l.app, l.part, err)
			}
			return nil
		})
	}
	group.Go(func() error {
		if _, err := natsconn.FindDLQ(ctx, u.s.logJS, u.name); err != nil {
			return fmt.Errorf("dead letters of %s: %w", u.name, err)
		}
		return nil
	})
	return group.Wait()
}

// findLog looks up a log, and compares its end with the newest result. If the log has lost
// its end, new frames would get the sequences of lost ones and so hide the loss. So nothing
// is appended until a task has recorded the loss.
func (u *unit) findLog(ctx context.Context, l *log) error {
	stream, err := natsconn.FindWAL(ctx, u.s.logJS, l.app, l.part)
	if err != nil {
		return err
	}
	if have, want := stream.CachedInfo().Config.Subjects, natsconn.RoutedSubject(l.app, l.part, u.scalings); !slices.Equal(have, []string{want}) {
		return fmt.Errorf("JetStream stream %s takes frames on %q, and not on %s: the number of partitions is being changed", l.stream, have, want)
	}
	results, err := output.FindEnd(ctx, u.s.cfg.LogConn, l.app, l.part)
	if err != nil || results.LossNoted || results.Sequence <= stream.CachedInfo().State.LastSeq {
		return err
	}
	info, err := stream.Info(ctx) // again: the frame may have been appended since
	if err != nil {
		return err
	}
	if end := info.State.LastSeq; end < results.Sequence {
		return fmt.Errorf("%s ends at sequence %d, and the output stream has results of %d: the log has lost its end; events are refused until the app's task has recorded that", l.stream, end, results.Sequence)
	}
	return nil
}

// setState sets the state of the app, and logs a new problem or its end.
func (u *unit) setState(state State, reason string) {
	u.mu.Lock()
	before, news := u.reason, u.state != state || u.reason != reason
	u.state, u.reason = state, reason
	u.mu.Unlock()
	if !news {
		return
	}
	switch {
	case state == LeftOut:
		u.s.cfg.Log.Error("an app is left out, because ingest cannot serve it; the other apps are served, and ingest tries again", "app", u.name, "reason", reason)
	case state == Waiting:
		u.s.cfg.Log.Warn("events for an app are refused; trying again", "app", u.name, "reason", reason)
	case state == Serving && before != "":
		u.s.cfg.Log.Info("events for an app are accepted", "app", u.name)
	}
	if state != Serving {
		u.refuse(errors.New(reason))
	}
	u.s.notify()
}

// health returns the current problem of the log's writer, or nil.
func (l *log) health() error {
	if w := l.writer.Load(); w != nil {
		return w.Health()
	}
	return nil
}

func (l *log) stats() wal.Stats {
	if w := l.writer.Load(); w != nil {
		return w.Stats()
	}
	return wal.Stats{}
}

// linked returns the links that feed the app.
func (u *unit) linked() []*link {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.links
}

func (u *unit) appState() AppState {
	u.mu.Lock()
	defer u.mu.Unlock()
	return AppState{App: u.name, Index: u.index, Version: u.version, State: u.state, Reason: u.reason}
}

// Apps returns the state of each app, by name.
func (s *Service) Apps() []AppState {
	all := []AppState{}
	for _, u := range s.all() {
		all = append(all, u.appState())
	}
	return all
}

// ID is unique for each start of the service.
func (s *Service) ID() string { return s.id }

// Serving returns the apps that are served, and those that are no longer served but still
// have accepted events that are not durable.
func (s *Service) Serving() []control.Serving {
	all := []control.Serving{}
	s.mu.Lock()
	for u := range s.ending {
		if s.units[u.name] == nil {
			all = append(all, control.Serving{App: u.name, Index: u.index, Why: "it is removed"})
		}
	}
	s.mu.Unlock()
	draining := map[string]bool{}
	s.mu.Lock()
	for u := range s.ending {
		draining[u.name] = true
	}
	s.mu.Unlock()
	for _, a := range s.Apps() {
		one := control.Serving{App: a.App, Index: a.Index, Version: a.Version, Accepts: a.State == Serving}
		one.Paused = a.State == Waiting && a.Reason == pausedText && !draining[a.App]
		if !one.Accepts {
			one.Why = string(a.State)
			if a.Reason != "" {
				one.Why += ": " + a.Reason
			}
		}
		all = append(all, one)
	}
	return all
}

// allStarted reports whether no app is starting any more.
func (s *Service) allStarted() bool {
	for _, u := range s.all() {
		if u.appState().State == Starting {
			return false
		}
	}
	return true
}
