package doctor_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/nats-io/nats.go/micro"
	"go.uber.org/goleak"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/services/ingest"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
	"github.com/eventflux/eventflux/shared/testing/redistest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const app = `@app:name('w') define stream S (k string, v int);
	from S#length(50) select k, sum(v) as total insert into Out;`

// ward is a NATS server with the services on it.
type ward struct {
	t       *testing.T
	app     string // of the services
	srv     *server.Server
	cfg     *config.Config
	nc      *nats.Conn
	js      jetstream.JetStream
	control control.Client
	stop    func()
}

// open starts the server. options may change the default options.
func open(t *testing.T, options func(*server.Options)) *ward {
	t.Helper()
	opts := &server.Options{
		Host: "127.0.0.1", Port: -1, HTTPHost: "127.0.0.1", HTTPPort: -1, NoSigs: true, NoLog: true,
		JetStream: true, StoreDir: t.TempDir(), SyncAlways: true, MaxPayload: 8 << 20,
	}
	if options != nil {
		options(opts)
	}
	srv := start(t, opts)
	w := &ward{t: t, app: app, srv: srv, cfg: config.Default(), stop: func() {}}
	w.cfg.Data, w.cfg.NATS.URL, w.cfg.NATS.Monitor = t.TempDir(), srv.ClientURL(), "http://"+srv.MonitorAddr().String()
	w.cfg.Store.URL, w.cfg.Checkpoint.Interval = "file:"+filepath.Join(t.TempDir(), "checkpoints"), time.Hour
	w.connect(srv.ClientURL())
	return w
}

func (w *ward) connect(url string) {
	w.t.Helper()
	var err error
	if w.nc, err = nats.Connect(url, nats.Name("the test")); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(w.nc.Close)
	if w.js, err = jetstream.New(w.nc); err != nil {
		w.t.Fatal(err)
	}
	w.control.Conn = w.nc
}

func start(t *testing.T, opts *server.Options) *server.Server {
	t.Helper()
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() {
		srv.Shutdown()
		srv.WaitForShutdown()
	})
	if !srv.ReadyForConnections(10 * time.Second) {
		t.Fatal("the server is not ready")
	}
	return srv
}

func (w *ward) within() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w.t.Cleanup(cancel)
	return ctx
}

// run starts services with an app, and returns once they run.
func (w *ward) run() *ward {
	w.t.Helper()
	n, err := node.Open(w.within(), w.cfg, node.Services, []string{w.app}, "1.2.3", slog.New(slog.DiscardHandler))
	if err != nil {
		w.t.Fatal(err)
	}
	if w.cfg.NATS.URL == "" {
		w.connect(n.URL())
	}
	ctx, cancel := context.WithCancel(context.Background())
	ready, ended := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		err := n.Run(ctx, func([]*siddhiql.Plan) {
			select {
			case ready <- struct{}{}:
			default:
			}
		})
		ended <- errors.Join(err, n.Close())
	}()
	w.stop = func() {
		cancel()
		if err := <-ended; err != nil {
			w.t.Error(err)
		}
		w.stop = func() {}
	}
	w.t.Cleanup(func() { w.stop() })
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		w.t.Fatal(err)
	}
	return w
}

