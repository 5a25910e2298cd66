package merging

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/Masterminds/semver/v3"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/services/checkpointer"
	"github.com/eventflux/eventflux/services/checkpointer/consensus"
	"github.com/eventflux/eventflux/services/merger"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/engine"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/state"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/state/store"
	"github.com/eventflux/eventflux/test/program"
)

var (
	checkpoints = flag.Int("checkpoints", 240, "number of checkpoints of the soaks")
	seed        = flag.Uint64("seed", 0, "of all that is random; 0 chooses one")
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

const (
	app       = "Soak"
	processor = "single"
	appText   = `@app:name('Soak') define stream S (v int); from S select v insert into Out;`
)

// rig is a checkpointer with one app, and a task of that app.
type rig struct {
	t      testing.TB
	random *rand.Rand
	store  store.Store
	nc     *nats.Conn
	client *control.Client
	task   *task
	// packDeadMin is what mergers get: with 1, packs are written again as soon as they may.
	packDeadMin int64
	// want is the state of each epoch that may have been committed.
	want map[state.Epoch]state.Digest
}

// options are the differences between rigs.
type options struct {
	store store.Store
	// leader is the checkpointer's store; nil: the same as store.
	leader store.Store
	grace  time.Duration
	retain int
	now    func() time.Time // of the checkpointer; nil: the machine's clock
}

func newRig(t testing.TB, o options) *rig {
	t.Helper()
	n := *seed
	if n == 0 {
		n = uint64(time.Now().UnixNano())
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("-seed %d", n)
		}
	})
	r := &rig{t: t, packDeadMin: 1, random: rand.New(rand.NewPCG(n, 1)), store: o.store, want: map[state.Epoch]state.Digest{}}
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Durability: natsconn.Fast, Log: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, srv.Close()) })
	r.nc, err = natsconn.Connect(r.within(), natsconn.ConnectConfig{Embedded: srv, Log: quiet})
	must(t, err)
	t.Cleanup(r.nc.Close)
	self := &control.Self{Version: "1.0.0"}
	fsm, err := checkpointer.NewFSM(self.Version)
	must(t, err)
	raft, err := consensus.Open(consensus.Config{ID: "single", Dir: t.TempDir(), FSM: fsm, NoSync: true, Log: quiet})
	must(t, err)
	t.Cleanup(func() { must(t, raft.Close(r.within())) })
	leader := o.leader
	if leader == nil {
		leader = o.store
	}
	service, err := checkpointer.New(checkpointer.Config{
		Conn: r.nc, Store: leader, Raft: raft, FSM: fsm, Interval: time.Hour, Timeout: time.Minute, Settings: engine.Settings{DedupWindow: 60_000},
		RetentionCheckpoints: o.retain, RetentionSpan: time.Microsecond, Grace: o.grace, Self: self, Log: quiet, Now: o.now,
	})
	must(t, err)
	r.run(service.Run)
	r.client = &control.Client{Conn: r.nc}
	_, err = r.client.Deploy(r.within(), control.DeployRequest{Text: appText})
	must(t, err)
	js, err := jetstream.New(r.nc)
	must(t, err)
	_, err = natsconn.EnsureWAL(r.within(), js, app, 0, natsconn.StreamLimits{})
	must(t, err)
	r.run(r.beat)
	r.eventually("the partition is given to the processor", func() bool {
		h, err := r.client.Heartbeat(r.within(), control.HeartbeatRequest{Processor: processor, Incarnation: "1"})
		must(t, err)
		return len(h.Assigned) > 0
	})
	r.attach()
	return r
}

// beat sends heartbeats, so that the processor keeps its partition.
func (r *rig) beat(ctx context.Context) error {
	tick := time.NewTicker(control.HeartbeatTimeout / 5)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			_, err := r.client.Heartbeat(ctx, control.HeartbeatRequest{
				Processor: processor, Incarnation: "1", Tasks: []control.TaskReport{{App: app, State: "running"}},
			})
			if err != nil && ctx.Err() == nil {
				return err
			}
		}
	}
}

func (r *rig) eventually(what string, done func() bool) {
	r.t.Helper()
	program.Eventually(r.t, time.Minute, what, done)
}

// run runs a service until the end of the test.
func (r *rig) run(run func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx) }()
	r.t.Cleanup(func() { cancel(); must(r.t, <-ended) })
}

