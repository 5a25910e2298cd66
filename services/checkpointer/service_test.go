package checkpointer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"

	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/lang/frame"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/shared/state/store/memory"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

var quiet = slog.New(slog.DiscardHandler)

// rig is a checkpointer that leads alone. The test is its processor.
type rig struct {
	t   *testing.T
	nc  *nats.Conn
	js  jetstream.JetStream
	s   *Service
	fsm *FSM
	ctl control.Client
	put *gate

	said testlog.Buffer
}

// gate is a store whose commits can be delayed.
type gate struct {
	store.Store
	mu   sync.Mutex
	hold func(*store.Commit)
}

func (g *gate) Commit(ctx context.Context, c store.Commit) error {
	g.mu.Lock()
	hold := g.hold
	g.mu.Unlock()
	if hold != nil {
		hold(&c)
	}
	return g.Store.Commit(ctx, c)
}

func newRig(t *testing.T) *rig {
	t.Helper()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Durability: natsconn.Fast, Log: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	r := &rig{t: t, fsm: newFSM(t), put: &gate{Store: memory.New()}}
	r.nc, err = natsconn.Connect(r.within(), natsconn.ConnectConfig{Embedded: srv, Log: quiet})
	must(t, err)
	t.Cleanup(r.nc.Close)
	r.js, err = jetstream.New(r.nc)
	must(t, err)
	r.ctl.Conn = r.nc
	node, err := consensus.Open(consensus.Config{ID: "one", Dir: t.TempDir(), FSM: r.fsm, NoSync: true, Log: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, node.Close(context.Background())) })
	r.s, err = New(Config{
		Conn: r.nc, Store: r.put, Raft: node, FSM: r.fsm, Interval: time.Hour, Timeout: time.Minute, Settings: engine.Settings{DedupWindow: 60_000},
		RetentionCheckpoints: 3, Streams: natsconn.StreamLimits{BytesMax: 8 << 20}, Self: &control.Self{Version: thisVersion},
		Log: r.said.Logger(),
	})
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.s.Run(ctx) }()
	t.Cleanup(func() { cancel(); must(t, <-ended) })
	return r
}

func (r *rig) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	r.t.Cleanup(cancel)
	return ctx
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func textOf(app string, partitions int) string {
	return fmt.Sprintf("@app:name('%s') @app:partitions('%d') define stream S (k string); partition with (k of S) begin from S select k insert into O; end;", app, partitions)
}

// run deploys an app and attaches a task to each of its partitions. It returns their
// assignments.
func (r *rig) run(app string, partitions int) (assigned []uint64) {
	r.t.Helper()
	a, err := r.ctl.Deploy(r.within(), control.DeployRequest{Text: textOf(app, partitions)})
	must(r.t, err)
	for p := range uint32(partitions) {
		for { // until the partition is placed
			_, err := r.ctl.Heartbeat(r.within(), control.HeartbeatRequest{Processor: "p", Incarnation: "1"})
			must(r.t, err)
			at, err := r.ctl.Attach(r.within(), control.AttachRequest{App: app, Partition: p, Owner: app + natsconn.Decimal(p), Plan: a.Plan, Processor: "p"})
			if control.Code(err) == control.CodeFenced {
				continue
			}
			must(r.t, err)
			assigned = append(assigned, at.Assignment)
			break
		}
	}
	return assigned
}

// heartbeats sends heartbeats of a processor until stop is called or the test ends.
func (r *rig) heartbeats(processor string) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ; ctx.Err() == nil; pauseFor(ctx, control.HeartbeatTimeout/5) {
			_, _ = r.ctl.Heartbeat(ctx, control.HeartbeatRequest{Processor: processor, Incarnation: "1"})
		}
	}()
	stop = func() { cancel(); <-ended }
	r.t.Cleanup(stop)
	return stop
}

// places waits until the partitions of an app are placed as wanted, but not as long as a
// move may wait for a checkpoint.
func (r *rig) places(app string, want func(by map[string]int) bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), moveTimeout*3/4)
	defer cancel()
	for by := map[string]int{}; ; pauseFor(ctx, time.Millisecond) {
		clear(by)
		for _, p := range r.fsm.app(app).Places {
			by[p]++
		}
		if want(by) {
			return
		}
		if ctx.Err() != nil {
			r.t.Fatalf("the partitions of %s are at %v", app, by)
		}
	}
}

// opened triggers a checkpoint of an app and returns its epoch.
func (r *rig) opened(app string) *openEpoch {
	r.t.Helper()
	go func() { _, _ = r.ctl.Trigger(r.within(), control.AppRequest{App: app}) }()
	return r.open(app)
}

// open waits until an epoch of an app is open and its barrier is in a log. Tasks cannot
// answer before that.
func (r *rig) open(app string) *openEpoch {
	r.t.Helper()
	for ctx := r.within(); ctx.Err() == nil; <-time.After(time.Millisecond) {
		a := r.fsm.app(app)
		if a.Open == nil {
			continue
		}
		log, err := r.js.Stream(ctx, natsconn.WALStream(app, 0))
		must(r.t, err)
		m, err := log.GetLastMsgForSubject(ctx, natsconn.WALSubject(app, 0))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			continue
		}
		must(r.t, err)
		var d frame.Decoder
		f, err := d.Decode(m.Data)
		must(r.t, err)
		if f.Cut.Epoch == uint64(a.Open.Epoch) {
			return a.Open
		}
	}
	r.t.Fatalf("no checkpoint of %s was started", app)
	return nil
}