func (w *ward) publish(n int) {
	w.t.Helper()
	for i := range n {
		if _, err := w.js.Publish(w.within(), "events.S", fmt.Appendf(nil, `{"k":"a","v":%d}`, i)); err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *ward) checkpoint() control.Outcome {
	w.t.Helper()
	o, err := w.control.Trigger(w.within(), control.AppRequest{App: "w"})
	if err != nil {
		w.t.Fatal(err)
	}
	return o
}

// edit changes a stream as an operator might.
func (w *ward) edit(name string, change func(*jetstream.StreamConfig)) {
	w.t.Helper()
	s, err := w.js.Stream(w.within(), name)
	if err != nil {
		w.t.Fatal(err)
	}
	c := s.CachedInfo().Config
	change(&c)
	if _, err := w.js.UpdateStream(w.within(), c); err != nil {
		w.t.Fatal(err)
	}
}

// result stores a result that names the previous one.
func (w *ward) result(place, previous string) {
	w.t.Helper()
	m := nats.NewMsg(natsconn.OutSubject("w", "Missing", 0))
	generation, position, _ := strings.Cut(place, ":")
	m.Header.Set("Ef-Generation", generation)
	m.Header.Set("Ef-Position", position)
	m.Header.Set("Ef-Previous", previous)
	if _, err := w.js.PublishMsg(w.within(), m); err != nil {
		w.t.Fatal(err)
	}
}

// generation creates the streams of an app in some generation, without services.
func (w *ward) generation(g checkpoint.Generation) {
	w.t.Helper()
	if _, err := natsconn.EnsureApp(w.within(), w.js, "w", 1, natsconn.StreamLimits{}); err != nil {
		w.t.Fatal(err)
	}
	w.announce("checkpointer", "1.2.3", nil, nil)
	w.answer("ef.checkpointer.apps", control.AppList{Apps: []control.App{{Name: "w", Partitions: 1, Generation: g, Deployed: time.Now()}}})
	w.answer("ef.checkpointer.checkpoints", control.CheckpointList{})
}

func (w *ward) examine() []doctor.Finding {
	w.t.Helper()
	found, err := doctor.Examine(w.within(), doctor.Config{Conn: w.nc, Settings: w.cfg})
	if err != nil {
		w.t.Fatal(err)
	}
	return found
}

func text(found []doctor.Finding) string {
	var b strings.Builder
	for _, f := range found {
		fmt.Fprintf(&b, "%s %s %s: %s | %s\n", f.Severity, f.Check, f.Subject, f.Meaning, f.Fix)
	}
	return b.String()
}

// A healthy system has no findings.
func TestNothingIsWrong(t *testing.T) {
	w := open(t, nil).run()
	w.publish(10)
	if o := w.checkpoint(); !o.Committed {
		t.Fatalf("%+v", o)
	}
	found := w.examine()
	checks := map[string]bool{}
	for _, f := range found {
		checks[f.Check] = true
		// The disk that the test runs on may be full.
		if f.Severity != doctor.OK && f.Check != "store" {
			t.Errorf("%+v", f)
		}
	}
	for _, name := range []string{
		"server", "sync", "subscribers", "services", "versions", "leader", "tasks", "texts", "streams",
		"replicas", "checkpoints", "logs", "results", "ingest", "clocks", "store",
	} {
		if !checks[name] {
			t.Errorf("%s says nothing", name)
		}
	}
}

// Each fault is found by its check, with a fix.
func TestFaults(t *testing.T) {
	for name, c := range map[string]struct {
		options  func(*server.Options)
		settings func(*config.Config)
		idle     bool // no services run
		fault    func(*ward)
		check    string
		severity doctor.Severity
		meaning  string
	}{
		"server does not sync": {
			options: func(o *server.Options) { o.SyncAlways = false }, settings: func(c *config.Config) { c.WAL.Durability = "durable" }, idle: true,
			check: "sync", severity: doctor.Error, meaning: "power loss takes events",
		},
		"durability is fast": {
			settings: func(c *config.Config) { c.WAL.Durability = "fast" },
			check:    "sync", severity: doctor.Warning, meaning: "two minutes",
		},
		"small messages": {
			options: func(o *server.Options) { o.MaxPayload = 64 << 10 }, idle: true,
			check: "server", severity: doctor.Error, meaning: "65536 bytes",
		},
		"no JetStream": {
			options: func(o *server.Options) { o.JetStream = false }, idle: true,
			check: "server", severity: doctor.Error, meaning: "JetStream does not answer",
		},
		"a text that a deploy refuses": {
			fault: func(w *ward) {
				text := "@app:name('old') @source(subject='mine.>') define stream T (v int); from T insert into U;"
				if _, err := w.control.Deploy(w.t.Context(), control.DeployRequest{Text: text}); err != nil {
					w.t.Fatal(err)
				}
				w.cfg.NATS.Inbox = "mine" // the rule is newer than the app
			},
			check: "texts", severity: doctor.Warning, meaning: "overlaps `mine.>`",
		},
		"nothing runs": {idle: true, check: "services", severity: doctor.Error, meaning: "no events are accepted"},
		"subscriber to a log": {
			fault: func(w *ward) { w.subscribe("ef.wal.w.*") },
			check: "subscribers", severity: doctor.Error, meaning: "subscribes to ef.wal.w.*",
		},
		"subscriber to everything": {
			fault: func(w *ward) { w.subscribe(">") },
			check: "subscribers", severity: doctor.Warning, meaning: "subscribes to everything",
		},
		"log forgets": {
			fault: func(w *ward) {
				w.edit("EFW_w_0", func(c *jetstream.StreamConfig) { c.Discard = jetstream.DiscardOld })
			},
			check: "streams", severity: doctor.Error, meaning: "discard is DiscardOld, want DiscardNew",
		},
		"log forgets by age": {
			fault: func(w *ward) { w.edit("EFW_w_0", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }) },
			check: "streams", severity: doctor.Error, meaning: "forgets by age",
		},
		"results are forgotten by age": {
			fault: func(w *ward) { w.edit("EFO_w_0", func(c *jetstream.StreamConfig) { c.MaxAge = time.Hour }) },
			check: "streams", severity: doctor.Warning, meaning: "max_age is 1h0m0s, set by hand",
		},
		"frames have a largest size": {
			fault: func(w *ward) { w.edit("EFW_w_0", func(c *jetstream.StreamConfig) { c.MaxMsgSize = 1 << 20 }) },
			check: "streams", severity: doctor.Warning, meaning: "max_msg_size is 1048576, set by hand",
		},
		"results one by one": {
			fault: func(w *ward) {
				w.edit("EFO_w_0", func(c *jetstream.StreamConfig) { c.AllowAtomicPublish = false })
			},
			check: "streams", severity: doctor.Error, meaning: "allow_atomic is false, want true",
		},
		"log is full": {
			settings: func(c *config.Config) { c.WAL.BytesMax = 4 << 10 },
			fault: func(w *ward) {
				for range 100 {
					ctx, cancel := context.WithTimeout(w.within(), 3*time.Second)
					_, err := w.js.Publish(ctx, "events.S", []byte(`{"k":"a","v":1}`))
					cancel()
					if err != nil {
						return
					}
				}
			},
			check: "streams", severity: doctor.Error, meaning: "when it is full it takes no more",
		},
		"stream is gone": {
			fault: func(w *ward) {
				if err := w.js.DeleteStream(w.within(), "EFD_w"); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "streams", severity: doctor.Error, meaning: "not there",
		},
		"stream of no app": {
			fault: func(w *ward) {
				if _, err := natsconn.EnsureWAL(w.within(), w.js, "other", 0, natsconn.StreamLimits{}); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "streams", severity: doctor.Warning, meaning: "no deployed app",
		},
		"checkpoints are aborted": {
			fault: func(w *ward) {
				w.breakStore()
				w.publish(1)
				for range 3 {
					if o := w.checkpoint(); o.Committed {
						w.t.Errorf("%+v", o)
					}
				}
			},
			check: "checkpoints", severity: doctor.Error, meaning: "the last 3 checkpoints were aborted: partition 0: ",
		},
		"task has halted": {
			fault: func(w *ward) {
				if _, err := w.js.Publish(w.within(), "ef.wal.w.0", []byte("no frame")); err != nil {
					w.t.Fatal(err)
				}
				w.await("halted")
			},
			check: "tasks", severity: doctor.Error, meaning: "has halted: ",
		},
		"log is trimmed too far": {
			fault: func(w *ward) {
				w.publish(3)
				w.checkpoint()
				w.publish(3)
				s, err := w.js.Stream(w.within(), "EFW_w_0")
				if err != nil {
					w.t.Fatal(err)
				}
				if err := s.Purge(w.within()); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "logs", severity: doctor.Error, meaning: "a start from checkpoint 1 needs it from",
		},
		"log is another one": {
			fault: func(w *ward) {
				w.checkpoint()
				if err := w.js.DeleteStream(w.within(), "EFW_w_0"); err != nil {
					w.t.Fatal(err)
				}
				if _, err := natsconn.EnsureWAL(w.within(), w.js, "w", 0, natsconn.StreamLimits{}); err != nil {
					w.t.Fatal(err)
				}
			},
			check: "logs", severity: doctor.Error, meaning: "it is another one",
		},
		"another version": {
			fault: func(w *ward) {
				w.announce("ingest", "1.3.0", natsconn.Where(nil), nil)
				w.announce("processor", "1.3.0", map[string]string{"processor": "p2", "host": "h"}, nil)
			},
			check: "versions", severity: doctor.Warning, meaning: "recovery on " + host() + "), 1.3.0 (ingest on " + host() + ", processor p2). That works",
		},
		"another major version": {
			fault: func(w *ward) { w.announce("ingest", "2.0.0", nil, nil) },
			check: "versions", severity: doctor.Error, meaning: "2.0.0",
		},
		"clock is ahead": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now().Add(time.Minute)})
			},
			check: "clocks", severity: doctor.Error, meaning: "ahead of the one here",
		},
		"clock is behind": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now().Add(-time.Second)})
			},
			check: "clocks", severity: doctor.Warning, meaning: "behind the one here",
		},
		"publishers are about to be turned away": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), BytesWaiting: 95, BytesWaitingMax: 100, DeadLost: 1})
			},
			check: "ingest", severity: doctor.Warning, meaning: "95 % of what may wait",
		},
		"a task cannot keep up": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Closed: []ingest.ClosedLog{{App: "w", Reason: ingest.Lagging, Text: "app w, partition 0 is 12s behind"}}})
			},
			check: "ingest", severity: doctor.Warning, meaning: "events are refused: app w, partition 0 is 12s behind",
		},
		"results are missing": {
			fault: func(w *ward) {
				w.result("1:700.0", "0:0.0")
				w.result("1:900.0", "1:800.0")
			},
			check: "results", severity: doctor.Error, meaning: "1:900.0 on out.w.Missing.0 follows 1:800.0",
		},
		"results of a former generation are missing": {
			idle: true, fault: func(w *ward) {
				w.generation(2)
				w.result("1:700.0", "0:0.0")
				w.result("1:900.0", "1:800.0")
				w.result("2:800.0", "1:900.0")
			},
			check: "results", severity: doctor.Warning, meaning: "before the app's present one, 2, results are missing: 1:900.0",
		},
		"results are missing again": {
			idle: true, fault: func(w *ward) {
				w.generation(2)
				w.result("1:700.0", "0:0.0")
				w.result("1:900.0", "1:800.0")
				w.result("2:901.0", "2:900.0")
			},
			check: "results", severity: doctor.Error, meaning: "2:901.0 on out.w.Missing.0 follows 2:900.0",
		},
		"the front of the results is gone": {
			fault: func(w *ward) {
				s, err := w.js.Stream(w.t.Context(), natsconn.OutStream("w", 0))
				if err == nil {
					err = s.Purge(w.t.Context(), jetstream.WithPurgeSequence(2))
				}
				if err != nil {
					w.t.Fatal(err)
				}
			},
			check: "results", severity: doctor.Warning, meaning: "the stream starts at message 2",
		},
		"the disk is full": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), NoRoom: "the disk of data is full"})
			},
			check: "ingest", severity: doctor.Error, meaning: "the disk of data is full",
		},
		"a record is damaged": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Damaged: []string{"EFW_w_0 at byte 7"}})
			},
			check: "ingest", severity: doctor.Warning, meaning: "EFW_w_0 at byte 7",
		},
		"an app is left out": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Apps: []ingest.AppState{{App: "w", State: ingest.LeftOut, Reason: "NATS refuses the subscription to orders.>"}}})
			},
			check: "ingest", severity: doctor.Error, meaning: "app w is left out, and it takes no events: NATS refuses the subscription to orders.>",
		},
		"an app waits": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Apps: []ingest.AppState{{App: "w", State: ingest.Waiting, Reason: "its log is gone"}}})
			},
			check: "ingest", severity: doctor.Warning, meaning: "events for app w are refused: its log is gone",
		},
		"a log takes nothing": {
			fault: func(w *ward) {
				w.announce("ingest", "1.2.3", nil, ingest.Info{Time: time.Now(), Stalled: []string{"log of w/0 takes no frames"}})
			},
			check: "ingest", severity: doctor.Error, meaning: "log of w/0 takes no frames",
		},
		"no leader": {
			idle: true,
			fault: func(w *ward) {
				peers := []control.Peer{{ID: "a", Voter: true}, {ID: "b", Voter: true}, {ID: "c", Voter: true}}
				w.announce("checkpointer", "1.2.3", map[string]string{"raft_id": "a"}, nil)
				w.answer("ef.checkpointer.node.a.status", control.Status{ID: "a", State: "candidate", Peers: peers, Time: time.Now()})
			},
			check: "leader", severity: doctor.Error, meaning: "with 1 of 3 voters up",
		},
		"a member is away": {
			idle: true,
			fault: func(w *ward) {
				peers := []control.Peer{{ID: "a", Voter: true}, {ID: "b", Voter: true, Address: "b:1"}}
				w.announce("checkpointer", "1.2.3", map[string]string{"raft_id": "a"}, nil)
				w.answer("ef.checkpointer.node.a.status", control.Status{ID: "a", State: "leader", Leader: "a", Peers: peers, Time: time.Now()})
				w.answer("ef.checkpointer.apps", control.AppList{})
			},
			check: "leader", severity: doctor.Warning, meaning: "the member at b:1 does not answer; 2 of 2 voters must be up",
		},
		"partition has no task": {
			idle: true,
			fault: func(w *ward) {
				w.announce("checkpointer", "1.2.3", nil, nil)
				w.answer("ef.checkpointer.apps", control.AppList{Apps: []control.App{{Name: "w", Partitions: 1, Deployed: time.Now()}}})
				w.answer("ef.checkpointer.checkpoints", control.CheckpointList{})
			},
			check: "tasks", severity: doctor.Error, meaning: "no processor runs it",
		},
		"checkpoint is old": {
			idle: true,
			fault: func(w *ward) {
				w.cfg.Checkpoint.Interval = time.Second
				w.announce("checkpointer", "1.2.3", nil, nil)
				w.answer("ef.checkpointer.apps", control.AppList{Apps: []control.App{{Name: "w", Partitions: 1}}})
				old := control.CheckpointInfo{State: "committed", CheckpointRef: control.CheckpointRef{Epoch: 7, Time: time.Now().Add(-time.Hour)}}
				w.answer("ef.checkpointer.checkpoints", control.CheckpointList{Checkpoints: []control.CheckpointInfo{old}})
			},
			check: "checkpoints", severity: doctor.Error, meaning: "longer than retention.span",
		},
		"store is not there": {
			fault: func(w *ward) { w.cfg.Store.URL = "file:" + filepath.Join(w.t.TempDir(), "nowhere") },
			check: "store", severity: doctor.Error, meaning: "is not here",
		},
		"store is unknown": {
			fault: func(w *ward) { w.cfg.Store.URL = "other:place" },
			check: "store", severity: doctor.Error, meaning: "does not answer",
		},
		"store may forget": {
			idle: true, fault: func(w *ward) { w.cfg.Store.URL = redistest.Start(w.t).URL() },
			check: "store", severity: doctor.Warning, meaning: "redis keeps nothing on disk",
		},
		"store is not named": {
			fault: func(w *ward) { w.cfg.Store.URL = "" },
			check: "store", severity: doctor.Unknown, meaning: "was not looked at",
		},
		"monitor is not named": {
			idle: true, fault: func(w *ward) { w.cfg.NATS.Monitor = "" },
			check: "sync", severity: doctor.Unknown, meaning: "not told to ordinary clients",
		},
		"subscriber to a log, and no monitor": {
			idle: true, fault: func(w *ward) {
				w.cfg.NATS.Monitor = ""
				w.subscribe("ef.wal.*.0")
			},
			check: "subscribers", severity: doctor.Error, meaning: "subscribes to ef.wal.*.0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := open(t, c.options)
			if c.settings != nil {
				c.settings(w.cfg)
			}
			if !c.idle {
				w.run()
			}
			if c.fault != nil {
				c.fault(w)
			}
			found := w.examine()
			for _, f := range found {
				if f.Check == c.check && f.Severity == c.severity && strings.Contains(f.Meaning, c.meaning) {
					if f.Fix == "" {
						t.Errorf("no fix: %+v", f)
					}
					return
				}
			}
			t.Errorf("not found: %s %s %q; but\n%s", c.severity, c.check, c.meaning, text(found))
		})
	}
}

