package doctor_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/cli/doctor"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// doctor reports what an ordinary connection can learn about a cluster, and what it cannot.
func TestCluster(t *testing.T) {
	c := startCluster(t, 3)
	c.ensure("w", 1)
	told := ", in cluster c of 3 servers: n0, n1, n2"
	synced := "ok sync NATS: 3 servers were asked and sync as durable demands"
	nobody := "ok subscribers ef.wal.>: no client subscribes to a log on core NATS"
	oneCopy := "warning replicas EFW_w_0: it has one copy in cluster c: with its server the app stops, and with its disk the data are gone | set nats.replicas to 3 at all checkpointers"

	// All servers are configured, so none has to be learned from INFO.
	c.finds("app", c.urls(), c.monitors(), told, oneCopy, synced, nobody)
	c.finds("app", c.urls()[:1], nil, told, oneCopy,
		"unknown sync NATS: whether a server syncs before it acknowledges is not told to ordinary clients, and was not told at a monitoring port by any NATS server", nobody)
	c.finds("app", c.urls(), c.monitors()[:1], told, "at a monitoring port by 2 of 3 NATS servers", nobody)

	// With a replica on each server, the stream names the servers even if they do not answer.
	c.ensure("w", 3)
	seen := ", in cluster c. This connection is not told which servers that has; seen are n0, n1, n2"
	copies := "ok replicas streams: all have copies on several servers"
	more := "; whether the cluster has more servers is unknown"
	c.finds("app", c.urls(), c.monitors(), told, copies, synced, nobody)
	c.finds("restricted", c.urls(), c.monitors(), seen, copies, synced+more, nobody+more)
	c.finds("restricted", c.urls(), c.monitors()[:2], seen, copies,
		"at a monitoring port by 1 of 3 NATS servers", "to the logs on core NATS are unknown: no answer from 1 of 3 NATS servers")
	c.finds("restricted", c.urls()[1:], nil, seen, copies,
		"at a monitoring port by any NATS server", "to the logs on core NATS are unknown: no answer from any NATS server")

	// A subscriber is found on any server.
	other := c.connect("app", c.urls()[2:])
	if _, err := other.SubscribeSync("ef.wal.w.0"); err != nil {
		t.Fatal(err)
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	c.finds("app", c.urls()[:1], nil, "it subscribes to ef.wal.w.0 on core NATS")
	c.finds("restricted", c.urls()[:1], c.monitors(), "it subscribes to ef.wal.w.0 on core NATS")
}

// One server is not a cluster.
func TestNoCluster(t *testing.T) {
	w := open(t, nil)
	none := "ok replicas streams: there are none"
	if found := text(w.examine()); !strings.Contains(found, none) || strings.Contains(found, "cluster") {
		t.Errorf("not %q in\n%s", none, found)
	}
	if _, err := natsconn.EnsureWAL(w.within(), w.js, "w", 0, natsconn.StreamLimits{}); err != nil {
		t.Fatal(err)
	}
	one := "ok replicas streams: JetStream is no cluster here, so there is one copy of each"
	if found := text(w.examine()); !strings.Contains(found, one) {
		t.Errorf("not %q in\n%s", one, found)
	}
}

// cluster is one cluster of servers with the users app and restricted; neither may ask servers
// about themselves.
type cluster struct {
	t       *testing.T
	servers []*server.Server
}

func startCluster(t *testing.T, n int) *cluster {
	t.Helper()
	c := &cluster{t: t}
	routes := "nats://127.0.0.1:1" // not running: the others connect to this one
	for i := range n {
		srv := start(t, &server.Options{
			ServerName: fmt.Sprint("n", i), Host: "127.0.0.1", Port: -1, HTTPHost: "127.0.0.1", HTTPPort: -1, NoSigs: true, NoLog: true,
			JetStream: true, StoreDir: t.TempDir(), JetStreamMaxStore: 64 << 20, JetStreamMaxMemory: 1 << 20, SyncAlways: true,
			Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}, Routes: server.RoutesFromStr(routes),
			Users: []*server.User{
				{Username: "app", Password: "pw"},
				{Username: "restricted", Password: "pw", Permissions: &server.Permissions{
					Publish: &server.SubjectPermission{Deny: []string{"$SYS.>"}},
				}},
			},
		})
		if i == 0 {
			routes = fmt.Sprintf("nats://%s", srv.ClusterAddr())
		}
		c.servers = append(c.servers, srv)
	}
	return c
}

func (c *cluster) urls() (all []string) {
	for _, srv := range c.servers {
		all = append(all, srv.ClientURL())
	}
	return all
}

func (c *cluster) monitors() (all []string) {
	for _, srv := range c.servers {
		all = append(all, "http://"+srv.MonitorAddr().String())
	}
	return all
}

func (c *cluster) connect(user string, urls []string) *nats.Conn {
	c.t.Helper()
	nc, err := nats.Connect(strings.Join(urls, ","), nats.UserInfo(user, "pw"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(nc.Close)
	return nc
}

// ensure creates the log of an app or changes its number of replicas, and returns when all are
// current.
func (c *cluster) ensure(app string, replicas int) {
	c.t.Helper()
	js, err := jetstream.New(c.connect("app", c.urls()))
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	for {
		attempt, cancel := context.WithTimeout(ctx, time.Second)
		s, err := natsconn.EnsureWAL(attempt, js, app, 0, natsconn.StreamLimits{Replicas: replicas})
		if err == nil && current(attempt, s, replicas) {
			cancel()
			return
		}
		cancel()
		select {
		case <-ctx.Done():
			c.t.Fatal(err)
		case <-time.After(100 * time.Millisecond): // during an election
		}
	}
}

func current(ctx context.Context, s jetstream.Stream, replicas int) bool {
	info, err := s.Info(ctx)
	return err == nil && info.Cluster.Leader != "" && len(info.Cluster.Replicas) == replicas-1 &&
		!slices.ContainsFunc(info.Cluster.Replicas, func(p *jetstream.PeerInfo) bool { return !p.Current })
}

// finds examines the cluster as a user who has some of the servers' URLs.
func (c *cluster) finds(user string, urls, monitors []string, want ...string) {
	c.t.Helper()
	nc := c.connect(user, urls)
	defer nc.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	cfg := config.Default()
	cfg.WAL.Durability, cfg.NATS.Monitor = "durable", strings.Join(monitors, ",")
	for { // a replica may lag for a moment, and a server may be slow to answer
		found, err := doctor.Examine(ctx, doctor.Config{Conn: nc, Settings: cfg})
		if err != nil {
			c.t.Fatal(err)
		}
		missing := slices.DeleteFunc(slices.Clone(want), func(line string) bool { return strings.Contains(text(found), line) })
		if len(missing) == 0 {
			return
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			c.t.Fatalf("%s, %d URLs, %d monitors: not %q in\n%s", user, len(urls), len(monitors), missing, text(found))
		}
	}
}