func (r *rig) within() context.Context {
	ctx, cancel := r.bounded()
	r.t.Cleanup(cancel)
	return ctx
}

func (r *rig) bounded() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), 5*time.Minute)
}

// merger returns a merger. The test calls its Work method.
func (r *rig) merger(s store.Store) *merger.Service {
	r.t.Helper()
	m, err := merger.New(merger.Config{
		Conn: r.nc, Control: r.client, Store: s, Interval: time.Hour, ChainMax: 3, DeltaRatio: 0.5,
		SweepEvery: time.Nanosecond, PackDeadMin: r.packDeadMin, Workers: 2, Version: "1.0.0", Log: quiet,
	})
	must(r.t, err)
	return m
}

// attach starts another task, which restores the newest checkpoint and takes over from the previous
// one.
func (r *rig) attach() {
	r.t.Helper()
	a, err := r.client.App(r.within(), control.AppRequest{App: app})
	must(r.t, err)
	attached, err := r.client.Attach(r.within(), control.AttachRequest{
		App: app, Owner: fmt.Sprint(r.random.Uint64()), Plan: a.Plan, Processor: processor,
	})
	must(r.t, err)
	t := &task{rig: r, assignment: attached.Assignment, source: &table{rows: map[string]string{}}}
	t.holder = state.NewComponent(state.Info{ID: "table", Type: "table", Version: semver.MustParse("1.0.0")}, t.source)
	if len(attached.Checkpoints) > 0 {
		ref := attached.Checkpoints[0]
		m, err := checkpoint.ReadManifest(r.within(), r.store, ref.Manifest, ref.Digest)
		must(r.t, err)
		c := &m.Partitions[0].Components[0]
		entries, err := checkpoint.LoadChain(r.within(), r.store, c.Runs, 2)
		must(r.t, err)
		must(r.t, t.holder.Load(ref.Epoch, t.holder.Info().Version, 1, state.Hash(entries)))
		if t.holder.Digest() != c.Digest || c.Digest != r.want[ref.Epoch] {
			r.t.Fatalf("checkpoint %d was restored as %s, it says %s, and the state was %s", ref.Epoch, t.holder.Digest(), c.Digest, r.want[ref.Epoch])
		}
		t.chain, t.since = c.Runs, ref.Epoch
		t.tiny, err = restoreTiny(r.within(), r.store, &m.Partitions[0].Components[1])
		must(r.t, err)
	}
	r.task = t
}

// task is a task, as in services/processor, with a table and a component that is so small that their
// runs share packs.
type task struct {
	rig        *rig
	assignment uint64
	source     *table
	holder     *state.Component
	since      state.Epoch // newest epoch that it knows to be committed
	chain      []checkpoint.Run
	tiny       tiny
	whole      bool
	wholes     int
}

// chains are the chains of a part of a checkpoint.
type chains struct {
	table []checkpoint.Run
	tiny  tiny
}

// change changes part of the state; sometimes nothing. Some changes restore earlier values, so that
// blocks without references come back into use.
func (t *task) change() {
	if t.rig.random.IntN(2) == 0 { // a delta that has occurred before
		t.source.set("key", fmt.Sprint(t.rig.random.IntN(2)))
		return
	}
	for range t.rig.random.IntN(12) {
		key := uint64(t.rig.random.IntN(200))
		name := fmt.Sprintf("key %03d", key)
		if t.rig.random.IntN(4) == 0 {
			t.source.set(name, "")
			continue
		}
		random := rand.New(rand.NewPCG(key, t.rig.random.Uint64N(2))) // one of two values
		value := make([]byte, 3000)
		for i := range value {
			value[i] = byte(random.Uint32())
		}
		t.source.set(name, string(value))
	}
}

// fate is the outcome of a checkpoint.
type fate int

const (
	heard  fate = iota // committed, and the task hears of it
	missed             // committed, but the task does not hear of it
	failed             // the task cannot store it
)

