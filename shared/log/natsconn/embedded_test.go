package natsconn

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/eventflux/eventflux/shared/testing/testlog"
)

func TestEmbeddedKeepsWhatItAcknowledged(t *testing.T) {
	dir := t.TempDir()
	for run := uint64(1); run <= 2; run++ {
		e := openEmbedded(t, EmbeddedConfig{Dir: dir})
		if url := e.URL(); url != "" {
			t.Fatalf("it listens on %s, though told not to", url)
		}
		js := connect(t, ConnectConfig{Embedded: e, Name: "test"})
		if _, err := EnsureWAL(within(t), js, "app", 0, StreamLimits{}); err != nil {
			t.Fatal(err)
		}
		ack, err := js.Publish(within(t), WALSubject("app", 0), []byte("x"))
		if err != nil {
			t.Fatal(err)
		}
		if ack.Sequence != run {
			t.Fatalf("run %d: sequence %d, want %d", run, ack.Sequence, run)
		}
		js.Conn().Close()
		if err := e.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEmbeddedListens(t *testing.T) {
	e := openEmbedded(t, EmbeddedConfig{Listen: "127.0.0.1:0", Durability: Fast})
	js := connect(t, ConnectConfig{URL: e.URL(), Name: "outside"})
	if _, err := js.AccountInfo(within(t)); err != nil {
		t.Fatal(err)
	}
	if size := js.Conn().MaxPayload(); size != payloadBytesMax {
		t.Errorf("largest payload %d, want %d", size, payloadBytesMax)
	}
}

func TestEmbeddedRefusesWhatIsInUse(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = held.Close() }()
	dir := t.TempDir()
	_, err = OpenEmbedded(EmbeddedConfig{Dir: dir, Listen: held.Addr().String(), Log: quiet})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), held.Addr().String()) {
		t.Errorf("address in use: %v", err)
	}
	openEmbedded(t, EmbeddedConfig{Dir: dir})
	_, err = OpenEmbedded(EmbeddedConfig{Dir: dir, Log: quiet})
	if !errors.Is(err, ErrInUse) || !strings.Contains(err.Error(), dir) {
		t.Errorf("folder in use: %v", err)
	}
	// An address of another machine is free, and no use.
	if _, err = OpenEmbedded(EmbeddedConfig{Dir: t.TempDir(), Listen: "192.0.2.1:4222", Log: quiet}); err == nil || errors.Is(err, ErrInUse) {
		t.Errorf("an address of another machine: %v", err)
	}
}

// The server calls Fatalf where its own logger ends the process.
func TestEmbeddedReturnsFatalErrors(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "jetstream"), []byte("not a folder"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := OpenEmbedded(EmbeddedConfig{Dir: dir, Log: quiet})
	if err == nil || !strings.Contains(err.Error(), "JetStream") {
		t.Fatalf("a store that cannot be opened: %v", err)
	}
	if _, err := OpenEmbedded(EmbeddedConfig{Dir: dir, Log: quiet}); errors.Is(err, ErrInUse) {
		t.Errorf("the folder stayed locked: %v", err)
	}
}

// A stream whose disk has refused a write accepts nothing more, and the server reports that.
func TestEmbeddedTellsOfARefusedWrite(t *testing.T) {
	dir := t.TempDir()
	e := openEmbedded(t, EmbeddedConfig{Dir: dir})
	js := connect(t, ConnectConfig{Embedded: e})
	ctx := within(t)
	if _, err := EnsureWAL(ctx, js, "app", 0, StreamLimits{}); err != nil {
		t.Fatal(err)
	}
	if err := e.Health(); err != nil {
		t.Fatal(err)
	}
	blocks, err := filepath.Glob(filepath.Join(dir, "jetstream", "*", "streams", "EFW_app_0", "msgs"))
	if err != nil || len(blocks) != 1 {
		t.Fatal(blocks, err)
	}
	if err := os.RemoveAll(blocks[0]); err != nil { // the next block cannot be made
		t.Fatal(err)
	}
	for message := make([]byte, 1<<20); e.Health() == nil; {
		publishing, cancel := context.WithTimeout(ctx, time.Second)
		_, err := js.Publish(publishing, WALSubject("app", 0), message)
		cancel()
		if ctx.Err() != nil {
			t.Fatalf("the server is well, and says: %v", err)
		}
	}
	if err := e.Health(); !strings.Contains(err.Error(), "EFW_app_0") || !strings.Contains(err.Error(), "restart") {
		t.Error(err)
	}
}

