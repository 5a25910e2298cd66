package checkpointer

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

const (
	tickEvery    = 20 * time.Millisecond
	effectRetry  = 100 * time.Millisecond
	projectRetry = time.Second
)

// leader is one leadership: a loop that owns the coordinators of all apps, and goroutines
// that carry out their effects.
type leader struct {
	s        *Service
	term     checkpoint.Term
	log      *slog.Logger
	messages chan loopMessage
	done     chan struct{} // closed when the loop has ended
	work     sync.WaitGroup

	// Only the loop uses these.
	apps    map[string]*coordinator
	answers map[answerID]chan control.Outcome
	last    answerID

	processors *processors
	ingests    ingests
	standbys   standbys
	restores   chan restore
	placing    chan struct{} // wakes keepPlacing
	removing   sync.Map      // apps that are being removed
	upgrading  sync.Map      // apps whose logs get the frame of a version
	turns      sync.Map      // by app: a lock for making and deleting its streams
	waits      waits

	wall     time.Time // start of the leadership, by the machine's clock
	started  time.Time // the same instant, by the monotonic clock
	opened   sync.Map  // opened, by app
	barriers barrierWriters
	spans    spans
	looking  chan struct{} // wakes keepStreams
	tidying  sync.Mutex
	swapping sync.Mutex
	sweeps   sweeps
	lease    lease
	claimed  atomic.Bool   // the store is known to belong to this cluster
	changed  chan struct{} // wakes projectCheckpoints: the bucket lacks newer checkpoints
}

// loopMessage is a message for an app's coordinator. Without a kind, it only makes the app
// known to the loop.
type loopMessage struct {
	app string
	message
	reply chan control.Outcome // of a request
}

func newLeader(s *Service, term uint64) *leader {
	grace, _ := s.cfg.grace()
	wall := s.cfg.Now().Round(0)
	return &leader{
		wall: wall, started: time.Now(),
		sweeps:  newSweeps(wall.Add(-grace)),
		changed: make(chan struct{}, 1), looking: make(chan struct{}, 1),
		s: s, term: checkpoint.Term(term), log: s.cfg.Log.With("term", term),
		messages: make(chan loopMessage, 64), done: make(chan struct{}),
		apps: map[string]*coordinator{}, answers: map[answerID]chan control.Outcome{},
		processors: newProcessors(time.Now()), placing: make(chan struct{}, 1),
		restores: make(chan restore), ingests: ingests{of: map[string]*ingest{}}, waits: waits{of: map[waitKey]*context.CancelFunc{}},
	}
}

// clock returns a time that never goes back, for events that only this leader orders. If
// the machine's clock were used and set back, all later merges would seem to have started
// before the last allowed sweep.
func (l *leader) clock() time.Time { return l.wall.Add(time.Since(l.started)) }

// run leads until ctx ends.
func (l *leader) run(ctx context.Context) {
	defer l.work.Wait()
	defer close(l.done)
	l.barriers.open(ctx, l.s.cfg.Conn, l.s.cfg.Witness, l.log)
	defer l.barriers.close()
	l.work.Go(func() { l.keepProjecting(ctx) })
	l.work.Go(func() { l.projectCheckpoints(ctx) })
	l.projectSoon()
	l.work.Go(func() { l.keepPlacing(ctx) })
	l.work.Go(func() { l.keepRestoring(ctx) })
	l.work.Go(func() { l.keepStreams(ctx) })
	for _, a := range l.s.cfg.FSM.apps() {
		if !a.Removing {
			l.addCoordinator(ctx, a)
		}
	}
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	defer l.spans.close()
	defer l.s.beat.Stop()
	for {
		l.s.beat.Now()
		select {
		case <-ctx.Done():
			return
		case m := <-l.messages:
			l.handle(ctx, m)
		case <-tick.C:
			now := time.Now()
			l.processors.stayAwake(now)
			for name, c := range l.apps {
				if l.s.cfg.FSM.gone(name) {
					l.drop(name)
					continue
				}
				l.do(ctx, name, c.step(message{kind: msgTick, now: now, lag: l.processors.lag(name, now)}))
			}
		}
	}
}

// termOf returns the term of this leadership for the barriers and manifests of an app. It
// is above all terms that the store had for the app when it was deployed: those may come
// from another group, whose terms were higher.
func (l *leader) termOf(app string) checkpoint.Term {
	if a := l.s.cfg.FSM.app(app); a != nil {
		return a.TermBase + l.term
	}
	return l.term
}

// addCoordinator makes the coordinator of an app, and fences former leaders in the store.
func (l *leader) addCoordinator(ctx context.Context, a *appState) {
	c, effects := newCoordinator(a, l.termOf(a.Name), time.Now(), l.s.cfg.Interval, l.s.cfg.Timeout)
	l.apps[a.Name] = c
	l.work.Go(func() { l.fence(ctx, a.Name) })
	l.do(ctx, a.Name, effects)
}

