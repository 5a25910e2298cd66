package natsconn

import (
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
)

// relay is a connection to a server that can fall silent without notice, as when its machine
// is gone.
type relay struct {
	net.Listener
	to     string
	silent atomic.Bool
	used   atomic.Bool
	all    sync.WaitGroup
}

func newRelay(t *testing.T, to string) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l, to: strings.TrimPrefix(to, "nats://")}
	r.all.Go(r.serve)
	t.Cleanup(func() { _ = l.Close(); r.all.Wait() })
	return r
}

func (r *relay) serve() {
	for {
		from, err := r.Accept()
		if err != nil {
			return
		}
		to, err := net.Dial("tcp", r.to)
		if err != nil {
			_ = from.Close()
			continue
		}
		r.used.Store(true)
		r.all.Go(func() { r.pass(to, from) })
		r.all.Go(func() { r.pass(from, to) })
	}
}

func (r *relay) pass(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 4096)
	for {
		n, err := from.Read(buf)
		if r.silent.Load() {
			_, _ = io.Copy(io.Discard, from)
			return
		}
		if err != nil {
			return
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}

// A connection goes to another server when the machine of its own has gone without a word.
func TestConnectLeavesSilentServer(t *testing.T) {
	t.Parallel()
	srv, err := OpenEmbedded(EmbeddedConfig{Dir: t.TempDir(), Listen: "127.0.0.1:0", Durability: Fast, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	relays := []*relay{newRelay(t, srv.URL()), newRelay(t, srv.URL())}
	urls := "nats://" + relays[0].Addr().String() + ",nats://" + relays[1].Addr().String()
	nc, err := Connect(t.Context(), ConnectConfig{URL: urls, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	changed := nc.StatusChanged(nats.CONNECTED)
	for _, r := range relays {
		r.silent.Store(r.used.Load())
	}
	select {
	case <-changed:
	case <-time.After(time.Minute):
		t.Fatal("it still waits for the server that says nothing")
	}
	if err := nc.Flush(); err != nil {
		t.Error(err)
	}
}
