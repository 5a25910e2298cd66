package node

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/services/recovery"
	"github.com/eventflux/eventflux/shared/control"
	"github.com/eventflux/eventflux/shared/lang/siddhiql"
	"github.com/eventflux/eventflux/shared/log/natsconn"
	"github.com/eventflux/eventflux/shared/ops/config"
)

// A node says that it is ready once each of its services answers requests, and not before.
func TestReadyOnceEveryServiceAnswers(t *testing.T) {
	t.Parallel()
	cfg := config.Default()
	cfg.Data, cfg.Listen, cfg.WAL.Durability = t.TempDir(), "127.0.0.1:0", "fast"
	n, err := Open(t.Context(), cfg, Services, nil, "1.0.0", slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	nc, err := nats.Connect(n.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	last := make(chan struct{}) // one more service, which takes long
	n.answering = append(n.answering, last)
	ctx, cancel := context.WithCancel(context.Background())
	ready, done := make(chan struct{}), make(chan error, 1)
	go func() { done <- errors.Join(n.Run(ctx, func([]*siddhiql.Plan) { close(ready) }), n.Close()) }()
	for _, answers := range []<-chan struct{}{n.recovery.Ready(), n.merger.Ready(), n.checkpoint.Ready()} {
		<-answers
	}
	select {
	case <-ready:
		t.Error("ready before all services are")
	default:
	}
	close(last)
	<-ready
	for service, verb := range map[string]string{
		"processor": "tasks", control.Service: control.VerbApp, control.MergerService: control.VerbMergerStatus, recovery.ServiceName: recovery.VerbPlan,
	} {
		within, stop := context.WithTimeout(t.Context(), 5*time.Minute)
		if _, err := nc.RequestWithContext(within, natsconn.ServiceSubject(service, verb), []byte("{}")); err != nil {
			t.Errorf("%s: %v", service, err)
		}
		stop()
	}
	cancel()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}
