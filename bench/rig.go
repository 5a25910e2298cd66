package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/cli/node"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

const appName = "bench"

// deployment is an app under the equivalent of "eventflux run": server, ingest and processor in
// this process, profile durable, in a data folder of its own.
type deployment struct {
	node   *node.Node
	dir    string
	log    *slog.Logger
	cancel context.CancelFunc
	ended  chan error
	conns  []*nats.Conn
}

// deploy returns once events of flights are accepted.
func (b *bench) deploy(ctx context.Context, queries string) (*deployment, error) {
	return b.deployWith(ctx, flightsStream+queries, func(*config.Config) {})
}

// deployWith is deploy with another stream and other settings.
func (b *bench) deployWith(ctx context.Context, app string, set func(*config.Config)) (*deployment, error) {
	text := "@app:name('" + appName + "')\n" + app
	d := &deployment{log: b.log(), ended: make(chan error, 1)}
	var err error
	if d.dir, err = os.MkdirTemp(b.dir, "node-*"); err != nil {
		return nil, err
	}
	cfg := config.Default()
	cfg.Data, cfg.Listen = d.dir, "127.0.0.1:0"
	set(cfg)
	if d.node, err = node.Open(ctx, cfg, node.Services, []string{text}, "1.0.0-bench", d.log); err != nil {
		return nil, errors.Join(err, os.RemoveAll(d.dir))
	}
	var running context.Context
	running, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	ready := make(chan struct{})
	var once sync.Once // an app that is changed is ready again
	go func() { d.ended <- d.node.Run(running, func([]*siddhiql.Plan) { once.Do(func() { close(ready) }) }) }()
	select {
	case <-ready:
		return d, nil
	case err := <-d.ended:
		d.ended <- err
		return nil, errors.Join(fmt.Errorf("the app ended before it was ready: %w", err), d.close())
	}
}

// close stops the app as SIGTERM does, and removes its data.
func (d *deployment) close() error {
	for _, nc := range d.conns {
		nc.Close()
	}
	d.cancel()
	return errors.Join(<-d.ended, d.node.Close(), os.RemoveAll(d.dir))
}

// connect returns a connection over loopback TCP, as another process would use.
func (d *deployment) connect(ctx context.Context, name string) (*nats.Conn, error) {
	nc, err := natsconn.Connect(ctx, natsconn.ConnectConfig{URL: d.node.URL(), Name: name, Log: d.log})
	if err == nil {
		d.conns = append(d.conns, nc)
	}
	return nc, err
}

// log prints warnings between the progress lines.
func (b *bench) log() *slog.Logger {
	return slog.New(slog.NewTextHandler(b.progress, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// server is an embedded server without an app, for limits and peers.
type server struct {
	*natsconn.Embedded
	dir string
	log *slog.Logger
	all []*nats.Conn
}

func (b *bench) openServer() (*server, error) {
	dir, err := os.MkdirTemp(b.dir, "nats-*")
	if err != nil {
		return nil, err
	}
	s := &server{dir: dir, log: b.log()}
	s.Embedded, err = natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: dir, Listen: "127.0.0.1:0", Durability: natsconn.Durable, Log: s.log})
	if err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return s, nil
}

// connect returns a connection over loopback TCP, or one inside the process.
func (s *server) connect(ctx context.Context, inside bool) (*nats.Conn, error) {
	cfg := natsconn.ConnectConfig{URL: s.URL(), Log: s.log}
	if inside {
		cfg.Embedded = s.Embedded
	}
	nc, err := natsconn.Connect(ctx, cfg)
	if err == nil {
		s.all = append(s.all, nc)
	}
	return nc, err
}

func (s *server) close() error {
	for _, nc := range s.all {
		nc.Close()
	}
	return errors.Join(s.Close(), os.RemoveAll(s.dir))
}
