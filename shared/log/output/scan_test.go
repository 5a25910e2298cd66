package output

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/eventflux/eventflux/shared/log/natsconn"
)

// A server that restarts in the middle of a scan has forgotten its consumer. The scan goes on
// after the last message that it has seen.
func TestScanGoesOnAfterARestart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	quiet := slog.New(slog.DiscardHandler)
	cfg := natsconn.EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Log: quiet}
	server, err := natsconn.OpenEmbedded(cfg)
	must(t, err)
	defer func() { must(t, server.Close()) }()
	nc, err := nats.Connect(server.URL(), nats.MaxReconnects(-1), nats.ReconnectWait(10*time.Millisecond))
	must(t, err)
	defer nc.Close()
	js, err := jetstream.New(nc)
	must(t, err)
	_, err = natsconn.EnsureOut(ctx, js, "a", 0, natsconn.StreamLimits{})
	must(t, err)
	const messages = 2*scanMessages + 10
	for i := range messages {
		_, err := js.PublishMsg(ctx, &nats.Msg{Subject: natsconn.OutSubject("a", "S", 0), Header: nats.Header{HeaderPosition: {fmt.Sprint(i)}}})
		must(t, err)
	}
	cfg.Listen = nc.ConnectedAddr()
	next := uint64(3)
	must(t, Scan(ctx, js, natsconn.OutStream("a", 0), next, messages-1, func(seq uint64, _ string, h nats.Header) error {
		if seq != next || h.Get(HeaderPosition) != fmt.Sprint(seq-1) {
			return fmt.Errorf("message %d with position %s, want %d", seq, h.Get(HeaderPosition), next)
		}
		if next++; seq == scanMessages/2 || seq == scanMessages {
			must(t, server.Close())
			server, err = natsconn.OpenEmbedded(cfg)
			must(t, err)
		}
		return nil
	}))
	if next != messages {
		t.Errorf("seen up to %d, want %d", next-1, messages-1)
	}
}
