package node

import (
	"log/slog"
	"net"
	"strings"
	"testing"
)

// Each thing that another process has needs another remedy.
func TestInUse(t *testing.T) {
	t.Parallel()
	c := newChain(t, windowApp)
	c.start()
	defer c.end()
	refused := func(listen, data, want, other string) {
		t.Helper()
		cfg := *c.cfg
		cfg.Listen, cfg.Data = listen, data
		_, err := Open(c.within(), &cfg, Services, c.apps, "1.0.0", slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), other) {
			t.Errorf("%v, want %s, and not %s", err, want, other)
		}
	}
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	refused(held.Addr().String(), t.TempDir(), "--nats.url nats://"+held.Addr().String(), "--data")
	refused("127.0.0.1:0", c.cfg.Data, "--data", "--nats.url")
}