func TestStoreInMemory(t *testing.T) {
	const memory = "/dev/shm" // exists on most Linux systems
	if _, err := os.Stat(memory); err != nil {
		t.Logf("%s is not there", memory)
		return
	}
	dir, err := os.MkdirTemp(memory, "store")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	w := open(t, nil)
	w.cfg.Store.URL = "file:" + dir
	if found := text(w.examine()); !strings.Contains(found, "error store "+dir+": it is in memory") {
		t.Error(found)
	}
}

// await waits until the app's task is in the given state.
func (w *ward) await(state string) {
	w.t.Helper()
	for ctx := w.within(); ctx.Err() == nil; <-time.After(5 * time.Millisecond) {
		m, err := w.nc.RequestWithContext(ctx, "ef.processor.tasks", nil)
		if err == nil && strings.Contains(string(m.Data), `"state":"`+state+`"`) {
			return
		}
	}
	m, _ := w.nc.RequestWithContext(w.within(), "ef.processor.tasks", nil)
	w.t.Fatalf("no task is %s: %s", state, m.Data)
}

// breakStore makes the store refuse every write.
func (w *ward) breakStore() {
	w.t.Helper()
	dir := strings.TrimPrefix(w.cfg.Store.URL, "file:")
	if err := errors.Join(os.Rename(dir, dir+".gone"), os.WriteFile(dir, nil, 0o600)); err != nil {
		w.t.Fatal(err)
	}
}

