package processor

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A task that starts while the server is unavailable tries again until it is available.
func TestTaskWaitsForTheServer(t *testing.T) {
	cfg := natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: quiet}
	srv, err := natsconn.OpenEmbedded(cfg)
	must(t, err)
	cfg.Listen = strings.TrimPrefix(srv.URL(), "nats://")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	nc, err := natsconn.Connect(ctx, natsconn.ConnectConfig{URL: srv.URL(), Log: quiet})
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	plan, err := siddhiql.Compile(sums)
	must(t, err)
	deployLog(ctx, t, js, sums)
	must(t, srv.Close())

	s, err := New(Config{Conn: nc, Apps: []*siddhiql.Plan{plan}, Settings: settings, Version: "1.0.0", Log: quiet})
	must(t, err)
	running, stop := context.WithCancel(context.Background())
	ended := make(chan struct{})
	s.start(running, app{plan: plan, settings: settings, number: 1, first: plan.Digest}, control.Assigned{App: plan.Name})
	go func() { defer close(ended); <-s.all()[0].ended }()
	defer func() { stop(); <-ended }()
	r := &rig{t: t}
	r.eventually("the task has met the absence", func() bool { return s.Tasks()[0].Error != "" })
	if info := s.Tasks()[0]; info.State != control.TaskStarting {
		t.Errorf("state %s, want %s; error %s", info.State, control.TaskStarting, info.Error)
	}
	srv, err = natsconn.OpenEmbedded(cfg)
	must(t, err)
	defer func() { must(t, srv.Close()) }()
	r.eventually("the task runs", func() bool { return s.Tasks()[0].State == control.TaskRunning })
}