func TestEmbeddedChecksItsSettings(t *testing.T) {
	for name, cfg := range map[string]EmbeddedConfig{
		"folder":     {},
		"of its fil": {Dir: "x", StoreBytesMax: -1},
		"durability": {Dir: "x", Durability: 9},
		"host:port":  {Dir: "x", Listen: "nowhere"},
	} {
		if _, err := OpenEmbedded(cfg); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestConnectEndsWithContext(t *testing.T) {
	held, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := held.Addr().String()
	if err := held.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	var log testlog.Buffer
	_, err = Connect(ctx, ConnectConfig{URL: "nats://" + addr, Log: log.Logger()})
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), addr) {
		t.Fatalf("no server: %v", err)
	}
	if n := strings.Count(log.String(), "NATS does not answer"); n != 1 {
		t.Errorf("while it waits, it says %d times: %s", n, log.String())
	}
}

func TestSyncIsToldToTheSystemAccountAlone(t *testing.T) {
	for _, d := range []Durability{Durable, Balanced, Fast} {
		servers := askWithSystemAccount(t, d)
		for _, demand := range []Durability{Durable, Balanced, Fast} {
			if err := CheckSync(demand, servers); (err == nil) != (d <= demand) {
				t.Errorf("server %s, demand %s: %v", d, demand, err)
			}
		}
	}
	e := openEmbedded(t, EmbeddedConfig{})
	js := connect(t, ConnectConfig{Embedded: e})
	if _, err := SyncOverNATS(within(t), js.Conn()); !errors.Is(err, ErrSyncUnknown) {
		t.Errorf("ordinary connection: %v, want ErrSyncUnknown", err)
	}
}

func TestSyncOverHTTP(t *testing.T) {
	srv := startServer(t, Balanced)
	s, err := SyncOverHTTP(within(t), "http://"+srv.MonitorAddr().String())
	if err != nil {
		t.Fatal(err)
	}
	if s.Always || s.Interval != syncIntervalBalanced {
		t.Errorf("told %+v", s)
	}
}

func askWithSystemAccount(t *testing.T, d Durability) []ServerSync {
	t.Helper()
	srv := startServer(t, d)
	nc, err := nats.Connect("", nats.InProcessServer(srv), nats.UserInfo("sys", "pw"))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	servers, err := SyncOverNATS(within(t), nc)
	if err != nil {
		t.Fatal(err)
	}
	return servers
}

func startServer(t *testing.T, d Durability) *server.Server {
	t.Helper()
	opts := &server.Options{DontListen: true, NoSigs: true, NoLog: true, HTTPHost: "127.0.0.1", HTTPPort: -1}
	config := `accounts { SYS { users [{user: sys, password: pw}] }, APP { jetstream: enabled, users [{user: app, password: pw}] } }
		system_account: SYS`
	if err := opts.ProcessConfigString(config); err != nil {
		t.Fatal(err)
	}
	opts.JetStream, opts.StoreDir = true, t.TempDir()
	d.apply(opts)
	srv, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	srv.Start()
	t.Cleanup(func() { srv.Shutdown(); srv.WaitForShutdown() })
	return srv
}

// A server whose JetStream is off for another reason than a full disk does not promise that
// room helps.
func TestHealthSaysWhyJetStreamIsOff(t *testing.T) {
	for said, want := range map[string]struct {
		text string
		room bool
	}{
		"": {"the server gave no reason", false},
		"JetStream being DISABLED, our server was removed from the cluster": {"removed from the cluster", false},
		"JetStream out of File resources, will be DISABLED":                 {"no room", true},
	} {
		e, err := OpenEmbedded(EmbeddedConfig{Dir: t.TempDir(), Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		// A request that is answered: if JetStream is shut down while its goroutines start, the race
		// detector finds that the server writes what they read.
		if _, err := connect(t, ConnectConfig{Embedded: e}).AccountInfo(within(t)); err != nil {
			t.Fatal(err)
		}
		if said != "" {
			e.log.Errorf("%s", said)
		}
		if err := e.srv.ShutdownJetStream(); err != nil {
			t.Fatal(err)
		}
		if err := e.Health(); err == nil || !strings.Contains(err.Error(), want.text) || errors.Is(err, ErrNoRoom) != want.room {
			t.Errorf("%q: %v", said, err)
		}
		if fatal, err := e.Restart(); fatal != nil || err != nil || e.Health() != nil {
			t.Errorf("%q: after a restart: %v, %v, %v", said, fatal, err, e.Health())
		}
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	}
}