// checkpoint makes a checkpoint. between, if set, is called after the task has stored its part and
// before it reports that.
func (r *rig) checkpoint(f fate, between func()) control.Outcome {
	r.t.Helper()
	open := r.open()
	t := r.task
	t.change()
	t.holder.Cut(open.Epoch)
	r.want[open.Epoch] = t.holder.Digest()
	part, stored, err := t.store(open.Epoch)
	if errors.Is(err, checkpoint.ErrCorrupt) { // the runs to fold are gone
		t.whole, f, err = true, failed, nil
	}
	must(r.t, err)
	if between != nil {
		between()
	}
	var o control.Outcome
	if f == failed {
		request := control.FailedRequest{App: app, Epoch: open.Epoch, Term: open.Term, Assignment: t.assignment, Reason: "by chance"}
		for o.Epoch == 0 || o.Reason == "the epoch is over" {
			o, err = r.client.Failed(r.within(), request)
			must(r.t, err)
		}
	} else {
		request := control.PreparedRequest{App: app, Epoch: open.Epoch, Term: open.Term, Partition: *part}
		for o.Epoch == 0 || o.Reason == "the epoch is over" { // or the leader does not know it yet
			o, err = r.client.Prepared(r.within(), request)
			must(r.t, err)
		}
	}
	must(r.t, err)
	if f != missed {
		t.hear(o, stored)
	}
	return o
}

// open returns the open epoch, and requests one if there is none. A request may be late and open an
// epoch that the next call finds.
func (r *rig) open() control.CheckpointInfo {
	r.t.Helper()
	ctx, cancel := r.bounded()
	defer cancel()
	var asked time.Time
	for {
		if time.Since(asked) > time.Second {
			asked = time.Now()
			must(r.t, r.nc.PublishRequest(natsconn.ServiceSubject(control.Service, control.VerbTrigger), "nobody", []byte(`{"app":"`+app+`"}`)))
		}
		var list control.CheckpointList
		must(r.t, r.client.Do(ctx, control.VerbCheckpoints, control.AppRequest{App: app}, &list))
		if len(list.Checkpoints) > 0 && list.Checkpoints[0].State == "open" {
			return list.Checkpoints[0]
		}
	}
}

// store stores the task's part of a checkpoint.
func (t *task) store(epoch state.Epoch) (*checkpoint.Partition, *chains, error) {
	delta, err := t.holder.Delta(t.since)
	kind, chain := checkpoint.Delta, t.chain
	switch {
	case t.whole || errors.Is(err, state.ErrPruned):
		delta, kind, chain = t.holder.Snapshot(), checkpoint.Base, nil
		t.wholes++
	case err != nil:
		return nil, nil, err
	case len(chain) == 0:
		kind = checkpoint.Base
	}
	changes := delta.Changes()
	if kind == checkpoint.Base {
		changes = slices.DeleteFunc(slices.Clone(changes), func(c state.Change) bool { return c.Deleted })
	}
	ctx := t.rig.within()
	s := checkpoint.NewPacker(t.rig.store, 2)
	if t.rig.random.IntN(3) == 0 {
		t.tiny.value = fmt.Sprint("of ", epoch)
	}
	small, err := t.tiny.store(ctx, s, epoch, t.whole)
	if err != nil {
		return nil, nil, err
	}
	if len(changes) > 0 {
		run, err := checkpoint.WriteRun(ctx, s, checkpoint.WriterOptions{Kind: kind, Epoch: epoch}, changes)
		if err != nil {
			return nil, nil, err
		}
		chain = append(chain[:len(chain):len(chain)], run)
	}
	if len(chain) > 1 && t.rig.random.IntN(15) == 0 { // tasks also fold their own chains
		run, err := checkpoint.MergeRuns(ctx, s, checkpoint.WriterOptions{Kind: checkpoint.Base, Epoch: epoch}, chain)
		if err != nil {
			return nil, nil, err
		}
		chain = []checkpoint.Run{run}
	}
	if chain == nil {
		chain = []checkpoint.Run{}
	}
	components := []checkpoint.Component{
		{ID: "table", Type: "table", Version: "1.0.0", Digest: t.holder.Digest(), Runs: chain}, small.component(),
	}
	if err := s.Flush(ctx, components); err != nil {
		return nil, nil, err
	}
	small.runs = components[1].Runs
	return &checkpoint.Partition{
		Assignment: t.assignment, Log: checkpoint.Lineage{Stream: natsconn.WALStream(app, 0), Sequence: 1, ID: checkpoint.ID{1}},
		Components: components,
	}, &chains{components[0].Runs, small}, nil
}

