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

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/state/checkpoint"
)

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
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
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
