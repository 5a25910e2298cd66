package node

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"testing"

	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
	"github.com/eventflux/eventflux/shared/testing/testlog"
)

// A process whose NATS server is gone stops on request, and logs that it has handed nothing over.
func TestStopWithoutNATS(t *testing.T) {
	t.Parallel()
	srv, err := natsconn.OpenEmbedded(natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: natsconn.Fast, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	var said testlog.Buffer
	cfg := config.Default()
	cfg.Data, cfg.NATS.URL, cfg.WAL.Durability, cfg.Raft.Listen = t.TempDir(), srv.URL(), "fast", ""
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n, err := Open(ctx, cfg, Services, []string{"@app:name('gone') define stream S (v int); from S select v insert into Out;"}, "1.0.0", said.Logger())
	if err != nil {
		t.Fatal(errors.Join(err, srv.Close()))
	}
	ready, done := make(chan struct{}, 8), make(chan error, 1)
	go func() { done <- n.Run(ctx, func([]*siddhiql.Plan) { ready <- struct{}{} }) }()
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(errors.Join(err, n.Close(), srv.Close()))
	}
	if err := srv.Close(); err != nil {
		t.Error(err)
	}
	for !n.away() { // until all connections have noticed
		runtime.Gosched()
	}
	cancel()
	if err := errors.Join(<-done, n.Close()); err != nil {
		t.Error(err)
	}
	if !strings.Contains(said.String(), "NATS is away, so partitions are not handed over") {
		t.Error(said.String())
	}
}