// subscribe makes a client that subscribes to a subject.
func (w *ward) subscribe(subject string) {
	w.t.Helper()
	sub, err := w.nc.SubscribeSync(subject)
	if err == nil {
		err = sub.SetPendingLimits(-1, -1)
	}
	if err := errors.Join(err, w.nc.Flush()); err != nil {
		w.t.Fatal(err)
	}
}

func host() string {
	name, _ := os.Hostname()
	return name
}

// announce acts as a service that reports the given statistics.
func (w *ward) announce(service, version string, metadata map[string]string, says any) {
	w.t.Helper()
	c := micro.Config{Name: natsconn.ServiceName(service), Version: version, Metadata: metadata}
	if says != nil {
		c.StatsHandler = func(*micro.Endpoint) any { return says }
	}
	s, err := micro.AddService(w.nc, c)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { _ = s.Stop() })
	if err := s.AddEndpoint("streams", micro.HandlerFunc(func(r micro.Request) { _ = r.Respond(nil) }), micro.WithEndpointSubject("played")); err != nil {
		w.t.Fatal(err)
	}
}

// answer acts as an endpoint.
func (w *ward) answer(subject string, says any) {
	w.t.Helper()
	data, err := json.Marshal(says)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.nc.Subscribe(subject, func(m *nats.Msg) { _ = m.Respond(data) }); err != nil {
		w.t.Fatal(err)
	}
}
