package control_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"eventflux/shared/bus"
	"eventflux/shared/control"
)

// Requests that a frozen checkpointer gets are answered by another one.
func TestFrozenCheckpointer(t *testing.T) {
	srv, err := bus.OpenEmbedded(bus.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: bus.Fast, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	}()
	nc, err := nats.Connect(srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	subject := bus.ServiceSubject(control.Service, control.VerbApps)
	asked := make(chan struct{}, 100)
	for _, answer := range []nats.MsgHandler{
		func(*nats.Msg) { asked <- struct{}{} },
		func(m *nats.Msg) { _ = m.Respond([]byte(`{"apps":[{"name":"a"}]}`)) },
	} {
		if _, err := nc.QueueSubscribe(subject, "q", answer); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c := control.Client{Conn: nc}
	for len(asked) < 3 {
		began := time.Now()
		list, err := c.Apps(ctx)
		if err != nil || len(list.Apps) != 1 {
			t.Fatalf("%+v, %v", list, err)
		}
		if took := time.Since(began); took > 8*time.Second {
			t.Errorf("answered after %s", took)
		}
	}
}