func (l *leader) handle(ctx context.Context, m loopMessage) {
	c := l.apps[m.app]
	if c == nil {
		a := l.s.cfg.FSM.app(m.app)
		if a == nil || a.Removing {
			if m.reply != nil {
				m.reply <- control.Outcome{Epoch: m.epoch, Reason: "the app was removed"}
			}
			return
		}
		l.addCoordinator(ctx, a)
		c = l.apps[m.app]
	}
	if m.kind == "" {
		return
	}
	if m.reply != nil {
		l.last++
		m.answer = l.last
		l.answers[m.answer] = m.reply
	}
	m.now = time.Now()
	l.do(ctx, m.app, c.step(m.message))
}

// send passes a message to the loop, unless the loop has ended.
func (l *leader) send(m loopMessage) {
	select {
	case l.messages <- m:
	case <-l.done:
	}
}

// ask passes a request to the loop and waits for its answer.
func (l *leader) ask(ctx context.Context, app string, m message) (o control.Outcome, err error) {
	reply := make(chan control.Outcome, 1)
	l.send(loopMessage{app: app, message: m, reply: reply})
	select {
	case o = <-reply:
		return o, nil
	case <-l.done:
		return o, failure(control.CodeUnavailable, "the leader changed; ask again")
	case <-ctx.Done():
		return o, ctx.Err()
	}
}

// propose applies a command in Raft. A refusal is a *control.Error.
func (l *leader) propose(ctx context.Context, c *command) (any, error) {
	c.Version = l.s.cfg.Self.Version
	data, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	answer, _, err := l.s.cfg.Raft.Apply(ctx, data)
	if err != nil {
		return nil, err
	}
	if no, refused := answer.(refusal); refused {
		return nil, no.err
	}
	return answer, nil
}

// keepProjecting updates the bucket from Raft at the start of a leadership.
func (l *leader) keepProjecting(ctx context.Context) {
	for {
		err := l.project(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		l.log.Warn("write the cluster's bucket; trying again", "bucket", natsconn.ClusterBucket, "err", err)
		if !pauseFor(ctx, projectRetry) {
			return
		}
	}
}

// project writes the apps, as Raft has them, into the bucket that all services read.
func (l *leader) project(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, decideTimeout)
	defer cancel()
	bucket, err := l.bucket(ctx, natsconn.ClusterBucket, "the state of the cluster, as Raft has it")
	if err != nil {
		return err
	}
	if _, err := l.bucket(ctx, natsconn.LinksBucket, "which process reads the results of other apps for a source, and how far it has come"); err != nil {
		return err
	}
	want := map[string]bool{}
	for _, a := range l.s.cfg.FSM.apps() {
		if a.Removing {
			continue
		}
		key := natsconn.ClusterKey("app", a.Name)
		want[key] = true
		// Get of a bucket may be answered by a replica that lacks the last write of a former leader.
		if have, err := natsconn.LastStored(ctx, l.s.cfg.Conn, "KV_"+natsconn.ClusterBucket, "$KV."+natsconn.ClusterBucket+"."+key); err == nil && same(have.Data, &a.App) {
			continue
		}
		a.Owners, a.Checkpoint = nil, 0 // these change all the time; services ask for them
		data, err := json.Marshal(a.App)
		if err != nil {
			return err
		}
		if _, err := bucket.Put(ctx, key, data); err != nil {
			return fmt.Errorf("bucket %s: put %s: %w", natsconn.ClusterBucket, key, err)
		}
	}
	keys, err := bucket.ListKeysFiltered(ctx, natsconn.ClusterKeys("app"))
	if err != nil {
		return fmt.Errorf("bucket %s: %w", natsconn.ClusterBucket, err)
	}
	for key := range keys.Keys() {
		if want[key] {
			continue
		}
		if err := bucket.Delete(ctx, key); err != nil {
			return fmt.Errorf("bucket %s: delete %s: %w", natsconn.ClusterBucket, key, err)
		}
	}
	return nil
}

// bucket returns a bucket of the cluster, and creates it if it is missing.
func (l *leader) bucket(ctx context.Context, name, description string) (jetstream.KeyValue, error) {
	want := jetstream.KeyValueConfig{Bucket: name, Description: description, Replicas: max(l.s.cfg.Streams.Replicas, 1)}
	bucket, err := l.s.js.KeyValue(ctx, name)
	if err != nil {
		bucket, err = l.s.js.CreateOrUpdateKeyValue(ctx, want)
	} else if have, asked := bucket.Status(ctx); asked != nil {
		err = asked
	} else if have.Config().Replicas != want.Replicas {
		bucket, err = l.s.js.UpdateKeyValue(ctx, want)
	}
	if err != nil {
		return nil, fmt.Errorf("bucket %s: %w", name, err)
	}
	return bucket, nil
}

// drop removes the coordinator of an app that is gone, and answers the requests that wait
// for a checkpoint of it.
func (l *leader) drop(app string) {
	c := l.apps[app]
	delete(l.apps, app)
	for _, waiting := range [][]answerID{c.waiting, c.triggers, c.later, c.pauses} {
		for _, id := range waiting {
			l.answers[id] <- control.Outcome{Epoch: c.epoch, Reason: "the app was removed"}
			delete(l.answers, id)
		}
	}
}

func same(value []byte, a *control.App) bool {
	var have control.App
	return json.Unmarshal(value, &have) == nil && have.Index == a.Index && have.Version == a.Version && have.Generation == a.Generation && have.Held == a.Held
}
