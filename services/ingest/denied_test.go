package ingest

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// guarded is a server where ingest may subscribe only to some subjects.
type guarded struct {
	t    *testing.T
	srv  *server.Server
	opts server.Options
}

func newGuarded(t *testing.T, allowed ...string) *guarded {
	t.Helper()
	g := &guarded{t: t, opts: server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true}}
	g.opts.Users = g.users(allowed)
	opts := g.opts
	srv, err := server.NewServer(&opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	if !srv.ReadyForConnections(20 * time.Second) {
		t.Fatal("the server does not start")
	}
	g.srv, g.opts.Port = srv, opts.Port
	return g
}

func (g *guarded) users(allowed []string) []*server.User {
	allowed = append([]string{"_INBOX.>", "ef.>", "$SRV.>"}, allowed...)
	ingest := &server.Permissions{Subscribe: &server.SubjectPermission{Allow: allowed}}
	return []*server.User{{Username: "all", Password: "pw"}, {Username: "ingest", Password: "pw", Permissions: ingest}}
}

// allow changes what ingest may subscribe to.
func (g *guarded) allow(allowed ...string) {
	g.t.Helper()
	opts := g.opts
	opts.Users = g.users(allowed)
	if err := g.srv.ReloadOptions(&opts); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guarded) connect(user string, gate *Gate) *nats.Conn {
	g.t.Helper()
	password := filepath.Join(g.t.TempDir(), "pw")
	if err := os.WriteFile(password, []byte("pw"), 0o600); err != nil {
		g.t.Fatal(err)
	}
	cfg := natsconn.ConnectConfig{URL: g.srv.ClientURL(), User: user, PasswordFile: password, Log: quiet}
	if gate != nil {
		cfg.BeforeRead = gate.Wait
	}
	nc, err := natsconn.Connect(within(g.t), cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(nc.Close)
	return nc
}

const (
	ordersApp = `@app:name('wide') @source(subject='orders.>') define stream W (n long); from W select n insert into WideOut;`
	orderApp  = `@app:name('narrow') @source(subject='orders.eu') define stream N (n long); from N select n insert into NarrowOut;`
)

// startGuarded runs ingest as the user with limited subscriptions.
func startGuarded(g *guarded, apps ...string) *rig {
	t := g.t
	t.Helper()
	r := &rig{t: t, done: make(chan error, 1), at: natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: quiet}}
	var err error
	if r.srv, err = natsconn.OpenEmbedded(r.at); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := r.srv.Close(); err != nil {
			t.Error(err)
		}
	})
	r.pub = g.connect("all", nil)
	if r.js, err = jetstream.New(r.pub); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.js.CleanupPublisher)
	if _, err := r.js.CreateKeyValue(within(t), jetstream.KeyValueConfig{Bucket: natsconn.LinksBucket}); err != nil {
		t.Fatal(err)
	}
	r.begin(func(cfg *Config) { cfg.Conn, cfg.LogConn = g.connect("ingest", cfg.Gate), r.pub }, apps...)
	t.Cleanup(func() { r.end() })
	return r
}

// A subscription that no app needs may be refused. Other refusals at the same time are still
// noticed, and subscriptions that no app needs any more end.
func TestDeniedDefaultSubjects(t *testing.T) {
	g := newGuarded(t, "orders.eu")
	r := startGuarded(g, ordersApp, orderApp)
	r.state("narrow", Serving)
	r.state("wide", LeftOut)
	u := r.svc.unit("wide")
	r.svc.changing.Lock()
	u.joined = true // it tries again
	if err := r.svc.reroute(); err != nil || u.joined {
		t.Errorf("an app whose subscription is refused counts as subscribed: %v", err)
	}
	r.svc.changing.Unlock()
	r.svc.Serve(nil)
	if err := r.svc.cfg.Conn.Flush(); err != nil {
		t.Fatal(err)
	}
	if _, err := r.pub.RequestWithContext(within(t), "orders.eu", []byte(`{"n":1}`)); !errors.Is(err, nats.ErrNoResponders) {
		t.Errorf("a subject that no app reads: %v", err)
	}
}

// If ingest may not subscribe to an app's subject, the app is left out, with the reason. Other
// apps are served, and so is the app once the permissions allow it.
func TestDeniedSubscription(t *testing.T) {
	g := newGuarded(t, "events.>", "orders.eu")
	r := startGuarded(g, flightsApp, ordersApp, orderApp)

	leftOut := func(app, pattern string) {
		t.Helper()
		if reason := r.state(app, LeftOut); !strings.Contains(reason, "NATS refuses the subscription to "+pattern) {
			t.Fatalf("app %s: %s", app, reason)
		}
	}
	taken := func(subject, event string) {
		t.Helper()
		if ack := r.ask(subject, event); ack.Error != nil {
			t.Fatalf("%s: %+v", subject, ack)
		}
	}
	leftOut("wide", "orders.>")
	r.state("a", Serving)
	r.state("narrow", Serving)
	taken("events.Flights", `{"origin":"x","delay":1}`)
	taken("orders.eu", `{"n":1}`)

	g.allow("events.>", "orders.>")
	r.state("wide", Serving)
	taken("orders.eu", `{"n":2}`)

	g.allow("orders.>") // it changes while ingest runs
	leftOut("a", "events.>")
	taken("orders.eu", `{"n":3}`)

	g.allow("events.>", "orders.>")
	r.state("a", Serving)
	taken("events.Flights", `{"origin":"x","delay":1}`)
	if got := len(r.logged("wide", 0)); got != 2 {
		t.Errorf("%d events in the log of the app that was left out at first, want 2", got)
	}
}