// hear handles the outcome of an epoch, as a task does.
func (t *task) hear(o control.Outcome, stored *chains) {
	t.rig.t.Helper()
	if !o.Committed {
		t.whole = t.whole || o.Whole
		return
	}
	t.holder.Committed(o.Epoch)
	t.since, t.chain, t.tiny, t.whole = o.Epoch, stored.table, stored.tiny, false
	if o.Merged == nil {
		return
	}
	m, err := checkpoint.ReadManifest(t.rig.within(), t.rig.store, o.Merged.Manifest, o.Merged.Digest)
	must(t.rig.t, err)
	t.chain = checkpoint.Adopt(t.chain, m.Partitions[0].Components[0].Runs, m.Epoch)
	t.tiny.runs = checkpoint.Adopt(t.tiny.runs, m.Partitions[0].Components[1].Runs, m.Epoch)
}

// live returns what the app refers to, as the group reports it.
func (r *rig) live() *control.LiveApp {
	r.t.Helper()
	live, err := r.client.Live(r.within(), control.LiveRequest{})
	must(r.t, err)
	return &live.Apps[0]
}

// verify reads all retained checkpoints and compares them with the recorded states.
func (r *rig) verify() {
	r.t.Helper()
	app := r.live()
	for _, ref := range app.Checkpoints {
		m, err := checkpoint.ReadManifest(r.within(), r.store, ref.Manifest, ref.Digest)
		must(r.t, err)
		report, err := checkpoint.Verify(r.within(), r.store, m, 2)
		must(r.t, err)
		if len(report.Problems) > 0 {
			r.t.Fatalf("checkpoint %d: %+v", ref.Epoch, report.Problems)
		}
		if got := m.Partitions[0].Components[0].Digest; got != r.want[ref.Epoch] {
			r.t.Fatalf("checkpoint %d has the digest %s, its state had %s", ref.Epoch, got, r.want[ref.Epoch])
		}
	}
}

// referred returns the names of all referenced objects.
func (r *rig) referred() map[string]bool {
	r.t.Helper()
	names := map[string]bool{}
	live := r.live()
	head, err := r.store.Head(r.within(), app)
	must(r.t, err)
	refs := slices.Concat(live.Checkpoints, live.Kept)
	if head.Name != "" {
		refs = append(refs, control.CheckpointRef{Manifest: head.Name})
	}
	for _, ref := range refs {
		names[ref.Manifest] = true
		m, err := checkpoint.ReadManifest(r.within(), r.store, ref.Manifest, ref.Digest)
		must(r.t, err)
		for _, c := range m.Partitions[0].Components {
			for i := range c.Runs {
				of, err := checkpoint.Objects(r.within(), r.store, &c.Runs[i])
				must(r.t, err)
				for _, name := range of {
					names[name] = true
				}
			}
		}
	}
	return names
}

// garbage returns the names of unreferenced objects.
func (r *rig) garbage() (names []string) {
	r.t.Helper()
	referred := r.referred()
	must(r.t, r.store.List(r.within(), "", func(o store.Object) error {
		if !referred[o.Name] {
			names = append(names, o.Name)
		}
		return nil
	}))
	return names
}

// clean runs the merger until the store holds no garbage.
func (r *rig) clean(m *merger.Service) {
	r.t.Helper()
	ctx := r.within()
	for garbage := r.garbage(); len(garbage) > 0; garbage = r.garbage() {
		if ctx.Err() != nil {
			r.t.Fatalf("nothing refers to %d objects such as %s, and they stay", len(garbage), garbage[0])
		}
		must(r.t, m.Work(ctx))
	}
}

// table is the state of a task.
type table struct {
	rows    map[string]string
	changed map[string]bool
}

func (s *table) set(key, value string) {
	if s.changed == nil {
		s.changed = map[string]bool{}
	}
	if s.changed[key] = true; value == "" {
		delete(s.rows, key)
		return
	}
	s.rows[key] = value
}

func (s *table) Changed(visit func([]byte)) {
	for key := range s.changed {
		visit([]byte(key))
	}
	clear(s.changed)
}

func (s *table) Keys(visit func([]byte)) {
	for key := range s.rows {
		visit([]byte(key))
	}
}

func (s *table) Append(dst, key []byte) ([]byte, bool) {
	value, ok := s.rows[string(key)]
	return append(dst, value...), ok
}

func (s *table) Reset() {
	for _, key := range slices.Collect(maps.Keys(s.rows)) {
		s.set(key, "")
	}
}

func (s *table) Put(key, value []byte) error {
	s.rows[string(key)] = string(value)
	return nil
}

func (s *table) Ready() error { return nil }
func (s *table) Bytes() int64 { return 0 }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