// preparedRequest returns the request of a task without state.
func preparedRequest(app string, o *openEpoch, p uint32, assignment uint64) control.PreparedRequest {
	return control.PreparedRequest{App: app, Epoch: o.Epoch, Term: o.Term, Partition: checkpoint.Partition{
		Partition: p, Assignment: assignment,
		Log:    checkpoint.Lineage{Stream: natsconn.WALStream(app, p), Sequence: 1, ID: o.ID},
		Output: checkpoint.Output{Positions: map[string]string{}},
	}}
}

// checkpoint makes a checkpoint of an app with one partition.
func (r *rig) checkpoint(app string, assignment uint64) state.Epoch {
	r.t.Helper()
	o := r.opened(app)
	out, err := r.ctl.Prepared(r.within(), preparedRequest(app, o, 0, assignment))
	must(r.t, err)
	if !out.Committed {
		r.t.Fatalf("aborted: %s", out.Reason)
	}
	return o.Epoch
}

// An app is removed while a restore of it stores its manifest. The restore ends, restores of
// other apps work, and nothing of the app is left in the store.
func TestRemovedWhileItIsRestored(t *testing.T) {
	r := newRig(t)
	epoch := r.checkpoint("gone", r.run("gone", 1)[0])
	other := r.checkpoint("other", r.run("other", 1)[0])
	reached, pass := make(chan struct{}), make(chan struct{})
	r.put.mu.Lock()
	r.put.hold = func(c *store.Commit) {
		if c.App == "gone" && c.Epoch > uint64(epoch) {
			close(reached)
			<-pass
		}
	}
	r.put.mu.Unlock()
	restored := make(chan error, 1)
	go func() {
		_, err := r.ctl.Restore(r.within(), control.RestoreRequest{App: "gone", ID: "a", Epoch: epoch})
		restored <- err
	}()
	<-reached
	must(t, r.ctl.Do(r.within(), control.VerbRemove, control.AppRequest{App: "gone"}, nil))
	close(pass)
	if err := <-restored; control.Code(err) != control.CodeNotFound {
		t.Errorf("the restore of an app that was removed: %v", err)
	}
	if _, err := r.ctl.Restore(r.within(), control.RestoreRequest{App: "other", ID: "b", Epoch: other}); err != nil {
		t.Errorf("the restore of another app: %v", err)
	}
	must(t, r.put.List(r.within(), "apps/gone/", func(o store.Object) error { return errors.New(o.Name + " is left") }))
}

// A task asks again while it waits for the end of its epoch, because the leader it asked may
// be gone. However often it asks, there is room for other requests.
func TestRepeatedRequestsTakeNoRoom(t *testing.T) {
	r := newRig(t)
	assigned := r.run("app", 2)
	o := r.opened("app")
	inbox := nats.NewInbox()
	answers, err := r.nc.SubscribeSync(inbox)
	must(t, err)
	data, err := json.Marshal(preparedRequest("app", o, 0, assigned[0]))
	must(t, err)
	for i := range 2 * requestsMax {
		must(t, r.nc.PublishRequest(natsconn.ServiceSubject(control.Service, control.VerbPrepared), inbox, data))
		if i == 0 {
			continue
		}
		// The previous request is answered with an error: the task waits for this one.
		m, err := answers.NextMsgWithContext(r.within())
		must(t, err)
		if code, text := m.Header.Get(micro.ErrorCodeHeader), m.Header.Get(micro.ErrorHeader); code != control.CodeUnavailable || strings.Contains(text, "requests are being answered") {
			t.Fatalf("after %d requests: %s %s", i, code, text)
		}
	}
	if _, err := r.ctl.Prepared(r.within(), preparedRequest("app", o, 1, assigned[1])); err != nil {
		t.Fatal(err)
	}
	m, err := answers.NextMsgWithContext(r.within())
	must(t, err)
	var out control.Outcome
	must(t, json.Unmarshal(m.Data, &out))
	if !out.Committed {
		t.Errorf("the newest request was answered %s", m.Data)
	}
}

// A partition moves to another processor after a checkpoint. If its own processor dies
// before the checkpoint is done, the partition moves at once.
func TestDeathWhileAPartitionMoves(t *testing.T) {
	r := newRig(t)
	dies := r.heartbeats("p")
	r.run("app", 2)
	r.places("app", func(by map[string]int) bool { return by["p"] == 2 })
	r.heartbeats("q")
	r.opened("app") // before the move
	dies()
	r.places("app", func(by map[string]int) bool { return by["q"] == 2 })
}

// If the processor that should get a partition dies, the partition stays where it is.
func TestMoveToADeadProcessor(t *testing.T) {
	r := newRig(t)
	r.heartbeats("p")
	assigned := r.run("app", 1)
	moved := make(chan struct{})
	l := r.s.leading()
	go func() {
		defer close(moved)
		l.assigner.moveGently(r.within(), r.within(), move{slot: slot{app: "app"}, from: "p", to: "dead", gentle: true})
	}()
	_, err := r.ctl.Prepared(r.within(), preparedRequest("app", r.open("app"), 0, assigned[0]))
	must(t, err)
	<-moved
	if at := r.fsm.app("app").Places[0]; at != "p" {
		t.Errorf("the partition is at %q", at)
	}
}
